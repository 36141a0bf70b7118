//! What is done to a creator: connected, synced, let go.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::ids::CreatorId;
use shared::people::Role;
use shared::platforms::Platform;
use shared::secret_token::SecretToken;
use shared::store::audit::{Action, Deed};
use shared::store::creators::Creator;
use shared::store::states::PendingConsent;

use super::list::list_page;
use super::{creator, platform_name};
use crate::app::Api;
use crate::console::PATH;
use crate::console::confirm::{ConfirmPage, is_confirmed};
use crate::console::error::ConsoleError;
use crate::console::form::Form;
use crate::console::numbers::Numbers;
use crate::console::page::{Layout, html, path_id, query, see_other};
use crate::console::who::Member;
use crate::dispatch::{self, Asker};
use crate::external_ref;
use crate::routes::connect::tiktok::state_hash;
use crate::trace::TraceContext;
use crate::verifier;

const OWN_ID_RULE: &str = "Your own id has at most 255 characters, all of which can be seen in one line.";

/// To the platform. No redirect: the policy for forms would hold it back, since a form has led here.
#[derive(Template)]
#[template(path = "console/consent.html")]
struct ConsentPage {
    layout: Layout,
    project: String,
    url: String,
}

/// `POST /console/projects/{project}/creators/connect`: begins a consent, and leads to the platform.
pub async fn connect(
    member: Member,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let project = member.project();
    let own_id = form.text("externalRef").trim();
    if !own_id.is_empty() && external_ref::parse(own_id).is_err() {
        let layout = Layout::project(&member, "Creators", "creators").with_problem(OWN_ID_RULE);
        return list_page(&member, &request, &api, layout, own_id).await;
    }
    let state = SecretToken::generate();
    let (hash, pkce) = (state_hash(state.expose()), api.tiktok.pkce());
    let back = api.settings.public_url.with_path(&format!("{PATH}/projects/{project}/creators/connected"));
    let pending = PendingConsent {
        project_id: project,
        platform: Platform::Tiktok,
        redirect_url: Some(back),
        external_ref: Some(own_id.to_owned()).filter(|id| !id.is_empty()),
        pkce_sealed: pkce.as_ref().map(|pkce| verifier::seal(&api.keyring, &hash, pkce)),
        pkce_verifier: None,
    };
    let deed = Deed { project, actor: member.who.by(), action: Action::ConsentBegun, subject: "TikTok" };
    api.within(api.store.add_state_by(&deed, &hash, &pending)).await?;
    let page = ConsentPage {
        layout: Layout::project(&member, "To TikTok", "creators"),
        project: project.to_string(),
        url: api.tiktok.authorize_url(state.expose(), pkce.as_ref()).to_string(),
    };
    html(StatusCode::OK, &page)
}

/// `GET /console/projects/{project}/creators/connected`: where the callback sends the browser.
pub async fn connected(member: Member, request: HttpRequest) -> Result<HttpResponse, ConsoleError> {
    // As the script says it of a popup.
    let done = match (query(&request, "status").as_str(), query(&request, "reason").as_str()) {
        ("connected", _) => "connected",
        (_, "access_denied") => "declined",
        _ => "connect-failed",
    };
    Ok(see_other(&format!("{PATH}/projects/{}/creators?done={done}", member.project())))
}

/// `POST /console/projects/{project}/creators/{creator}/sync`: queues one, or joins the one that is open.
pub async fn sync(
    member: Member,
    request: HttpRequest,
    trace: TraceContext,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let id: CreatorId = path_id(&request, "creator")?;
    let by = Asker::Member(member.who.email.clone());
    let page = format!("{PATH}/projects/{}/creators/{id}", member.project());
    match dispatch::sync(&api, member.project(), id, trace, Some(by)).await {
        Ok(_) => {}
        // Its page says so, and what to do.
        Err(crate::error::ApiError::ReauthorizationRequired) => return Ok(see_other(&page)),
        Err(error) => return Err(error.into()),
    }
    Ok(see_other(&format!("{page}?done=syncing")))
}

/// `GET /console/projects/{project}/creators/{creator}/disconnect`: what would be lost, before it is.
pub async fn ask_disconnect(
    member: Member,
    request: HttpRequest,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let creator = creator(&member, &request, &api).await?;
    disconnect_page(&member, &creator, Numbers::of(&request)).ask()
}

fn disconnect_page(member: &Member, creator: &Creator, numbers: Numbers) -> ConfirmPage {
    let page = format!("{PATH}/projects/{}/creators/{}", member.project(), creator.id);
    let since = creator.connected_at.format("%-d %B %Y");
    let videos = match creator.video_count {
        Some(1) => "the one video".to_owned(),
        Some(count) => format!("all {} videos", numbers.exact(count)),
        None => "all videos".to_owned(),
    };
    let name = creator.name();
    let platform = platform_name(creator.platform);
    ConfirmPage {
        layout: Layout::project(member, &format!("Disconnect {name}?"), "creators"),
        question: format!("Disconnect {name} from {platform}?"),
        meaning: vec![
            format!(
                "The profile, {videos} and every number recorded since {since} are deleted here. This can’t be undone."
            ),
            format!("The authorization on {platform} is revoked, unless another project here holds the same account."),
            "Programs that ask for this creator by its id get 404 from now on.".to_owned(),
            "The creator can connect again, as a new one whose past begins then.".to_owned(),
        ],
        fields: Vec::new(),
        button: format!("Disconnect {name}"),
        back: (page, "No, keep the creator"),
    }
}

/// `POST /console/projects/{project}/creators/{creator}/disconnect`.
pub async fn disconnect(
    member: Member,
    request: HttpRequest,
    trace: TraceContext,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    if !is_confirmed(&form) {
        let creator = creator(&member, &request, &api).await?;
        return disconnect_page(&member, &creator, Numbers::of(&request)).ask_again();
    }
    let id: CreatorId = path_id(&request, "creator")?;
    dispatch::disconnect(&api, member.project(), id, trace, Asker::Member(member.who.email.clone())).await?;
    Ok(see_other(&format!("{PATH}/projects/{}/creators?done=disconnected", member.project())))
}
