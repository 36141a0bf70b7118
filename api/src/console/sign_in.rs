//! Signing in and out.

use std::net::IpAddr;

use actix_web::http::header::USER_AGENT;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::ids::UserId;
use shared::people::Email;
use shared::secret_token::SecretToken;
use shared::store::members::Actor;
use shared::store::sessions::NewSession;

use super::PATH;
use super::cookie::Jar;
use super::error::ConsoleError;
use super::form::Form;
use super::page::{Layout, answer, next_path, query, see_other, see_other_with};
use super::who::{SignedIn, Visitor};
use crate::app::Api;
use crate::client;

/// So much of what a browser calls itself is kept.
const MAX_BROWSER: usize = 200;

#[derive(Template)]
#[template(path = "console/sign-in.html")]
struct SignInPage {
    layout: Layout,
    email: String,
    next: String,
}

/// `GET /console/sign-in`.
pub async fn show(visitor: Visitor, request: HttpRequest) -> Result<HttpResponse, ConsoleError> {
    let next = query(&request, "next");
    let next = next_path(&next).unwrap_or(PATH);
    if visitor.session.is_some() {
        return Ok(see_other(next));
    }
    let layout = Layout::outside(&visitor, "Sign in");
    answer(false, &SignInPage { layout, email: String::new(), next: next.to_owned() })
}

/// `POST /console/sign-in`. What is wrong, the address or the password, nobody is told.
pub async fn sign_in(
    visitor: Visitor,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    let (typed, next) = (form.text("email"), next_path(form.text("next")).unwrap_or(PATH));
    let address = client::address(&request, &api.settings.trusted_proxies);
    let place = api.console.sign_ins.count(address, typed).map_err(ConsoleError::TooMany)?;
    let user = match typed.parse::<Email>() {
        Ok(email) => api.within(api.store.user_by_email(&email)).await?,
        Err(_) => None,
    };
    let stored = user.as_ref().and_then(|user| user.password.clone());
    let is_right = api.console.passwords.verify(form.text("password"), stored).await?;
    let account = user.as_ref().map(|user| user.id);
    let known = user.and_then(|user| Some((user.id, user.password?))).filter(|_| is_right);
    let begun = match &known {
        Some((user, password)) => begin_session(&api, &request, &visitor, (*user, password), next).await?,
        None => None,
    };
    if let Some(begun) = begun {
        api.console.sign_ins.give_back(place);
        return Ok(begun);
    }
    tracing::info!("a sign-in was refused");
    if let Some(user) = account {
        note_refusal(&api, user, &address_words(address));
    }
    let layout = Layout::outside(&visitor, "Sign in");
    let layout = layout.with_problem("There is no account with this email address and this password.");
    answer(true, &SignInPage { layout, email: typed.to_owned(), next: next.to_owned() })
}

/// Lets the account's user see it. Beside the answer: that it takes longer must not tell that there is such an account. The
/// limits of sign-ins are its own.
fn note_refusal(api: &Api, user: UserId, address: &str) {
    let (store, address) = (api.store.clone(), address.to_owned());
    api.runtime.spawn(async move {
        if let Err(error) = store.note_refused_sign_in(user, &address).await {
            tracing::warn!(%error, "a refused sign-in was not noted");
        }
    });
}

fn address_words(address: Option<IpAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}

/// `POST /console/sign-out`.
pub async fn sign_out(who: SignedIn, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    api.within(api.store.sign_out(who.actor(), who.session)).await?;
    Ok(see_other_with(&format!("{PATH}/sign-in"), Jar::of(&api.settings.public_url).clear()))
}

/// Begins a session for a user whose password is known, by its argon2id string; always under a new token: one that somebody
/// has planted in the browser before stays worth nothing. A session that this browser had ends. `None`: the password is another
/// one by now.
pub async fn begin_session(
    api: &Api,
    request: &HttpRequest,
    visitor: &Visitor,
    (user, password): (UserId, &str),
    next: &str,
) -> Result<Option<HttpResponse>, ConsoleError> {
    let token = SecretToken::generate();
    let browser = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let browser: String = browser.chars().take(MAX_BROWSER).collect();
    let address = client::address(request, &api.settings.trusted_proxies);
    let address = address_words(address);
    let session = NewSession { hash: &token.hash(), user, password, browser: &browser, address: &address };
    if !api.within(api.store.add_session(&session)).await? {
        return Ok(None);
    }
    if let Some(before) = &visitor.session {
        let actor = Actor { user: before.user, email: &before.email };
        api.within(api.store.end_session(actor, before.id)).await?;
    }
    tracing::info!(user_id = %user, "signed in");
    Ok(Some(see_other_with(next, Jar::of(&api.settings.public_url).write(&token))))
}

/// The same for who has just chosen the password. If it is another one already, one signs in with that.
pub async fn begin_first_session(
    api: &Api,
    request: &HttpRequest,
    visitor: &Visitor,
    known: (UserId, &str),
    next: &str,
) -> Result<HttpResponse, ConsoleError> {
    let begun = begin_session(api, request, visitor, known, next).await?;
    Ok(begun.unwrap_or_else(|| see_other(&format!("{PATH}/sign-in"))))
}
