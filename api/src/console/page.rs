//! What all pages share.

use std::fmt::Display;
use std::str::FromStr;

use actix_web::http::StatusCode;
use actix_web::http::header::{LOCATION, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::people::Role;
use shared::secret_token::SecretToken;
use shared::store::StoreError;
use shared::store::members::Membership;
use url::form_urlencoded;

use super::error::ConsoleError;
use super::who::{Member, SignedIn, Visitor};
use super::{PATH, csrf};
use crate::app::Api;
use crate::assets;
use crate::client;
use crate::limits::Refusal;

/// A page's content type.
pub const HTML: &str = "text/html; charset=utf-8";

/// A word about what was just done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// How it went, as a class of the style.
    pub class: &'static str,
    /// What happened.
    pub words: &'static str,
}

/// What stands around a page's content.
pub struct Layout {
    /// The page's title.
    pub title: String,
    /// Which link of the navigation leads here.
    pub active: &'static str,
    /// The token of this session's forms.
    pub csrf: String,
    /// Who is signed in; empty for nobody.
    pub email: String,
    /// Whether they see and steer the whole installation.
    pub is_operator: bool,
    /// The project that the page is about.
    pub project: Option<Membership>,
    /// The projects to switch to.
    pub others: Vec<Membership>,
    /// Something that was just done.
    pub notice: Option<Notice>,
    /// Something that was not.
    pub problem: Option<String>,
    /// The style's URL.
    pub css: String,
    /// The script's URL.
    pub script: String,
    /// The icon's URL.
    pub icon: String,
}

impl Layout {
    /// For who has not signed in.
    pub fn outside(visitor: &Visitor, title: &str) -> Self {
        Self::new(&visitor.token, title)
    }

    /// For who has signed in, beside any project.
    pub fn signed_in(who: &SignedIn, title: &str, active: &'static str) -> Self {
        let is_operator = who.is_operator;
        Self { email: who.email.to_string(), is_operator, active, ..Self::new(&who.token, title) }
    }

    /// For a project's page.
    pub fn project(member: &Member, title: &str, active: &'static str) -> Self {
        let others = member.memberships.iter().filter(|other| other.project != member.project()).cloned().collect();
        Self { project: Some(member.membership.clone()), others, ..Self::signed_in(&member.who, title, active) }
    }

    /// With the projects to switch to, beside any.
    pub fn with_projects(self, others: Vec<Membership>) -> Self {
        Self { others, ..self }
    }

    /// With a word about what was just done, if the query names something.
    pub fn with_notice(self, request: &HttpRequest) -> Self {
        Self { notice: notice(&query(request, "done")), ..self }
    }

    /// With a word about what was not done.
    pub fn with_problem(self, problem: &str) -> Self {
        Self { problem: Some(problem.to_owned()), ..self }
    }

    /// Whether the user is an owner of the page's project.
    pub fn is_owner(&self) -> bool {
        self.project.as_ref().is_some_and(|project| project.role == Role::Owner)
    }

    fn new(token: &SecretToken, title: &str) -> Self {
        Self {
            title: title.to_owned(),
            active: "",
            csrf: csrf::token(token),
            email: String::new(),
            is_operator: false,
            project: None,
            others: Vec::new(),
            notice: None,
            problem: None,
            css: assets::CONSOLE_CSS.url(),
            script: assets::CONSOLE_JS.url(),
            icon: assets::ICON.url(),
        }
    }
}

/// What `?done=` stands for: words of ours alone, so that nobody can put others on a page.
fn notice(done: &str) -> Option<Notice> {
    let good = |words| Some(Notice { class: "good", words });
    let warn = |words| Some(Notice { class: "warn", words });
    match done {
        "revoked" => good("The key is revoked. Within a second no request with it is answered."),
        "renamed" => good("The project is renamed."),
        "connected" => good("The creator is connected. Profile and videos are being read now."),
        "declined" => warn("Nobody was connected: the creator said no on the platform’s page. Nothing was stored."),
        "connect-failed" => warn(
            "Nobody was connected: the platform did not confirm it, or the page was left open for too long. Nothing was \
             stored. Try it again; if it fails again, the log of the server says why.",
        ),
        "syncing" => good("The sync is queued. Reload the page to see how far it is."),
        "disconnected" => {
            good("The creator is disconnected. The authorization is being revoked, and the data deleted.")
        }
        "retried" => good("The job is open again, with all its tries before it."),
        "all-retried" => {
            good("The dead jobs are open again, as far as that helps: they wait until the quota has room.")
        }
        "none-retried" => warn("No dead job can be tried again: each one's page says why."),
        "discarded" => good("The job is put away: batches count it as skipped."),
        "resync" => good("The resync is asked for. Its jobs begin when the quota has room."),
        "paused" => good("The lane is paused: what runs goes on to its end, nothing is begun, nothing is lost."),
        "draining" => good("The lane drains: what is in Redis runs on, and nothing scheduled or bulk goes into it."),
        "open" => good("The lane is open."),
        "role" => good("The role is changed."),
        "removed" => good("The member is removed."),
        "withdrawn" => good("The invitation is withdrawn: its link works no longer."),
        "joined" => good("You are a member of this project now."),
        "ended" => good("The session is ended."),
        "others-ended" => good("All your other sessions are ended."),
        "password" => good("Your password is changed, and all your other sessions are ended."),
        _ => None,
    }
}

/// A rendered page.
pub fn html(status: StatusCode, page: &impl Template) -> Result<HttpResponse, ConsoleError> {
    let text = page.render().map_err(|error| ConsoleError::Internal(format!("a page was not rendered: {error}")))?;
    Ok(HttpResponse::build(status).content_type(HTML).body(text))
}

/// A rendered page, 200, or 422 if it says that something in its form is wrong.
pub fn answer(layout_has_problem: bool, page: &impl Template) -> Result<HttpResponse, ConsoleError> {
    html(if layout_has_problem { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, page)
}

/// To another page of ours, by GET (RFC 9110, section 15.4.4).
pub fn see_other(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).finish()
}

/// The same, with a cookie.
pub fn see_other_with(path: &str, cookie: String) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).insert_header((SET_COOKIE, cookie)).finish()
}

/// A parameter of the query, empty if there is none.
pub fn query(request: &HttpRequest, name: &str) -> String {
    let pairs = form_urlencoded::parse(request.query_string().as_bytes());
    pairs.into_owned().find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default()
}

/// An id in the path, spelled as we spell it.
pub fn path_id<T: FromStr + Display>(request: &HttpRequest, name: &str) -> Result<T, ConsoleError> {
    let text = request.match_info().get(name).ok_or(ConsoleError::NotFound)?;
    text.parse::<T>().ok().filter(|id| id.to_string() == text).ok_or(ConsoleError::NotFound)
}

/// A link's secret in the path.
pub fn path_token(request: &HttpRequest) -> Result<SecretToken, ConsoleError> {
    request.match_info().get("token").and_then(SecretToken::parse).ok_or(ConsoleError::DeadLink)
}

/// Looks up what a link stands for. Anybody can make one up, and each costs a query: so wrong ones are counted as a stranger's.
pub async fn look_up<T>(
    api: &Api,
    request: &HttpRequest,
    call: impl Future<Output = Result<Option<T>, StoreError>>,
) -> Result<T, ConsoleError> {
    let too_many = |refusal: Refusal| ConsoleError::TooMany(refusal.retry_after());
    let address = client::address(request, &api.settings.trusted_proxies);
    let admission = api.limits.admit(address).await.map_err(too_many)?;
    if let Some(found) = api.within(call).await? {
        admission.known();
        return Ok(found);
    }
    admission.unknown().map_err(too_many)?;
    Err(ConsoleError::DeadLink)
}

/// Where one signs in, to come back to the page that was asked for.
pub fn sign_in_path(request: &HttpRequest) -> String {
    let next = if request.method() == actix_web::http::Method::GET { request.path() } else { PATH };
    match next_path(next) {
        Some(next) if next != PATH => {
            let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
            format!("{PATH}/sign-in?{query}")
        }
        _ => format!("{PATH}/sign-in"),
    }
}

/// A path that may be gone to after a sign-in: a page of ours, never another site, nothing that a header can't hold.
pub fn next_path(text: &str) -> Option<&str> {
    let below = text.strip_prefix(PATH)?;
    let sane = below.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_'));
    ((below.is_empty() || below.starts_with('/')) && sane).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_only_goes_on_to_a_page_of_ours() {
        for good in ["/console", "/console/", "/console/projects/01-ab/keys", "/console/join/a_B-c"] {
            assert_eq!(next_path(good), Some(good));
        }
        for wrong in [
            "",
            "/",
            "//evil.example",
            "https://evil.example/console",
            "/consolex",
            "/console\\evil",
            "/console/\r\nset-cookie: a=b",
            "/console/%0d%0a",
            "/console/../x",
            "/console/?a",
            "/console@evil.example",
        ] {
            assert_eq!(next_path(wrong), None, "{wrong}");
        }
    }
}
