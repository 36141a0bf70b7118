//! What ties a request to the job that it queued: W3C trace context (<https://www.w3.org/TR/trace-context/>).

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use shared::trace;
use tracing::Span;

use crate::request_id::RequestId;

/// The header of a request.
pub const HEADER: HeaderName = HeaderName::from_static("traceparent");

/// The context of a request as it travels with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext(String);

impl TraceContext {
    /// Makes `span`, which has not been entered yet, the request's own: part of the client's trace if it sent one, or of a
    /// new one. What the request queues belongs under it.
    pub fn of(headers: &HeaderMap, span: &Span, id: &RequestId) -> Self {
        let sent = headers.get(HEADER).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|text| text.parse::<trace::TraceContext>().ok());
        if let Some(sent) = &sent {
            sent.adopt(span);
        }
        let context = trace::TraceContext::of_span(span).or(sent).unwrap_or_else(trace::TraceContext::random);
        span.record("trace_id", context.trace_id());
        Self(context.of_request(id.as_str()).to_string())
    }

    /// As it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromRequest for TraceContext {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let known = request.extensions().get::<Self>().cloned();
        ready(Ok(known.unwrap_or_else(|| Self(trace::TraceContext::random().to_string()))))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn the_clients_trace_goes_on_and_what_is_none_begins_a_new_one() {
        let id = RequestId::of(&HeaderMap::new());
        let of = |sent: &'static str| {
            let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_static(sent))]);
            TraceContext::of(&headers, &Span::none(), &id).0
        };
        let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        assert_eq!(of(sent), format!("{sent} {id}"));
        for wrong in ["", "4bf92f3577b34da6a3ce929d0e0e4736"] {
            let new = of(wrong).parse::<trace::TraceContext>().expect("a new one");
            assert_eq!(new.request_id(), Some(id.as_str()));
        }
    }
}
