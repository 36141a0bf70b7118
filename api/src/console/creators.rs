//! A project's creators: found, connected, synced, let go.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::ids::CreatorId;
use shared::people::Role;
use shared::platforms::Platform;
use shared::secret_token::SecretToken;
use shared::store::audit::{Action, Deed};
use shared::store::creator_list::Search;
use shared::store::creators::{Creator, CreatorPosition, Status};
use shared::store::jobs::JobState;
use shared::store::states::PendingConsent;
use url::form_urlencoded;

use super::PATH;
use super::error::ConsoleError;
use super::moment::Moment;
use super::page::{Layout, answer, html, path_id, query, see_other};
use super::who::Member;
use crate::app::Api;
use crate::dispatch;
use crate::routes::connect::tiktok::state_hash;
use crate::trace::TraceContext;

const PAGE: usize = 30;
/// A creator's username has far less.
const MAX_SEARCH: usize = 200;

/// A creator on a page.
struct CreatorLine {
    id: CreatorId,
    name: String,
    platform: &'static str,
    external_id: String,
    followers: String,
    videos: String,
    state: State,
    connected: Moment,
    synced: Option<Moment>,
}

/// A creator's state, and what to do about it.
struct State {
    class: &'static str,
    words: &'static str,
    remedy: &'static str,
    /// Whether a sync is open, so that there is something to watch.
    is_syncing: bool,
}

impl CreatorLine {
    fn new(creator: Creator, sync: Option<JobState>) -> Self {
        let state = state(creator.status, sync);
        let name = creator.username.or(creator.display_name);
        Self {
            id: creator.id,
            name: name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "No name yet".into()),
            platform: match creator.platform {
                Platform::Tiktok => "TikTok",
                Platform::Instagram => "Instagram",
                Platform::Youtube => "YouTube",
            },
            external_id: creator.external_id,
            followers: number(creator.followers),
            videos: number(creator.video_count),
            state,
            connected: Moment::of(creator.connected_at),
            synced: creator.last_synced_at.map(Moment::of),
        }
    }
}

fn state(status: Status, sync: Option<JobState>) -> State {
    let is_syncing = sync.is_some();
    match (status, sync) {
        (Status::ReauthorizationRequired, _) => State {
            class: "bad",
            words: "Must connect again",
            remedy: "The platform no longer accepts the authorization: ask the creator to connect again. Nothing is lost.",
            is_syncing,
        },
        (_, Some(JobState::Running)) => State {
            class: "warn",
            words: "Syncing",
            remedy: "Profile and videos are being read. Reload the page to see them.",
            is_syncing,
        },
        (_, Some(JobState::Retrying)) => State {
            class: "warn",
            words: "Trying again",
            remedy: "The last try did not succeed, or the quota is used for now: the sync goes on by itself.",
            is_syncing,
        },
        (_, Some(_)) => {
            State { class: "warn", words: "Sync queued", remedy: "It begins when it is its turn.", is_syncing }
        }
        (Status::Active, None) => State { class: "good", words: "Active", remedy: "", is_syncing },
    }
}

/// A number with its thousands apart; scripts write it as the reader's own language does.
fn number(number: Option<i64>) -> String {
    let Some(number) = number else { return "–".into() };
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[derive(Template)]
#[template(path = "console/creators.html")]
struct CreatorsPage {
    layout: Layout,
    project: String,
    may_change: bool,
    search: Search,
    lines: Vec<CreatorLine>,
    is_first: bool,
    /// The query of the next page; empty if there is none.
    next: String,
}

impl CreatorsPage {
    fn is_searched(&self) -> bool {
        !self.search.text.is_empty() || self.search.status.is_some() || !self.is_first
    }
}

#[derive(Template)]
#[template(path = "console/creator.html")]
struct CreatorPage {
    layout: Layout,
    project: String,
    may_change: bool,
    creator: CreatorLine,
    reason: String,
    missing: String,
}

/// To the platform. No redirect: the policy for forms would hold it back, since a form has led here.
#[derive(Template)]
#[template(path = "console/consent.html")]
struct ConsentPage {
    layout: Layout,
    project: String,
    url: String,
}

/// `GET /console/projects/{project}/creators?q=&state=&order=&after=`.
pub async fn list(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let search = search(&request);
    let after = match query(&request, "after").as_str() {
        "" => None,
        text => Some(position(text).ok_or(ConsoleError::NotFound)?),
    };
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut found = api.within(api.store.search_creators(member.project(), &search, after, limit)).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let ids: Vec<CreatorId> = found.iter().map(|creator| creator.id).collect();
    let syncs = api.within(api.store.open_syncs(&ids)).await?;
    let next = found.last().filter(|_| more).map(|last| next_query(&search, last.position())).unwrap_or_default();
    let page = CreatorsPage {
        layout: Layout::project(&member, "Creators", "creators").with_notice(&request),
        project: member.project().to_string(),
        may_change: member.may(Role::Developer),
        lines: found
            .into_iter()
            .map(|creator| {
                let sync = syncs.get(&creator.id).copied();
                CreatorLine::new(creator, sync)
            })
            .collect(),
        is_first: after.is_none(),
        search,
        next,
    };
    answer(false, &page)
}

fn search(request: &HttpRequest) -> Search {
    // U+0000 is in no name, and Postgres can't compare with it.
    let text = query(request, "q").trim().replace('\0', "").chars().take(MAX_SEARCH).collect();
    Search { text, status: query(request, "state").parse().ok(), oldest_first: query(request, "order") == "oldest" }
}

fn next_query(search: &Search, after: CreatorPosition) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("q", &search.text);
    if let Some(status) = search.status {
        query.append_pair("state", status.as_ref());
    }
    if search.oldest_first {
        query.append_pair("order", "oldest");
    }
    let place = format!("{}.{}", after.connected_at.timestamp_micros(), after.id);
    query.append_pair("after", &URL_SAFE_NO_PAD.encode(place)).finish()
}

/// A place in the list as [`next_query`] writes it.
fn position(text: &str) -> Option<CreatorPosition> {
    let place = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (micros, id) = place.split_once('.')?;
    let connected_at = chrono::DateTime::from_timestamp_micros(micros.parse().ok()?)?;
    // What Postgres can't hold is no place of ours.
    let is_sane = (1970..=9999).contains(&chrono::Datelike::year(&connected_at));
    is_sane.then_some(CreatorPosition { connected_at, id: id.parse().ok()? })
}

/// `GET /console/projects/{project}/creators/{creator}`.
pub async fn show(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let id: CreatorId = path_id(&request, "creator")?;
    let creator = api.within(api.store.creator(member.project(), id)).await?.ok_or(ConsoleError::NotFound)?;
    let sync = api.within(api.store.open_syncs(&[id])).await?.remove(&id);
    let (reason, missing) = (creator.status_reason.clone().unwrap_or_default(), creator.missing_scopes.clone());
    let line = CreatorLine::new(creator, sync);
    let page = CreatorPage {
        layout: Layout::project(&member, &line.name, "creators").with_notice(&request),
        project: member.project().to_string(),
        may_change: member.may(Role::Developer),
        creator: line,
        reason,
        missing,
    };
    answer(false, &page)
}

/// `POST /console/projects/{project}/creators/connect`: begins a consent, and leads to the platform.
pub async fn connect(member: Member, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let project = member.project();
    let state = SecretToken::generate();
    let pkce = api.tiktok.pkce();
    let back = api.settings.public_url.with_path(&format!("{PATH}/projects/{project}/creators/connected"));
    let pending = PendingConsent {
        project_id: project,
        platform: Platform::Tiktok,
        redirect_url: Some(back),
        external_ref: None,
        pkce_verifier: pkce.as_ref().map(|pkce| pkce.verifier().to_owned()),
    };
    api.within(api.store.add_state(&state_hash(state.expose()), &pending)).await?;
    let (actor, action) = (&member.who.email, Action::ConsentBegun);
    api.within(api.store.add_deed(&Deed { project, actor, action, subject: "TikTok" })).await?;
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
    let (id, name) = creator(&member, &request, &api).await?;
    let page = format!("{PATH}/projects/{}/creators/{id}", member.project());
    match dispatch::sync(&api, member.project(), id, trace).await {
        Ok(_) => {}
        // Its page says so, and what to do.
        Err(crate::error::ApiError::ReauthorizationRequired) => return Ok(see_other(&page)),
        Err(error) => return Err(error.into()),
    }
    note(&member, &api, Action::CreatorSynced, &name).await?;
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
    let (id, name) = creator(&member, &request, &api).await?;
    dispatch::disconnect(&api, member.project(), id, trace).await?;
    note(&member, &api, Action::CreatorDisconnected, &name).await?;
    Ok(see_other(&format!("{PATH}/projects/{}/creators?done=disconnected", member.project())))
}

/// The creator that the path names, and what the log calls it.
async fn creator(member: &Member, request: &HttpRequest, api: &Api) -> Result<(CreatorId, String), ConsoleError> {
    let id: CreatorId = path_id(request, "creator")?;
    let found = api.within(api.store.creator(member.project(), id)).await?.ok_or(ConsoleError::NotFound)?;
    Ok((id, found.username.unwrap_or(found.external_id)))
}

async fn note(member: &Member, api: &Api, action: Action, subject: &str) -> Result<(), ConsoleError> {
    let deed = Deed { project: member.project(), actor: &member.who.email, action, subject };
    Ok(api.within(api.store.add_deed(&deed)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!(number(None), "–");
        assert_eq!(number(Some(0)), "0");
        assert_eq!(number(Some(999)), "999");
        assert_eq!(number(Some(-1000)), "-1\u{202f}000");
        assert_eq!(number(Some(1_234_567)), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let after = CreatorPosition { connected_at: chrono::DateTime::UNIX_EPOCH, id: CreatorId::new() };
        let query = next_query(&Search::default(), after);
        let (_, written) = query.split_once("after=").unwrap();
        assert_eq!(position(written), Some(after));
        for wrong in ["x", "%", "AA", &URL_SAFE_NO_PAD.encode("9223372036854775807.x"), &URL_SAFE_NO_PAD.encode("1.x")]
        {
            assert_eq!(position(wrong), None, "{wrong}");
        }
    }
}
