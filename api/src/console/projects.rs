//! Projects: made, opened, renamed.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::people::{self, Role};
use shared::store::members::Membership;

use super::PATH;
use super::error::ConsoleError;
use super::form::Form;
use super::page::{Layout, answer, see_other};
use super::who::{Member, SignedIn};
use crate::app::Api;

/// So many projects may one user own. Two forms sent at once may make one more.
const MAX_PROJECTS: usize = 100;
const TOO_MANY: &str = "You own 100 projects, and may not make more.";
/// What is asked of a name.
pub const NAME_RULE: &str = "A name has 1 to 100 characters.";
const NAME_TAKEN: &str = "You have a project of this name already.";

#[derive(Template)]
#[template(path = "console/projects.html")]
struct ProjectsPage {
    layout: Layout,
    memberships: Vec<Membership>,
    name: String,
}

#[derive(Template)]
#[template(path = "console/settings.html")]
struct SettingsPage {
    layout: Layout,
    name: String,
    id: String,
}

/// `GET /console`: the project, if there is but one, else the choice.
pub async fn home(who: SignedIn, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let memberships = api.within(api.store.memberships(who.user)).await?;
    match memberships.as_slice() {
        [only] => Ok(see_other(&format!("{PATH}/projects/{}/keys", only.project))),
        _ => Ok(see_other(&format!("{PATH}/projects"))),
    }
}

/// `GET /console/projects`.
pub async fn list(who: SignedIn, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let memberships = api.within(api.store.memberships(who.user)).await?;
    let layout = Layout::signed_in(&who, "Projects", "projects").with_projects(memberships.clone());
    answer(false, &ProjectsPage { layout, memberships, name: String::new() })
}

/// `POST /console/projects`: makes one.
pub async fn create(who: SignedIn, form: Form, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let typed = form.text("name");
    let memberships = api.within(api.store.memberships(who.user)).await?;
    let owned = memberships.iter().filter(|known| known.role == Role::Owner).count();
    let problem = match people::name(typed) {
        None => NAME_RULE,
        _ if owned >= MAX_PROJECTS => TOO_MANY,
        // Of one's own: what others call theirs, nobody is told.
        Some(name) if memberships.iter().any(|known| known.name == name) => NAME_TAKEN,
        Some(name) => {
            let project = api.within(api.store.create_project(who.actor(), name)).await?;
            return Ok(see_other(&format!("{PATH}/projects/{project}/keys")));
        }
    };
    let layout = Layout::signed_in(&who, "Projects", "projects").with_projects(memberships.clone());
    let layout = layout.with_problem(problem);
    answer(true, &ProjectsPage { layout, memberships, name: typed.to_owned() })
}

/// `GET /console/projects/{project}`.
pub async fn open(member: Member) -> HttpResponse {
    see_other(&format!("{PATH}/projects/{}/keys", member.project()))
}

/// `GET /console/projects/{project}/settings`.
pub async fn settings(member: Member, request: HttpRequest) -> Result<HttpResponse, ConsoleError> {
    let layout = Layout::project(&member, "Settings", "settings").with_notice(&request);
    let name = member.membership.name.clone();
    answer(false, &SettingsPage { layout, name, id: member.project().to_string() })
}

/// `POST /console/projects/{project}/settings`.
pub async fn rename(member: Member, form: Form, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Owner)?;
    let (typed, project) = (form.text("name"), member.project());
    let problem = match people::name(typed) {
        None => NAME_RULE,
        Some(name) if member.memberships.iter().any(|known| known.name == name && known.project != project) => {
            NAME_TAKEN
        }
        Some(name) => {
            api.within(api.store.rename_project(project, member.who.actor(), name)).await?;
            return Ok(see_other(&format!("{PATH}/projects/{project}/settings?done=renamed")));
        }
    };
    let layout = Layout::project(&member, "Settings", "settings").with_problem(problem);
    answer(true, &SettingsPage { layout, name: typed.to_owned(), id: project.to_string() })
}
