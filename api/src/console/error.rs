//! What can go wrong on a page, as the page that says so.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, LOCATION, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use askama::Template;
use shared::store::StoreError;

use super::page::HTML;
use crate::assets;
use crate::error::ApiError;
use crate::request_id;

/// A page that is not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Nobody has signed in. Leads to where one does, and back to this path.
    #[error("not signed in")]
    SignIn(String),
    /// No such page, or one of a project that the user is no member of: from outside they look alike.
    #[error("not found")]
    NotFound,
    /// A page that is there, but not with this method.
    #[error("no such method")]
    NoSuchMethod {
        /// Those that it has, as `Allow` lists them.
        allow: String,
    },
    /// A member whose role does not allow this.
    #[error("the role does not allow this")]
    Forbidden,
    /// A form without the token of its session, or from another site.
    #[error("the form is not one of this session's")]
    ForeignForm,
    /// A form that no page of ours sends.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A link that was used or has expired.
    #[error("the link works no longer")]
    DeadLink,
    /// A limit of ours.
    #[error("too many requests")]
    TooMany(Duration),
    /// More forms than one user may send.
    #[error("too many forms")]
    TooManyForms(Duration),
    /// A body that is too large, or does not come to its end.
    #[error("{0}")]
    Body(ApiError),
    /// Postgres is out of reach.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A bug.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<StoreError> for ConsoleError {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() { Self::Unavailable(error.to_string()) } else { Self::Internal(error.to_string()) }
    }
}

impl From<ApiError> for ConsoleError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::NotFound(_) => Self::NotFound,
            ApiError::RateLimited(refusal) => Self::TooMany(refusal.retry_after()),
            ApiError::Unavailable(detail) => Self::Unavailable(detail),
            ApiError::Internal(detail) => Self::Internal(detail),
            other => Self::Body(other),
        }
    }
}

impl ConsoleError {
    fn title(&self) -> &'static str {
        match self {
            Self::SignIn(_) => "Sign in first",
            Self::NotFound => "There is no such page",
            Self::NoSuchMethod { .. } => "This page takes no such request",
            Self::Forbidden => "Your role does not allow this",
            Self::ForeignForm => "This form is out of date",
            Self::Malformed(_) | Self::Body(_) => "This could not be read",
            Self::DeadLink => "This link works no longer",
            Self::TooMany(_) => "Too many tries",
            Self::TooManyForms(_) => "Too many forms at once",
            Self::Unavailable(_) => "Out of order for a moment",
            Self::Internal(_) => "Something went wrong",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::SignIn(_) => "You are not signed in.".into(),
            Self::NotFound => "It may have been deleted, or it belongs to a project that you are no member of.".into(),
            Self::NoSuchMethod { allow } => {
                format!("Nothing was changed. The methods of this address are: {allow}.")
            }
            Self::Forbidden => "Nothing was changed. An owner of the project can give you another role.".into(),
            Self::ForeignForm => {
                "Nothing was changed. You have signed in or out since the page was opened, or another site sent the form. \
                 Go back, reload the page, and try again."
                    .into()
            }
            Self::Malformed(what) => format!("Nothing was changed: {what}."),
            Self::Body(error) => format!("Nothing was changed: {error}."),
            Self::DeadLink => "It was used already, or has expired. Ask whoever gave it to you for another one.".into(),
            Self::TooMany(wait) => {
                format!("Nothing was changed. Wait {} and try again.", super::moment::span(*wait))
            }
            Self::TooManyForms(wait) => format!(
                "Nothing was changed by this one. This browser has sent more forms than a hand does: wait {} and send it \
                 again. For a program there is the API, whose keys may do more.",
                super::moment::span(*wait)
            ),
            Self::Unavailable(_) => "Nothing was changed. Try again in a few seconds.".into(),
            Self::Internal(_) => "The request id below finds the reason in the log.".into(),
        }
    }
}

/// The page. No layout: nothing must go wrong while it is made.
#[derive(Template)]
#[template(path = "console/error.html")]
struct ErrorPage<'a> {
    title: &'a str,
    text: &'a str,
    request_id: &'a str,
    css: String,
    icon: String,
}

impl ResponseError for ConsoleError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::SignIn(_) => StatusCode::SEE_OTHER,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NoSuchMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Forbidden | Self::ForeignForm => StatusCode::FORBIDDEN,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::DeadLink => StatusCode::GONE,
            Self::TooMany(_) | Self::TooManyForms(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Body(error) => error.status_code(),
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        match self {
            Self::SignIn(path) => {
                return response.insert_header((LOCATION, path.as_str())).finish();
            }
            Self::NoSuchMethod { allow } => {
                response.insert_header((ALLOW, allow.as_str()));
            }
            Self::TooMany(wait) | Self::TooManyForms(wait) => {
                response.insert_header((RETRY_AFTER, wait.as_secs().max(1).to_string()));
            }
            _ => {}
        }
        let request_id = request_id::current();
        let page = ErrorPage {
            title: self.title(),
            text: &self.text(),
            request_id: request_id.as_str(),
            css: assets::CONSOLE_CSS.url(),
            icon: assets::ICON.url(),
        };
        let page = page.render().unwrap_or_else(|_| self.title().to_owned());
        response.content_type(HTML).body(page)
    }
}
