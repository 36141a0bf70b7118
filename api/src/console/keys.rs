//! A project's API keys.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use chrono::Utc;
use shared::api_key::ApiKey;
use shared::ids::ApiKeyId;
use shared::key_scopes::{KeyScope, KeyScopes};
use shared::people::{self, Role};
use shared::store::Made;
use shared::store::keys::NewKey;
use shared::store::project_keys::{MAX_KEYS, ProjectKey, Reroll};

use super::PATH;
use super::confirm::{ConfirmPage, is_confirmed};
use super::error::ConsoleError;
use super::form::Form;
use super::moment::Moment;
use super::page::{Layout, answer, html, path_id, query, see_other};
use super::projects::NAME_RULE;
use super::who::Member;
use crate::app::Api;

/// Keys on a page.
const PAGE: usize = 50;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// When a new key may stop by itself.
const EXPIRIES: [(&str, &str, Option<Duration>); 5] = [
    ("never", "Never", None),
    ("7d", "In 7 days", Some(DAY.saturating_mul(7))),
    ("30d", "In 30 days", Some(DAY.saturating_mul(30))),
    ("90d", "In 90 days", Some(DAY.saturating_mul(90))),
    ("365d", "In a year", Some(DAY.saturating_mul(365))),
];

const REPLACED: &str =
    "This key has been rerolled already. If the key that took its place is lost, revoke that one first.";

/// How long a rerolled key may go on working.
const OVERLAPS: [(&str, &str, Duration); 4] = [
    ("0", "Stops at once", Duration::ZERO),
    ("1h", "Works for another hour", Duration::from_secs(3600)),
    ("1d", "Works for another day", DAY),
    ("7d", "Works for another 7 days", DAY.saturating_mul(7)),
];

/// A key on a page.
struct KeyLine {
    id: ApiKeyId,
    name: String,
    prefix: String,
    scopes: String,
    created: Moment,
    used: Option<Moment>,
    state: KeyState,
}

enum KeyState {
    Works,
    Expires(Moment),
    Expired(Moment),
    Revoked(Moment),
}

impl KeyLine {
    fn new(key: ProjectKey) -> Self {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => KeyState::Revoked(Moment::of(at)),
            (None, Some(at)) if at <= Utc::now() => KeyState::Expired(Moment::of(at)),
            (None, Some(at)) => KeyState::Expires(Moment::of(at)),
            (None, None) => KeyState::Works,
        };
        Self {
            id: key.id,
            name: key.name.unwrap_or_else(|| "Unnamed".into()),
            prefix: key.prefix,
            scopes: key.scopes.map_or_else(|| "all".into(), |scopes| scopes.names().join(", ")),
            created: Moment::of(key.created_at),
            used: key.last_used_at.map(Moment::of),
            state,
        }
    }

    /// A sentence.
    fn last_use(&self) -> String {
        self.used
            .as_ref()
            .map_or_else(|| "It was never used.".to_owned(), |at| format!("It was last used {}.", at.words()))
    }

    fn works(&self) -> bool {
        matches!(self.state, KeyState::Works | KeyState::Expires(_))
    }
}

#[derive(Template)]
#[template(path = "console/keys.html")]
struct KeysPage {
    layout: Layout,
    project: String,
    may_make: bool,
    /// Whether those are listed that work, or the others.
    works: bool,
    lines: Vec<KeyLine>,
    is_first: bool,
    /// The last key on this page, if there are older ones.
    before: Option<ApiKeyId>,
    expiries: &'static [(&'static str, &'static str, Option<Duration>)],
    /// What was typed, when something was wrong with it.
    name: String,
}

#[derive(Template)]
#[template(path = "console/key.html")]
struct KeyPage {
    layout: Layout,
    project: String,
    may_make: bool,
    key: KeyLine,
    /// The key that was made in its place, if that one works.
    replacement: Option<KeyLine>,
    overlaps: &'static [(&'static str, &'static str, Duration)],
}

/// The one page that shows a key.
#[derive(Template)]
#[template(path = "console/key-made.html")]
struct KeyMadePage {
    layout: Layout,
    project: String,
    name: String,
    key: ApiKey,
    url: String,
    /// What becomes of the key in whose place it was made; empty for none.
    old: String,
}

/// `GET /console/projects/{project}/keys?show=ended&before=`.
pub async fn list(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let layout = Layout::project(&member, "API keys", "keys").with_notice(&request);
    let before: Option<ApiKeyId> = match query(&request, "before").as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| ConsoleError::NotFound)?),
    };
    let works = query(&request, "show") != "ended";
    page_of(&api, &member, layout, "", works, before).await
}

async fn list_page(api: &Api, member: &Member, layout: Layout, name: &str) -> Result<HttpResponse, ConsoleError> {
    page_of(api, member, layout, name, true, None).await
}

async fn page_of(
    api: &Api,
    member: &Member,
    layout: Layout,
    name: &str,
    works: bool,
    before: Option<ApiKeyId>,
) -> Result<HttpResponse, ConsoleError> {
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut keys = api.within(api.store.project_keys(member.project(), works, before, limit)).await?;
    let more = keys.len() > PAGE;
    keys.truncate(PAGE);
    let page = KeysPage {
        project: member.project().to_string(),
        may_make: member.may(Role::Developer),
        works,
        is_first: before.is_none(),
        before: keys.last().map(|last| last.id).filter(|_| more),
        lines: keys.into_iter().map(KeyLine::new).collect(),
        expiries: &EXPIRIES,
        name: name.to_owned(),
        layout,
    };
    answer(page.layout.problem.is_some(), &page)
}

/// `POST /console/projects/{project}/keys`: makes one, and shows it this once.
pub async fn create(member: Member, form: Form, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let typed = form.text("name");
    let Some(name) = people::name(typed) else {
        let layout = Layout::project(&member, "API keys", "keys").with_problem(NAME_RULE);
        return list_page(&api, &member, layout, typed).await;
    };
    let scopes = match scopes(&form) {
        Ok(scopes) => scopes,
        Err(problem) => {
            let layout = Layout::project(&member, "API keys", "keys").with_problem(problem);
            return list_page(&api, &member, layout, typed).await;
        }
    };
    let chosen = EXPIRIES.iter().find(|(value, ..)| *value == form.text("expires"));
    let (_, _, lifetime) = chosen.ok_or_else(|| ConsoleError::Malformed("an unknown expiry".into()))?;
    let expires_at = lifetime.map(|lifetime| Utc::now() + lifetime);
    let key = ApiKey::generate();
    let new = NewKey { hash: &key.hash(), prefix: key.prefix(), scopes, expires_at };
    if api.within(api.store.make_key(member.project(), member.who.actor(), name, &new)).await? == Made::Full {
        let layout = Layout::project(&member, "API keys", "keys").with_problem(&full());
        return list_page(&api, &member, layout, typed).await;
    }
    made(&api, &member, name, key, "")
}

/// The scopes that are ticked: all of them are stored as all that there will ever be.
fn scopes(form: &Form) -> Result<Option<KeyScopes>, &'static str> {
    if form.text("access") != "some" {
        return Ok(None);
    }
    let scopes: KeyScopes = form.all("scope").filter_map(|name| name.parse::<KeyScope>().ok()).collect();
    if scopes == KeyScopes::default() {
        Err("Choose at least one thing that the key may do.")
    } else {
        Ok(Some(scopes))
    }
}

/// Why no key is made.
pub(super) fn full() -> String {
    format!("The project has {MAX_KEYS} keys that work, and may not have more: revoke one that nobody uses.")
}

/// The page that shows a new key, this once.
pub(super) fn made(
    api: &Api,
    member: &Member,
    name: &str,
    key: ApiKey,
    old: &str,
) -> Result<HttpResponse, ConsoleError> {
    let page = KeyMadePage {
        layout: Layout::project(member, "Your new key", "keys"),
        project: member.project().to_string(),
        name: name.to_owned(),
        key,
        url: api.settings.public_url.to_string(),
        old: old.to_owned(),
    };
    html(StatusCode::CREATED, &page)
}

/// `GET /console/projects/{project}/keys/{key}`.
pub async fn show(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let id: ApiKeyId = path_id(&request, "key")?;
    key_page(&api, &member, id, None).await
}

async fn key_page(
    api: &Api,
    member: &Member,
    id: ApiKeyId,
    problem: Option<&str>,
) -> Result<HttpResponse, ConsoleError> {
    let project = member.project();
    let key = api.within(api.store.project_key(project, id)).await?.ok_or(ConsoleError::NotFound)?;
    let replacement = match key.replaced_by {
        Some(replacement) => api.within(api.store.project_key(project, replacement)).await?,
        None => None,
    };
    let key = KeyLine::new(key);
    let layout = Layout::project(member, &key.name, "keys");
    let page = KeyPage {
        layout: Layout { problem: problem.map(str::to_owned), ..layout },
        project: project.to_string(),
        may_make: member.may(Role::Developer),
        key,
        replacement: replacement.map(KeyLine::new).filter(KeyLine::works),
        overlaps: &OVERLAPS,
    };
    answer(problem.is_some(), &page)
}

/// `POST /console/projects/{project}/keys/{key}/reroll`. Where the old key stops at once, that is asked first.
pub async fn reroll(
    member: Member,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let id: ApiKeyId = path_id(&request, "key")?;
    let chosen = OVERLAPS.iter().find(|(value, ..)| *value == form.text("overlap"));
    let (value, what, overlap) = chosen.ok_or_else(|| ConsoleError::Malformed("an unknown overlap".into()))?;
    if overlap.is_zero() && !is_confirmed(&form) {
        return reroll_page(&api, &member, id, value).await;
    }
    let key = ApiKey::generate();
    let (hash, actor) = (key.hash(), member.who.actor());
    let rerolled = api.store.reroll_key(member.project(), actor, id, (&hash, key.prefix()), *overlap);
    let old = match api.within(rerolled).await? {
        Reroll::Done(old) => old,
        Reroll::NotFound => return Err(ConsoleError::NotFound),
        Reroll::Replaced => return key_page(&api, &member, id, Some(REPLACED)).await,
        Reroll::Full => return key_page(&api, &member, id, Some(&full())).await,
    };
    let becomes = format!("{}…: {}", old.prefix, what.to_lowercase());
    made(&api, &member, old.name.as_deref().unwrap_or("Unnamed"), key, &becomes)
}

/// The question whether a key is to stop with the reroll; or why there is none.
async fn reroll_page(
    api: &Api,
    member: &Member,
    id: ApiKeyId,
    overlap: &'static str,
) -> Result<HttpResponse, ConsoleError> {
    let project = member.project();
    let found = api.within(api.store.project_key(project, id)).await?.ok_or(ConsoleError::NotFound)?;
    let replaced_by = found.replaced_by;
    let key = Some(KeyLine::new(found)).filter(KeyLine::works).ok_or(ConsoleError::NotFound)?;
    let replacement = match replaced_by {
        Some(replacement) => api.within(api.store.project_key(project, replacement)).await?,
        None => None,
    };
    if replacement.map(KeyLine::new).is_some_and(|replacement| replacement.works()) {
        return key_page(api, member, id, Some(REPLACED)).await;
    }
    let page = ConfirmPage {
        layout: Layout::project(member, &format!("Reroll {}?", key.name), "keys"),
        question: format!("Reroll the key {} ({}…), and stop it at once?", key.name, key.prefix),
        meaning: vec![
            "Within a second, every program that uses it is refused, until it has the new one. This can’t be undone."
                .to_owned(),
            key.last_use(),
            "To replace it without an interruption, let the old key work for a while.".to_owned(),
        ],
        fields: vec![("overlap", overlap.to_owned())],
        button: format!("Reroll and stop {}…", key.prefix),
        back: (format!("{PATH}/projects/{project}/keys/{id}"), "No, keep the key"),
    };
    page.ask()
}

/// `GET /console/projects/{project}/keys/{key}/revoke`: what it would mean, before it is done.
pub async fn ask_revoke(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    revoke_page(&api, &member, path_id(&request, "key")?).await?.ask()
}

async fn revoke_page(api: &Api, member: &Member, id: ApiKeyId) -> Result<ConfirmPage, ConsoleError> {
    let project = member.project();
    let key = api.within(api.store.project_key(project, id)).await?.map(KeyLine::new);
    let key = key.filter(KeyLine::works).ok_or(ConsoleError::NotFound)?;
    Ok(ConfirmPage {
        layout: Layout::project(member, &format!("Revoke {}?", key.name), "keys"),
        question: format!("Revoke the key {} ({}…)?", key.name, key.prefix),
        meaning: vec![
            "Within a second, every program that uses it is refused. This can’t be undone.".to_owned(),
            key.last_use(),
            "To replace it without an interruption, reroll it instead: the old key can go on for a while.".to_owned(),
        ],
        fields: Vec::new(),
        button: format!("Revoke {}…", key.prefix),
        back: (format!("{PATH}/projects/{project}/keys/{id}"), "No, keep the key"),
    })
}

/// `POST /console/projects/{project}/keys/{key}/revoke`.
pub async fn revoke(
    member: Member,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let id: ApiKeyId = path_id(&request, "key")?;
    if !is_confirmed(&form) {
        return revoke_page(&api, &member, id).await?.ask_again();
    }
    if !api.within(api.store.revoke_project_key(member.project(), member.who.actor(), id)).await? {
        return Err(ConsoleError::NotFound);
    }
    Ok(see_other(&format!("{PATH}/projects/{}/keys?done=revoked", member.project())))
}
