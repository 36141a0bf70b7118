//! W3C trace context: what ties a request to the job that it queued.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use uuid::Uuid;

/// The header of a request.
pub const HEADER: HeaderName = HeaderName::from_static("traceparent");

/// A `traceparent` of version 00 (<https://www.w3.org/TR/trace-context/>): the client's own if it is well-formed, or a new
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext(String);

impl TraceContext {
    /// The context that the client sent, or a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(HEADER).and_then(|value| value.to_str().ok()).filter(|text| is_valid(text));
        sent.map_or_else(Self::new, |text| Self(text.to_owned()))
    }

    fn new() -> Self {
        let parent = Uuid::new_v4().simple().to_string();
        Self(format!("00-{}-{}-01", Uuid::new_v4().simple(), parent.get(..16).unwrap_or_default()))
    }

    /// As it travels with a job.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace's own id, for the log.
    pub fn trace_id(&self) -> &str {
        self.0.get(3..35).unwrap_or_default()
    }
}

fn is_valid(text: &str) -> bool {
    let hex = |part: Option<&str>, length: usize| {
        part.is_some_and(|part| {
            part.len() == length
                && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
                && (length == 2 || part.bytes().any(|byte| byte != b'0'))
        })
    };
    let mut parts = text.split('-');
    parts.next() == Some("00")
        && hex(parts.next(), 32)
        && hex(parts.next(), 16)
        && hex(parts.next(), 2)
        && parts.next().is_none()
}

impl FromRequest for TraceContext {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(request.extensions().get::<Self>().cloned().unwrap_or_else(Self::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_context_is_valid_and_others_are_checked() {
        let new = TraceContext::new();
        assert!(is_valid(new.as_str()) && new.trace_id().len() == 32, "{new:?}");
        assert!(is_valid("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"));
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-1",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-00",
        ] {
            assert!(!is_valid(wrong), "{wrong}");
        }
    }
}
