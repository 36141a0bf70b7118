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

use super::creator;
use crate::app::Api;
use crate::console::PATH;
use crate::console::error::ConsoleError;
use crate::console::page::{Layout, html, query, see_other};
use crate::console::who::Member;
use crate::dispatch::{self, ByHand};
use crate::routes::connect::tiktok::state_hash;
use crate::trace::TraceContext;
use crate::verifier;

/// To the platform. No redirect: the policy for forms would hold it back, since a form has led here.
#[derive(Template)]
#[template(path = "console/consent.html")]
struct ConsentPage {
    layout: Layout,
    project: String,
    url: String,
}

/// `POST /console/projects/{project}/creators/connect`: begins a consent, and leads to the platform.
pub async fn connect(member: Member, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let project = member.project();
    let state = SecretToken::generate();
    let (hash, pkce) = (state_hash(state.expose()), api.tiktok.pkce());
    let back = api.settings.public_url.with_path(&format!("{PATH}/projects/{project}/creators/connected"));
    let pending = PendingConsent {
        project_id: project,
        platform: Platform::Tiktok,
        redirect_url: Some(back),
        external_ref: None,
        pkce_sealed: pkce.as_ref().map(|pkce| verifier::seal(&api.keyring, &hash, pkce)),
        pkce_verifier: None,
    };
    let deed = Deed { project, actor: &member.who.email, action: Action::ConsentBegun, subject: "TikTok" };
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
    let list = format!("{PATH}/projects/{}/creators", member.project());
    let is_connected = query(&request, "status") == "connected";
    Ok(see_other(&if is_connected { format!("{list}?done=connected") } else { list }))
}

/// `POST /console/projects/{project}/creators/{creator}/sync`: queues one, or joins the one that is open.
pub async fn sync(
    member: Member,
    request: HttpRequest,
    trace: TraceContext,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let (id, by) = found(&member, &request, &api).await?;
    let page = format!("{PATH}/projects/{}/creators/{id}", member.project());
    match dispatch::sync(&api, member.project(), id, trace, Some(by)).await {
        Ok(_) => {}
        // Its page says so, and what to do.
        Err(crate::error::ApiError::ReauthorizationRequired) => return Ok(see_other(&page)),
        Err(error) => return Err(error.into()),
    }
    Ok(see_other(&format!("{page}?done=syncing")))
}

/// `POST /console/projects/{project}/creators/{creator}/disconnect`.
pub async fn disconnect(
    member: Member,
    request: HttpRequest,
    trace: TraceContext,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let (id, by) = found(&member, &request, &api).await?;
    dispatch::disconnect(&api, member.project(), id, trace, Some(by)).await?;
    Ok(see_other(&format!("{PATH}/projects/{}/creators?done=disconnected", member.project())))
}

/// The creator that the path names; who does something to it, and what the log calls it.
async fn found(member: &Member, request: &HttpRequest, api: &Api) -> Result<(CreatorId, ByHand), ConsoleError> {
    let Creator { id, username, external_id, .. } = creator(member, request, api).await?;
    Ok((id, ByHand { actor: member.who.email.clone(), subject: username.unwrap_or(external_id) }))
}
