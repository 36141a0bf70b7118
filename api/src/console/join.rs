//! Invitations, as whoever holds the link sees them.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::ids::UserId;
use shared::people::Email;
use shared::secret_token::SecretToken;
use shared::store::invitations::{Invitation, Joining};
use shared::store::members::Actor;
use shared::store::sessions::Session;

use super::PATH;
use super::error::ConsoleError;
use super::form::Form;
use super::page::{Layout, answer, look_up, path_token, see_other};
use super::password::NewPassword;
use super::sign_in::begin_first_session;
use super::who::Visitor;
use crate::app::Api;

#[derive(Template)]
#[template(path = "console/join.html")]
struct JoinPage {
    layout: Layout,
    invitation: Invitation,
    /// Who is signed in already; empty for nobody.
    member: String,
    email: String,
    /// Where who has an account signs in, to come back here.
    sign_in: String,
}

impl JoinPage {
    fn new(layout: Layout, invitation: Invitation, visitor: &Visitor, token: &SecretToken, email: &str) -> Self {
        let member = visitor.session.as_ref().map(|session| session.email.to_string()).unwrap_or_default();
        // A token needs no escaping in a URL.
        let sign_in = format!("{PATH}/sign-in?next={PATH}/join/{}", token.expose());
        Self { layout, invitation, member, email: email.to_owned(), sign_in }
    }
}

/// `GET /console/join/{token}`.
pub async fn show(visitor: Visitor, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let token = path_token(&request)?;
    let invitation = look_up(&api, &request, api.store.invitation(&token.hash())).await?;
    let layout = Layout::outside(&visitor, "Join a project");
    answer(false, &JoinPage::new(layout, invitation, &visitor, &token, ""))
}

/// `POST /console/join/{token}`: joins, with the account that is signed in or with a new one.
pub async fn join(
    visitor: Visitor,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    let token = path_token(&request)?;
    if let Some(session) = &visitor.session {
        return join_as(&api, &request, session, &token).await;
    }
    let invitation = look_up(&api, &request, api.store.invitation(&token.hash())).await?;
    let problem = match join_as_new(&api, &form, &token).await? {
        Ok((user, password)) => {
            let next = format!("{PATH}/projects/{}/keys?done=joined", invitation.project);
            return begin_first_session(&api, &request, &visitor, (user, &password), &next).await;
        }
        Err(problem) => problem,
    };
    let layout = Layout::outside(&visitor, "Join a project").with_problem(problem);
    answer(true, &JoinPage::new(layout, invitation, &visitor, &token, form.text("email")))
}

async fn join_as(
    api: &Api,
    request: &HttpRequest,
    session: &Session,
    token: &SecretToken,
) -> Result<HttpResponse, ConsoleError> {
    let actor = Actor { user: session.user, email: &session.email };
    let project = look_up(api, request, api.store.join(&token.hash(), actor)).await?;
    Ok(see_other(&format!("{PATH}/projects/{project}/keys?done=joined")))
}

/// The new user and the password's string, or what is wrong with the form.
async fn join_as_new(
    api: &Api,
    form: &Form,
    token: &SecretToken,
) -> Result<Result<(UserId, String), &'static str>, ConsoleError> {
    let Ok(email) = form.text("email").parse::<Email>() else {
        return Ok(Err("This is not an email address."));
    };
    let password = match NewPassword::check(form.text("password"), form.text("repeated")) {
        Ok(password) => password,
        Err(problem) => return Ok(Err(problem)),
    };
    let password = api.console.passwords.hash(password).await?;
    match api.within(api.store.join_as_new_user(&token.hash(), &email, &password)).await? {
        Joining::Done(user, _) => Ok(Ok((user, password))),
        Joining::NotFound => Err(ConsoleError::DeadLink),
        Joining::EmailTaken => Ok(Err("There is an account with this email address: sign in with it first.")),
    }
}
