//! The span of one start of a job: what its lines in the log and its place in a trace are known by.

use shared::queue::{Delivery, Final, Outcome};
use shared::store::jobs::{Job, JobKind};
use shared::trace::{self, TraceContext};
use tracing::field::{Empty, display};
use tracing::{Span, info_span};

/// A span under the request that queued the job, or at the head of a trace of its own.
pub(super) fn of(delivery: &Delivery, kind: JobKind) -> Span {
    let context = delivery.message.trace.as_deref().and_then(|text| text.parse::<TraceContext>().ok());
    let request_id = context.as_ref().and_then(TraceContext::request_id);
    let span = info_span!(parent: None, "job", otel.kind = "consumer", job_id = %delivery.message.id, %kind,
        lane = %delivery.lane, creator_id = Empty, attempt = Empty, request_id, trace_id = Empty);
    if let Some(context) = &context {
        context.adopt(&span);
    }
    if let Some(context) = TraceContext::of_span(&span).or(context) {
        span.record("trace_id", context.trace_id());
    }
    trace::rename(&span, format_args!("job {kind}"));
    span
}

/// From here on it is known whose job it is.
pub(super) fn started(job: &Job) {
    Span::current().record("creator_id", display(job.creator_id)).record("attempt", job.attempts);
}

/// How it ended, for the trace.
pub(super) fn ended(span: &Span, outcome: &Outcome) {
    trace::attribute(span, "outcome", outcome.name());
    if let Outcome::RetryIn(_) | Outcome::Final(Final::Failed { .. }) = outcome {
        trace::failed(span, outcome.name());
    }
}
