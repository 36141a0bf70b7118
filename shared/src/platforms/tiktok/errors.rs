//! TikTok's errors, in the words that every platform shares.

use std::error::Error as _;
use std::{fmt, io};

use reqwest::StatusCode;
use serde_json::Value;

use super::http::Reply;
use super::values::{clean, non_empty_text};
use crate::platforms::{PlatformError, Scopes};

/// The most that is kept of a platform's words.
const LONGEST_MESSAGE: usize = 300;

/// An error as TikTok words it.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) code: String,
    message: String,
    pub(super) log_id: Option<String>,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Complaint {
    /// The flat error of an OAuth endpoint, if the answer is one. An empty `error` is none.
    pub(super) fn of_oauth(reply: &Reply, root: &Value) -> Option<Self> {
        let code = match root.get("error")? {
            // The shape of the other endpoints, should it ever come here.
            Value::Object(_) => return Self::of_api(reply, root),
            Value::Null => None,
            Value::String(code) => Some(clean(code)).filter(|code| !code.is_empty()),
            other => Some(other.to_string()),
        }?;
        let (message, log_id) = (non_empty_text(root, "error_description"), non_empty_text(root, "log_id"));
        Some(Self::new(&code, message.as_deref(), log_id.as_deref(), reply))
    }

    /// The error of an endpoint of the Display API, if the answer has one. `ok` is none.
    pub(super) fn of_api(reply: &Reply, root: &Value) -> Option<Self> {
        let error = root.get("error")?;
        let code = non_empty_text(error, "code").filter(|code| code != "ok")?;
        let (message, log_id) = (non_empty_text(error, "message"), non_empty_text(error, "log_id"));
        Some(Self::new(&code, message.as_deref(), log_id.as_deref(), reply))
    }

    fn new(code: &str, message: Option<&str>, log_id: Option<&str>, reply: &Reply) -> Self {
        let words = |text: &str| text.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect();
        let log_id = log_id.map(words).or_else(|| reply.log_id.clone());
        Self { code: words(code), message: message.map(words).unwrap_or_default(), log_id }
    }

    /// What an OAuth endpoint's complaint means. Decided by its code: TikTok sends OAuth errors with status 200 too.
    pub(super) fn about_grant(self, reply: &Reply) -> PlatformError {
        let Self { code, message, log_id } = self;
        match code.as_str() {
            "invalid_grant" => PlatformError::GrantDead { message, log_id },
            "access_token_invalid" | "invalid_token" => PlatformError::TokenInvalid { log_id },
            "rate_limit_exceeded" => PlatformError::RateLimited { retry_after: reply.retry_after, log_id },
            "server_error" | "temporarily_unavailable" | "internal_error" => unavailable(&code, &message, log_id),
            _ if reply.status == StatusCode::TOO_MANY_REQUESTS => {
                PlatformError::RateLimited { retry_after: reply.retry_after, log_id }
            }
            _ if reply.status.is_server_error() => unavailable(&code, &message, log_id),
            // invalid_client, invalid_request and their like; and what TikTok may come to say: none of it is its clear
            // word that the grant is dead.
            _ => PlatformError::Rejected { code, message, log_id },
        }
    }

    /// What a complaint of the Display API means. Decided by its code, since two codes share 401 and errors come with
    /// status 200 too; by the status if the code is unknown. `needed` are the scopes that the request needs.
    pub(super) fn about_call(self, reply: &Reply, needed: &Scopes) -> PlatformError {
        let Self { code, message, log_id } = self;
        match code.as_str() {
            "access_token_invalid" => PlatformError::TokenInvalid { log_id },
            "scope_not_authorized" | "scope_permission_missed" => {
                PlatformError::ScopeMissing { scopes: suspects(&message, needed), message, log_id }
            }
            // The Content Posting API spells it in the singular.
            "invalid_params" | "invalid_param" | "invalid_file_upload" => {
                PlatformError::Rejected { code, message, log_id }
            }
            "rate_limit_exceeded" => PlatformError::RateLimited { retry_after: reply.retry_after, log_id },
            "internal_error" => unavailable(&code, &message, log_id),
            _ => match reply.status.as_u16() {
                401 => PlatformError::TokenInvalid { log_id },
                429 => PlatformError::RateLimited { retry_after: reply.retry_after, log_id },
                408 => unavailable(&code, &message, log_id),
                400..=499 => PlatformError::Rejected { code, message, log_id },
                _ => unavailable(&code, &message, log_id),
            },
        }
    }
}

/// An answer that is neither what was asked nor an error as TikTok documents them: `what` says how.
pub(super) fn unreadable(reply: &Reply, what: &str) -> PlatformError {
    let (status, log_id) = (reply.status, reply.log_id.clone());
    if status == StatusCode::TOO_MANY_REQUESTS {
        return PlatformError::RateLimited { retry_after: reply.retry_after, log_id };
    }
    // TikTok's gateway, about a path or method that it does not know: no retry helps.
    if reply.body.starts_with(b"Unsupported path") {
        let message = "TikTok knows no such path: is TIKTOK_API_URL right?".to_owned();
        return PlatformError::Rejected { code: "unsupported_path".to_owned(), message, log_id };
    }
    PlatformError::Unavailable { message: format!("{what}, status {}", status.as_u16()), log_id }
}

/// No answer came, or not all of it; or nothing was sent.
pub(super) fn no_answer(error: &reqwest::Error) -> PlatformError {
    if error.is_builder() {
        // A token with a line break, for example. The error does not repeat it.
        let message = "the request can't be written".to_owned();
        return PlatformError::Rejected { code: "unsendable".to_owned(), message, log_id: None };
    }
    let message = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        // The last cause says what happened ("connection refused"); the first would repeat the URL.
        let mut cause = error.source();
        while let Some(deeper) = cause.and_then(|cause| cause.source()) {
            cause = Some(deeper);
        }
        let cause = cause.map_or_else(String::new, |cause| format!(": {}", in_words(cause)));
        format!("{}{cause}", if error.is_connect() { "can't connect" } else { "the connection failed" })
    };
    PlatformError::Unavailable { message, log_id: None }
}

/// A cause as a client may read it: what the system calls it is of this machine.
fn in_words(cause: &(dyn std::error::Error + 'static)) -> String {
    let of_the_system = cause.downcast_ref::<io::Error>().filter(|error| error.raw_os_error().is_some());
    of_the_system.map_or_else(|| cause.to_string(), |error| error.kind().to_string())
}

fn unavailable(code: &str, message: &str, log_id: Option<String>) -> PlatformError {
    PlatformError::Unavailable { message: format!("{code}: {message}"), log_id }
}

/// Which of the needed scopes may be missing: those that TikTok names, or else all but the one that every creator
/// grants (reference: `user.info.basic` is added to every app), or else all.
fn suspects(message: &str, needed: &Scopes) -> Scopes {
    let choose = |test: &dyn Fn(&str) -> bool| -> Scopes { needed.iter().filter(|scope| test(scope)).collect() };
    let named = choose(&|scope| message.contains(scope));
    if !named.is_empty() {
        return named;
    }
    let optional = choose(&|scope| scope != super::api::BASIC);
    if optional.is_empty() { needed.clone() } else { optional }
}
