//! Who is a member of a project, and who may become one.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use chrono::{DateTime, Utc};
use shared::ids::{InvitationId, UserId};
use shared::people::Role;
use shared::secret_token::SecretToken;
use shared::store::invitations::{Inviting, MAX_INVITATIONS};
use shared::store::members::MemberChange;

use super::confirm::{ConfirmPage, is_confirmed};
use super::error::ConsoleError;
use super::form::Form;
use super::moment::Moment;
use super::page::{Layout, answer, html, path_id, query, see_other};
use super::who::Member;
use super::{PATH, invitation_path, place};
use crate::app::Api;

/// Members on a page.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "console/members.html")]
struct MembersPage {
    layout: Layout,
    project: String,
    members: Vec<MemberLine>,
    is_first: bool,
    /// The place of the next page; empty if there is none.
    next: String,
    invitations: Vec<InvitationLine>,
}

struct MemberLine {
    user: UserId,
    email: String,
    role: Role,
    since: Moment,
    is_you: bool,
}

struct InvitationLine {
    id: InvitationId,
    role: Role,
    by: String,
    expires: Moment,
}

/// The one page that shows an invitation's link.
#[derive(Template)]
#[template(path = "console/invited.html")]
struct InvitedPage {
    layout: Layout,
    project: String,
    role: Role,
    link: String,
}

/// `GET /console/projects/{project}/members?after=`.
pub async fn list(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let layout = Layout::project(&member, "Members", "members").with_notice(&request);
    let after = match query(&request, "after").as_str() {
        "" => None,
        text => Some(after(text).ok_or(ConsoleError::NotFound)?),
    };
    page_of(&api, &member, layout, after).await
}

async fn list_page(api: &Api, member: &Member, layout: Layout) -> Result<HttpResponse, ConsoleError> {
    page_of(api, member, layout, None).await
}

/// A place in the list as [`page_of`] writes it.
fn after(text: &str) -> Option<(DateTime<Utc>, UserId)> {
    let (micros, user) = place::read(text)?;
    let micros = micros.filter(|micros| place::is_instant(*micros))?;
    Some((DateTime::from_timestamp_micros(micros)?, user))
}

async fn page_of(
    api: &Api,
    member: &Member,
    layout: Layout,
    after: Option<(DateTime<Utc>, UserId)>,
) -> Result<HttpResponse, ConsoleError> {
    let project = member.project();
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut members = api.within(api.store.members(project, after, limit)).await?;
    let more = members.len() > PAGE;
    members.truncate(PAGE);
    let last = members.last().filter(|_| more);
    let next = last.map(|last| place::written(Some(last.since.timestamp_micros()), last.user)).unwrap_or_default();
    let members = members.into_iter().map(|line| MemberLine {
        is_you: line.user == member.who.user,
        user: line.user,
        email: line.email.to_string(),
        role: line.role,
        since: Moment::of(line.since),
    });
    // Who may not invite has nothing to do with them.
    let open = if member.may(Role::Owner) { api.within(api.store.invitations(project)).await? } else { Vec::new() };
    let invitations = open.into_iter().map(|line| InvitationLine {
        id: line.id,
        role: line.role,
        by: line.invited_by.unwrap_or_else(|| "the first start".into()),
        expires: Moment::of(line.expires_at),
    });
    let page = MembersPage {
        project: project.to_string(),
        members: members.collect(),
        is_first: after.is_none(),
        next,
        invitations: invitations.collect(),
        layout,
    };
    answer(page.layout.problem.is_some(), &page)
}

/// `POST /console/projects/{project}/members/invite`: makes a link, and shows it this once.
pub async fn invite(member: Member, form: Form, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Owner)?;
    let role = role(&form)?;
    let token = SecretToken::generate();
    match api.within(api.store.invite(member.project(), member.who.actor(), role, &token.hash())).await? {
        Inviting::Done => {}
        Inviting::NotOwner => return Err(ConsoleError::Forbidden),
        Inviting::Full => {
            let problem = format!(
                "The project has {MAX_INVITATIONS} open invitations, and may not have more: withdraw one first."
            );
            let layout = Layout::project(&member, "Members", "members").with_problem(&problem);
            return list_page(&api, &member, layout).await;
        }
    }
    let page = InvitedPage {
        layout: Layout::project(&member, "Invitation", "members"),
        project: member.project().to_string(),
        role,
        link: api.settings.public_url.with_path(&invitation_path(&token)),
    };
    html(StatusCode::CREATED, &page)
}

/// `POST /console/projects/{project}/members/{user}/role`. Who gives up their own rights is asked first: they can't take them back.
pub async fn set_role(
    member: Member,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Owner)?;
    let (user, role): (UserId, Role) = (path_id(&request, "user")?, role(&form)?);
    if user == member.who.user && role != Role::Owner && !is_confirmed(&form) {
        return give_up_page(&member, role).ask();
    }
    change(&member, &request, &api, Some(role), "role").await
}

/// The question whether an owner wants to be one no more.
fn give_up_page(member: &Member, role: Role) -> ConfirmPage {
    let name = &member.membership.name;
    let question = format!("Become a {role} of {name}?");
    let left = match role {
        Role::Viewer => "You can only look at it from then on.",
        _ => "You can go on working with its creators and keys.",
    };
    ConfirmPage {
        layout: Layout::project(member, &question, "members"),
        question,
        meaning: vec![
            "You no longer decide who is a member, from now on. Only another owner can make you one again.".to_owned(),
            left.to_owned(),
        ],
        fields: vec![("role", role.to_string())],
        button: format!("Become a {role}"),
        back: (format!("{PATH}/projects/{}/members", member.project()), "No, stay an owner"),
    }
}

/// `GET /console/projects/{project}/members/{user}/remove`: what it would mean, before it is done.
pub async fn ask_remove(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    remove_page(&member, &request, &api).await?.ask()
}

async fn remove_page(member: &Member, request: &HttpRequest, api: &Api) -> Result<ConfirmPage, ConsoleError> {
    let user: UserId = path_id(request, "user")?;
    let leaves = user == member.who.user;
    if !leaves {
        member.require(Role::Owner)?;
    }
    let email = api.within(api.store.member(member.project(), user)).await?.ok_or(ConsoleError::NotFound)?.email;
    let name = &member.membership.name;
    let keys = "Keys that they have made or copied go on working: revoke those on the page of keys.";
    let (question, meaning, button) = if leaves {
        let lost =
            format!("You see nothing of {name} any more, from now on. Only an owner’s invitation brings you back.");
        (format!("Leave the project {name}?"), vec![lost], "Leave the project".to_owned())
    } else {
        let lost = format!("They see nothing of {name} any more, from now on. Only an invitation brings them back.");
        (format!("Remove {email} from {name}?"), vec![lost, keys.to_owned()], format!("Remove {email}"))
    };
    let back = format!("{PATH}/projects/{}/members", member.project());
    let words = if leaves { "No, stay" } else { "No, keep the member" };
    Ok(ConfirmPage {
        layout: Layout::project(member, &question, "members"),
        question,
        meaning,
        fields: Vec::new(),
        button,
        back: (back, words),
    })
}

/// `POST /console/projects/{project}/members/{user}/remove`.
pub async fn remove(
    member: Member,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    if !is_confirmed(&form) {
        return remove_page(&member, &request, &api).await?.ask_again();
    }
    change(&member, &request, &api, None, "removed").await
}

async fn change(
    member: &Member,
    request: &HttpRequest,
    api: &Api,
    role: Option<Role>,
    done: &str,
) -> Result<HttpResponse, ConsoleError> {
    let user: UserId = path_id(request, "user")?;
    let leaves = role.is_none() && user == member.who.user;
    if !leaves {
        member.require(Role::Owner)?;
    }
    let changed = api.store.change_member(member.project(), member.who.actor(), user, role);
    match api.within(changed).await? {
        MemberChange::Done if leaves => Ok(see_other(PATH)),
        MemberChange::Done => Ok(see_other(&format!("{PATH}/projects/{}/members?done={done}", member.project()))),
        MemberChange::NotFound => Err(ConsoleError::NotFound),
        MemberChange::LastOwner => {
            let layout = Layout::project(member, "Members", "members");
            let problem = "A project keeps an owner: make somebody else one first.";
            list_page(api, member, layout.with_problem(problem)).await
        }
    }
}

/// `POST /console/projects/{project}/invitations/{invitation}/withdraw`.
pub async fn withdraw(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Owner)?;
    let id: InvitationId = path_id(&request, "invitation")?;
    if !api.within(api.store.withdraw_invitation(member.project(), member.who.actor(), id)).await? {
        return Err(ConsoleError::NotFound);
    }
    Ok(see_other(&format!("{PATH}/projects/{}/members?done=withdrawn", member.project())))
}

fn role(form: &Form) -> Result<Role, ConsoleError> {
    form.text("role").parse().map_err(|_| ConsoleError::Malformed("an unknown role".into()))
}
