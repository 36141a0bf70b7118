//! Links with which people set their passwords: the first one, or a new one when it is forgotten.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::PATH;
use super::error::ConsoleError;
use super::form::Form;
use super::page::{Layout, answer, look_up, path_token};
use super::password::NewPassword;
use super::sign_in::begin_first_session;
use super::who::Visitor;
use crate::app::Api;

#[derive(Template)]
#[template(path = "console/password.html")]
struct PasswordPage {
    layout: Layout,
    email: String,
}

/// `GET /console/password/{token}`.
pub async fn show(visitor: Visitor, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let token = path_token(&request)?;
    let email = look_up(&api, &request, api.store.password_link(&token.hash())).await?;
    let layout = Layout::outside(&visitor, "Choose a password");
    answer(false, &PasswordPage { layout, email: email.to_string() })
}

/// `POST /console/password/{token}`: sets it, and signs in.
pub async fn set(
    visitor: Visitor,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    let token = path_token(&request)?;
    let email = look_up(&api, &request, api.store.password_link(&token.hash())).await?;
    let password = match NewPassword::check(form.text("password"), form.text("repeated")) {
        Ok(password) => password,
        Err(problem) => {
            let layout = Layout::outside(&visitor, "Choose a password").with_problem(problem);
            return answer(true, &PasswordPage { layout, email: email.to_string() });
        }
    };
    let password = api.console.passwords.hash(password).await?;
    let owner = api.within(api.store.use_password_link(&token.hash(), &password)).await?;
    let user = owner.ok_or(ConsoleError::DeadLink)?;
    begin_first_session(&api, &request, &visitor, (user, &password), PATH).await
}
