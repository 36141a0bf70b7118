//! What ties a request to the job that it queued, and the job to what it calls: W3C trace context, and the request's id.
//!
//! It travels with the job, in its row and in its message, as text: the `traceparent`, then, after a space, the id of the
//! request. Spans are `tracing`'s; whether anybody exports them is [`telemetry`](crate::telemetry)'s business.

use std::fmt;
use std::str::FromStr;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

const LONGEST_REQUEST_ID: usize = 128;

/// Where a piece of work belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    /// The span that asked for the work.
    span_id: SpanId,
    flags: TraceFlags,
    request_id: Option<String>,
}

/// This is no trace context of version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no trace context")]
pub struct NoTraceContext;

impl TraceContext {
    /// A trace of its own, for work that nobody else traces.
    pub fn random() -> Self {
        let (trace, span) = (Uuid::new_v4(), Uuid::new_v4());
        Self {
            trace_id: TraceId::from(trace.as_u128()),
            span_id: SpanId::from(span.as_u64_pair().0),
            flags: TraceFlags::SAMPLED,
            request_id: None,
        }
    }

    /// The context of `span`, if spans are exported.
    pub fn of_span(span: &Span) -> Option<Self> {
        let context = span.context();
        let context = context.span().span_context().clone();
        let (trace_id, span_id, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
        context.is_valid().then_some(Self { trace_id, span_id, flags, request_id: None })
    }

    /// The same, for the work of this request.
    #[must_use]
    pub fn of_request(mut self, id: &str) -> Self {
        self.request_id = is_request_id(id).then(|| id.to_owned());
        self
    }

    /// The trace's own id: 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        self.trace_id.to_string()
    }

    /// The request that asked for the work, if one did.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Makes `span` part of this trace: where spans are exported, and before it is entered for the first time.
    pub fn adopt(&self, span: &Span) {
        let remote = SpanContext::new(self.trace_id, self.span_id, self.flags, true, TraceState::NONE);
        // An error says that nobody exports this span.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote));
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags.to_u8())?;
        self.request_id.iter().try_for_each(|id| write!(f, " {id}"))
    }
}

impl FromStr for TraceContext {
    type Err = NoTraceContext;

    /// Reads a `traceparent` of version 00 (<https://www.w3.org/TR/trace-context/>), and the id of a request if one follows.
    fn from_str(text: &str) -> Result<Self, NoTraceContext> {
        let (traceparent, request_id) = text.split_once(' ').map_or((text, None), |(first, rest)| (first, Some(rest)));
        let mut parts = traceparent.split('-');
        let mut hex = |length: usize| {
            let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            parts.next().filter(|part| part.len() == length && part.bytes().all(is_lower_hex)).ok_or(NoTraceContext)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        if version != "00" || parts.next().is_some() {
            return Err(NoTraceContext);
        }
        let trace_id = TraceId::from_hex(trace).map_err(|_| NoTraceContext)?;
        let span_id = SpanId::from_hex(span).map_err(|_| NoTraceContext)?;
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).map_err(|_| NoTraceContext)?);
        if trace_id == TraceId::INVALID || span_id == SpanId::INVALID {
            return Err(NoTraceContext);
        }
        let request_id = request_id.filter(|id| is_request_id(id)).map(str::to_owned);
        Ok(Self { trace_id, span_id, flags, request_id })
    }
}

/// Whether a request may be called so: 1 to 128 characters of `[A-Za-z0-9._-]`.
pub fn is_request_id(id: &str) -> bool {
    (1..=LONGEST_REQUEST_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether anybody exports `span`: if not, what is said of it goes nowhere.
pub fn is_exported(span: &Span) -> bool {
    span.context().has_active_span()
}

/// Gives an exported span its full name, which was not known when it began.
pub fn rename(span: &Span, name: fmt::Arguments<'_>) {
    let context = span.context();
    if context.has_active_span() {
        context.span().update_name(name.to_string());
    }
}

/// Says one more thing of an exported span.
pub fn attribute(span: &Span, key: &'static str, value: impl Into<opentelemetry::Value>) {
    span.set_attribute(key, value);
}

/// Marks an exported span as failed, for this reason.
pub fn failed(span: &Span, reason: &str) {
    span.set_status(Status::error(reason.to_owned()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_as_it_was_written_and_what_is_none_is_refused() {
        for text in [TRACEPARENT.to_owned(), format!("{TRACEPARENT} req-1"), TRACEPARENT.replace("-01", "-00")] {
            assert_eq!(text.parse::<TraceContext>().map(|context| context.to_string()), Ok(text));
        }
        let new = TraceContext::random().of_request("find-me");
        assert_eq!(new.to_string().parse(), Ok(new.clone()));
        assert_eq!((new.trace_id().len(), new.request_id()), (32, Some("find-me")));
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-1",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-00",
        ] {
            assert_eq!(wrong.parse::<TraceContext>(), Err(NoTraceContext), "{wrong}");
        }
    }

    #[test]
    fn a_request_id_that_is_not_sane_is_left_out() {
        for id in ["two words", "", "semi;colon", &"x".repeat(129)] {
            let read: TraceContext = format!("{TRACEPARENT} {id}").parse().unwrap();
            assert_eq!(read.request_id(), None, "{id}");
            assert_eq!(read.of_request(id).request_id(), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text.parse::<TraceContext>();
        }
    }
}
