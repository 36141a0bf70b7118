//! `/v2/auth/authorize/`: the page on which a creator allows the app what it asked for, or not.
//!
//! Whatever is wrong with the request is said on a page, without a redirect: nobody may be sent to an address that the
//! app did not register.

use actix_web::http::header::{CONTENT_TYPE, COOKIE};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use url::Url;

use super::pkce;
use crate::answer::Answer;
use crate::config::AppProfile;
use crate::endpoint::Endpoint;
use crate::grants::Code;
use crate::pages;
use crate::scopes::{Scope, Scopes};
use crate::state::{About, Context, State, lock};

/// Remembers whom the browser is signed in as.
const SESSION: &str = "sandbox_session";

/// A request that passed all checks.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) scopes: Scopes,
    redirect_uri: String,
    state: Option<String>,
    challenge: Option<String>,
    skip_page: bool,
}

/// `GET`: the page, or straight back to the app if this browser's creator allowed it before.
pub(crate) async fn show(state: Data<State>, request: HttpRequest) -> HttpResponse {
    let work = |context: &Context<'_>| {
        let asked = match check(&state, request.query_string(), context) {
            Ok(asked) => asked,
            Err(problem) => return problem_page(&problem),
        };
        let signed_in = signed_in(&request);
        let allowed = signed_in.as_ref().filter(|open_id| !lock(&state.world).is_banned(open_id));
        let allowed = allowed.and_then(|open_id| lock(&state.grants).connected(open_id));
        if let Some(open_id) = signed_in
            && asked.skip_page
            && allowed.is_some_and(|allowed| allowed.contains(asked.scopes))
        {
            return allow(&state, &asked, &open_id, asked.scopes, context);
        }
        Answer::html(200, pages::consent(&state, &asked, context.now()))
    };
    state.respond(&request, about(), work).await
}

/// `POST`: what the page's form says. The request itself is in the query, and checked anew.
pub(crate) async fn decide(state: Data<State>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let work = |context: &Context<'_>| {
        let asked = match check(&state, request.query_string(), context) {
            Ok(asked) => asked,
            Err(problem) => return problem_page(&problem),
        };
        match decision(&state, &request, &body, asked.scopes) {
            Ok(Decision::Allow { open_id, scopes }) => {
                let cookie = format!("{SESSION}={open_id}; Path=/v2/auth/; HttpOnly; SameSite=Lax");
                Answer { cookie: Some(cookie), ..allow(&state, &asked, &open_id, scopes, context) }
            }
            Ok(Decision::Cancel) => back(
                &asked,
                &[("error", "access_denied"), ("error_description", "The user denied the authorization request.")],
            ),
            Err(problem) => problem_page(&problem),
        }
    };
    state.respond(&request, about(), work).await
}

/// Whom this browser signed in as before.
fn signed_in(request: &HttpRequest) -> Option<String> {
    let cookies = request.headers().get(COOKIE)?.to_str().ok()?;
    cookies
        .split("; ")
        .filter_map(|cookie| cookie.split_once('='))
        .find(|(name, _)| *name == SESSION)
        .map(|(_, id)| id.to_owned())
}

fn about() -> About {
    About { endpoint: Endpoint::Authorize, open_id: None, granted_at_ms: None, grant_type: None, limit_key: None }
}

/// What the error page names.
#[derive(Debug)]
struct Problem {
    what: &'static str,
    detail: String,
}

fn problem(what: &'static str, detail: impl Into<String>) -> Problem {
    Problem { what, detail: detail.into() }
}

fn problem_page(problem: &Problem) -> Answer {
    let mut answer = Answer::html(400, pages::problem(problem.what, &problem.detail));
    answer.error = Some(problem.what.to_owned());
    answer
}

fn check(state: &State, query: &str, context: &Context<'_>) -> Result<Asked, Problem> {
    const KNOWN: [&str; 8] = [
        "client_key",
        "response_type",
        "scope",
        "redirect_uri",
        "state",
        "disable_auto_auth",
        "code_challenge",
        "code_challenge_method",
    ];
    let params: Vec<(String, String)> =
        serde_urlencoded::from_str(query).map_err(|_| problem("param_error", "The query is malformed."))?;
    let mut seen = std::collections::HashSet::new();
    for (name, _) in &params {
        if !KNOWN.contains(&name.as_str()) || !seen.insert(name.as_str()) {
            return Err(problem("param_error", format!("{name} is unknown, or there twice.")));
        }
    }
    let get = |name: &str| params.iter().find(|(param, _)| param == name).map(|(_, value)| value.as_str());

    if get("client_key") != Some(state.config.client_key.as_str()) {
        return Err(problem("client_key", "No app has this client_key."));
    }
    let redirect_uri = get("redirect_uri").unwrap_or_default();
    if !state.config.accepts_redirect(redirect_uri) {
        return Err(problem("redirect_uri", "redirect_uri is not one that the app registered."));
    }
    if get("response_type") != Some("code") {
        return Err(problem("unsupported_response_type", "response_type must be code."));
    }
    let scopes = Scopes::parse(get("scope").unwrap_or_default())
        .filter(|scopes| context.settings.approved_scopes.contains(*scopes))
        .ok_or_else(|| {
            problem("invalid_scope", "scope must be a comma-separated list of scopes that the app holds.")
        })?;
    let skip_page = match get("disable_auto_auth") {
        None | Some("0") => true,
        Some("1") => false,
        Some(_) => return Err(problem("disable_auto_auth", "disable_auto_auth must be 0 or 1.")),
    };
    let challenge = challenge(state.config.app_profile, get("code_challenge"), get("code_challenge_method"))?;
    Ok(Asked {
        scopes,
        redirect_uri: redirect_uri.to_owned(),
        state: get("state").map(str::to_owned),
        challenge,
        skip_page,
    })
}

fn challenge(profile: AppProfile, challenge: Option<&str>, method: Option<&str>) -> Result<Option<String>, Problem> {
    match (challenge, method) {
        (None, None) if profile == AppProfile::Web => Ok(None),
        (Some(challenge), Some("S256")) if pkce::is_challenge(profile, challenge) => Ok(Some(challenge.to_owned())),
        (None, _) => Err(problem("code_challenge", "code_challenge is missing.")),
        (Some(_), Some("S256")) => Err(problem("code_challenge", "code_challenge is not a SHA-256 in the right form.")),
        (Some(_), _) => Err(problem("code_challenge_method", "code_challenge_method must be S256.")),
    }
}

enum Decision {
    Allow { open_id: String, scopes: Scopes },
    Cancel,
}

fn decision(state: &State, request: &HttpRequest, body: &[u8], asked: Scopes) -> Result<Decision, Problem> {
    let is_form = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|sent| sent.starts_with("application/x-www-form-urlencoded"));
    let fields: Vec<(String, String)> = is_form
        .then(|| serde_urlencoded::from_bytes(body).ok())
        .flatten()
        .ok_or_else(|| problem("param_error", "The form is malformed."))?;
    let get = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    match get("action") {
        Some("cancel") => return Ok(Decision::Cancel),
        Some("allow") => {}
        _ => return Err(problem("param_error", "action must be allow or cancel.")),
    }
    let open_id = get("creator").unwrap_or_default();
    let world = lock(&state.world);
    if world.creator(open_id).is_none() || world.is_banned(open_id) {
        return Err(problem("access_denied", "There is no such creator, or it is banned."));
    }
    let scopes: Scopes = fields
        .iter()
        .filter(|(name, _)| name == "scope")
        .map(|(_, value)| Scope::ALL.into_iter().find(|scope| scope.as_str() == value))
        .collect::<Option<Scopes>>()
        .filter(|scopes| asked.contains(*scopes))
        .ok_or_else(|| problem("invalid_scope", "The form allows more than the app asked for."))?;
    Ok(Decision::Allow { open_id: open_id.to_owned(), scopes })
}

fn allow(state: &State, asked: &Asked, open_id: &str, scopes: Scopes, context: &Context<'_>) -> Answer {
    let code = Code::new(open_id.to_owned(), scopes, Some(asked.redirect_uri.clone()), asked.challenge.clone());
    let code = lock(&state.grants).code(code, context.settings.code_lifetime, context.now());
    back(asked, &[("code", &code), ("scopes", &scopes.join())])
}

/// Back to the app, with the state it sent.
fn back(asked: &Asked, params: &[(&str, &str)]) -> Answer {
    let Ok(mut url) = Url::parse(&asked.redirect_uri) else {
        return problem_page(&problem("redirect_uri", "redirect_uri is not a URL."));
    };
    url.query_pairs_mut().extend_pairs(params).extend_pairs(asked.state.iter().map(|state| ("state", state)));
    Answer::redirect(url.into())
}
