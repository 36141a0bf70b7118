//! One's own account: the password, and the browsers that are signed in with it.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::ids::SessionId;
use shared::store::audit::Log;

use super::PATH;
use super::audit::Line;
use super::error::ConsoleError;
use super::form::Form;
use super::moment::Moment;
use super::page::{Layout, answer, path_id, see_other};
use super::password::NewPassword;
use super::who::SignedIn;
use crate::app::Api;
use crate::client;

/// Lines of the log that are shown; a page of its own has all.
const LOG: i64 = 10;

#[derive(Template)]
#[template(path = "console/account.html")]
struct AccountPage {
    layout: Layout,
    sessions: Vec<SessionLine>,
    /// What was done to the account last.
    lines: Vec<Line>,
}

struct SessionLine {
    id: SessionId,
    /// What the browser calls itself, in full.
    browser: String,
    /// The same in two words.
    called: String,
    address: String,
    began: Moment,
    seen: Moment,
    is_this: bool,
}

/// Where this is.
pub fn base() -> String {
    format!("{PATH}/account")
}

/// `GET /console/account`.
pub async fn show(who: SignedIn, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let layout = Layout::signed_in(&who, "Your account", "account").with_notice(&request);
    page(&api, &who, layout).await
}

/// `POST /console/account/password`. Asks for the old one: an unlocked screen is not enough.
pub async fn change_password(
    who: SignedIn,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    let address = client::address(&request, &api.settings.trusted_proxies);
    // Each session has its own count: whoever guesses at the account, or has stolen a session, can't keep its user from a new
    // password.
    let place = api.console.sign_ins.count(address, &who.session.to_string()).map_err(ConsoleError::TooMany)?;
    let stored = api.within(api.store.user_by_email(&who.email)).await?.and_then(|user| user.password);
    let known = stored.clone().unwrap_or_default();
    let is_right = api.console.passwords.verify(form.text("current"), stored).await?;
    let problem = match NewPassword::check(form.text("password"), form.text("repeated")) {
        _ if !is_right => "The current password is another one.",
        Ok(password) => {
            api.console.sign_ins.give_back(place);
            let password = api.console.passwords.hash(password).await?;
            if api.within(api.store.change_password(who.user, &known, &password, who.session)).await? {
                return Ok(see_other(&format!("{PATH}/account?done=password")));
            }
            "The current password is another one."
        }
        Err(problem) => problem,
    };
    let layout = Layout::signed_in(&who, "Your account", "account").with_problem(problem);
    page(&api, &who, layout).await
}

/// `POST /console/account/sessions/{session}/end`.
pub async fn end_session(who: SignedIn, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let session: SessionId = path_id(&request, "session")?;
    if !api.within(api.store.end_session(who.actor(), session)).await? {
        return Err(ConsoleError::NotFound);
    }
    Ok(see_other(&format!("{PATH}/account?done=ended")))
}

/// `POST /console/account/sessions/end-others`.
pub async fn end_others(who: SignedIn, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    api.within(api.store.end_other_sessions(who.actor(), who.session)).await?;
    Ok(see_other(&format!("{PATH}/account?done=others-ended")))
}

async fn page(api: &Api, who: &SignedIn, layout: Layout) -> Result<HttpResponse, ConsoleError> {
    let layout = layout.with_projects(api.within(api.store.memberships(who.user)).await?);
    let sessions = api.within(api.store.sessions(who.user)).await?;
    let sessions = sessions.into_iter().map(|session| SessionLine {
        is_this: session.id == who.session,
        id: session.id,
        called: called(&session.browser),
        browser: session.browser,
        address: session.address,
        began: Moment::of(session.created_at),
        seen: Moment::of(session.seen_at),
    });
    let lines = api.within(api.store.audit_log(Log::Account(who.user), None, LOG)).await?;
    let lines = lines.into_iter().map(Line::new).collect();
    answer(layout.problem.is_some(), &AccountPage { sessions: sessions.collect(), lines, layout })
}

/// A browser's two words, as far as it tells: Edge also calls itself Chrome, and Chrome Safari.
fn called(agent: &str) -> String {
    let first_of =
        |known: &[(&str, &'static str)]| known.iter().find(|(sign, _)| agent.contains(sign)).map(|(_, name)| *name);
    let browser = first_of(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("CriOS/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = first_of(&[
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(known), None) | (None, Some(known)) => known.to_owned(),
        (None, None) if agent.is_empty() => "Unknown browser".to_owned(),
        (None, None) => agent.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::called;

    #[test]
    fn browsers_are_called_by_two_words() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";
        assert_eq!(called(chrome), "Chrome on Linux");
        assert_eq!(called(&format!("{chrome} Edg/156.0")), "Edge on Linux");
        let iphone =
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Safari/604.1";
        assert_eq!(called(iphone), "Safari on iPhone");
        assert_eq!(called("curl/8.0"), "curl/8.0");
        assert_eq!(called(""), "Unknown browser");
    }
}
