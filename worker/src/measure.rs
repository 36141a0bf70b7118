//! What a worker counts. The names are stable: dashboards and alarms are built on them.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_histogram, histogram};
use shared::queue::{Final, Outcome};
use shared::store::jobs::JobKind;

const FINISHED: &str = "metriqlab_jobs_finished_total";
const RUN_TIME: &str = "metriqlab_jobs_run_seconds";

/// Describes the metrics.
pub(crate) fn describe() {
    describe_counter!(FINISHED, "Starts of jobs, by kind and by how they ended");
    describe_histogram!(RUN_TIME, "How long a start of a job took");
    describe_counter!("metriqlab_jobs_recovered_total", "Open jobs that Redis had forgotten");
    describe_counter!("metriqlab_jobs_revoke_stuck_total", "Failed tries of revocations that failed often");
}

/// Counts one start of a job.
pub(crate) fn job(kind: JobKind, outcome: &Outcome, took: Duration) {
    let kind = match kind {
        JobKind::Sync => "sync",
        JobKind::Revoke => "revoke",
    };
    counter!(FINISHED, "kind" => kind, "outcome" => name(outcome)).increment(1);
    histogram!(RUN_TIME, "kind" => kind).record(took);
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Final(Final::Done) => "done",
        Outcome::Final(Final::Failed { .. }) => "failed",
        Outcome::Final(Final::Cancelled) => "cancelled",
        Outcome::RetryIn(_) => "retry",
        Outcome::NotNow(_) => "not_now",
        Outcome::Gone => "gone",
        Outcome::Unknown => "unknown",
    }
}
