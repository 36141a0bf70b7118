//! Failures on demand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, ApiError, OauthError};
use crate::endpoint::Endpoint;
use crate::settings::Settings;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    /// Nothing but the delay.
    Slow,
    /// 500 `internal_error`; of an OAuth endpoint `server_error`.
    InternalError,
    /// 502 and a page of HTML, as gateways answer.
    BadGateway,
    /// 200 without a body.
    EmptyBody,
    /// The first half of the right answer.
    Truncated,
    /// The connection is reset before anything is done.
    Reset,
    /// Everything is done (a token rotated, a grant revoked), then the connection is reset.
    LostAnswer,
    /// The error that `status`, `code` and `message` say.
    Error,
    /// 500 for `within_seconds` after the creator authorised the app.
    FreshGrant,
    /// `video_list`: the cursor of the answer is that of the request, with `has_more`.
    RepeatedCursor,
    /// `video_list`: no videos, `has_more`, and a cursor that is one millisecond on.
    EmptyPage,
    /// `video_list`: half of the page, with `has_more`.
    ShortPage,
    /// Counters come as strings.
    NumericStrings,
}

/// A fault, as `POST /control/faults` takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// Set by the sandbox.
    #[serde(default)]
    pub(crate) id: u64,
    pub(crate) endpoint: Endpoint,
    pub(crate) kind: FaultKind,
    /// How many requests it hits; all, until it is cleared, if absent.
    #[serde(default)]
    pub(crate) times: Option<u64>,
    /// Only requests for this creator.
    #[serde(default)]
    pub(crate) open_id: Option<String>,
    /// How many matching requests pass before the first is hit.
    #[serde(default)]
    pub(crate) after: u64,
    /// After a hit, the next one is so many matching requests later; the next one at once, if absent.
    #[serde(default)]
    pub(crate) every: Option<u64>,
    /// The answer waits so long, after its work was done.
    #[serde(default)]
    pub(crate) delay_ms: u64,
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) code: Option<String>,
    #[serde(default)]
    pub(crate) message: Option<String>,
    #[serde(default)]
    pub(crate) within_seconds: Option<i64>,
    /// How many requests it has hit.
    #[serde(default)]
    pub(crate) hits: u64,
}

impl Fault {
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// The answer that comes instead of the work, if this fault is of that sort.
    pub(crate) fn instead(&self, settings: &Settings, log_id: &str) -> Option<Answer> {
        let log_id = || log_id.to_owned();
        let answer = match self.kind {
            FaultKind::InternalError | FaultKind::FreshGrant if self.endpoint.is_oauth() => {
                Answer::oauth_error(500, OauthError::new("server_error", "Something went wrong."), log_id())
            }
            FaultKind::InternalError | FaultKind::FreshGrant => {
                Answer::api_error(ApiError::internal(), settings, log_id())
            }
            FaultKind::BadGateway => Answer::html(
                502,
                "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>".to_owned(),
            ),
            FaultKind::EmptyBody => Answer::empty(200),
            FaultKind::Reset => Answer::reset(),
            FaultKind::Error if self.endpoint.is_oauth() => {
                let error = OauthError::new(self.code(), self.message());
                Answer::oauth_error(self.status.unwrap_or(settings.oauth_error_status), error, log_id())
            }
            FaultKind::Error => {
                let error = ApiError::new(self.status.unwrap_or(200), self.code(), self.message());
                Answer::api_error(error, settings, log_id())
            }
            FaultKind::Slow
            | FaultKind::Truncated
            | FaultKind::LostAnswer
            | FaultKind::RepeatedCursor
            | FaultKind::EmptyPage
            | FaultKind::ShortPage
            | FaultKind::NumericStrings => return None,
        };
        Some(answer)
    }

    /// Spoils the right answer, if this fault is of that sort.
    pub(crate) fn spoil(&self, mut answer: Answer) -> Answer {
        match self.kind {
            FaultKind::Truncated => {
                answer.body.truncate(answer.body.len() / 2);
                answer
            }
            FaultKind::LostAnswer => Answer::reset(),
            _ => answer,
        }
    }

    fn code(&self) -> &str {
        self.code.as_deref().unwrap_or(if self.endpoint.is_oauth() { "server_error" } else { "internal_error" })
    }

    fn message(&self) -> &str {
        self.message.as_deref().unwrap_or("Told to fail.")
    }
}

#[derive(Default)]
pub(crate) struct Faults {
    all: Vec<Fault>,
    last_id: u64,
}

impl Faults {
    /// Adds a fault; its id.
    pub(crate) fn add(&mut self, fault: Fault) -> u64 {
        self.last_id += 1;
        self.all.push(Fault { id: self.last_id, hits: 0, ..fault });
        self.last_id
    }

    /// The first fault that hits this request. It is used up by one.
    pub(crate) fn take(
        &mut self,
        endpoint: Endpoint,
        open_id: Option<&str>,
        grant_age_ms: Option<i64>,
    ) -> Option<Fault> {
        for fault in &mut self.all {
            let of_this_creator = fault.open_id.is_none() || fault.open_id.as_deref() == open_id;
            let fresh_enough = fault.kind != FaultKind::FreshGrant
                || grant_age_ms.is_some_and(|age| age < fault.within_seconds.unwrap_or(10).saturating_mul(1000));
            let left = fault.times.is_none_or(|times| fault.hits < times);
            if fault.endpoint != endpoint || !of_this_creator || !fresh_enough || !left {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.hits += 1;
            fault.after = fault.every.map_or(0, |every| every.saturating_sub(1));
            return Some(fault.clone());
        }
        None
    }

    pub(crate) fn all(&self) -> &[Fault] {
        &self.all
    }

    /// Removes one fault, or all.
    pub(crate) fn clear(&mut self, id: Option<u64>) {
        self.all.retain(|fault| id.is_some_and(|id| fault.id != id));
    }
}
