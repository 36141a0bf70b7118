//! What a worker counts. The names are stable: dashboards and alarms are built on them.

use std::time::Duration;

use chrono::Utc;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use shared::queue::{Lane, Liveness, Outcome};
use shared::store::jobs::{Job, JobKind};

const FINISHED: &str = "metriqlab_jobs_finished_total";
const RUN_TIME: &str = "metriqlab_jobs_run_seconds";
const WAIT: &str = "metriqlab_jobs_wait_seconds";
const RECOVERED: &str = "metriqlab_jobs_recovered_total";
const STUCK: &str = "metriqlab_jobs_revoke_stuck_total";
const PARKED: &str = "metriqlab_jobs_parked_total";
const SCHEDULED: &str = "metriqlab_resync_scheduled_total";
const FED: &str = "metriqlab_resync_fed_total";
const SLOTS: &str = "metriqlab_worker_slots";
const RUNNING: &str = "metriqlab_worker_jobs_running";
const LAST_FETCH: &str = "metriqlab_worker_last_fetch_seconds";
const TICK: &str = "metriqlab_resync_tick_seconds";

/// As the gauges of the fleet.
const PACE: Duration = Duration::from_secs(5);

/// How starts end, as [`name`] has it: a job of a kind that is not known is not started.
const OUTCOMES: [&str; 6] = ["done", "failed", "cancelled", "retry", "not_now", "gone"];

/// Describes the metrics.
pub(crate) fn describe() {
    describe_counter!(FINISHED, "Starts of jobs, by kind and by how they ended");
    describe_histogram!(RUN_TIME, Unit::Seconds, "How long a start of a job took, by kind and by how it ended");
    describe_histogram!(
        WAIT,
        Unit::Seconds,
        "From when a job was due to its start, by kind, lane and how that start ended"
    );
    describe_counter!(RECOVERED, "Open jobs that Redis had forgotten and the sweeper pushed again");
    describe_counter!(STUCK, "Failed tries of revocations that failed often, or starts of ones held for long");
    describe_counter!(PARKED, "Syncs that stopped before their end and kept what they had read");
    describe_counter!(SCHEDULED, "Jobs that the schedule made for creators that were due");
    describe_counter!(FED, "Bulk jobs that were moved from Postgres to Redis");
    describe_histogram!(TICK, Unit::Seconds, "How long a tick of the scheduler took");
    describe_gauge!(SLOTS, "Jobs that this worker runs at a time");
    describe_gauge!(RUNNING, "Jobs that this worker holds");
    describe_gauge!(LAST_FETCH, Unit::Seconds, "Since Redis last answered a fetch; 0 while no slot is free");
    // A rate over a counter that appears with its first event misses that event.
    for name in [RECOVERED, STUCK, PARKED, SCHEDULED, FED] {
        counter!(name).increment(0);
    }
    for kind in [JobKind::Sync, JobKind::Revoke] {
        for outcome in OUTCOMES {
            counter!(FINISHED, "kind" => label(kind), "outcome" => outcome).increment(0);
        }
    }
}

/// How long a job has waited at its start: since it was made, or since its next try was due. The two clocks are this machine's
/// and Postgres's.
pub(crate) fn waited(job: &Job) -> Duration {
    (Utc::now() - job.run_at).to_std().unwrap_or_default()
}

/// Notes how a worker process is, again and again: where an API shares its process, nobody else may ask.
pub(crate) async fn watch(slots: usize, liveness: Liveness) {
    loop {
        worker(slots, liveness.running(), liveness.last_fetch_age());
        tokio::time::sleep(PACE).await;
    }
}

/// Notes how a worker process is: its slots, how many of them hold a job, and how long ago Redis last answered a fetch.
pub(crate) fn worker(slots: usize, running: usize, last_fetch: Duration) {
    gauge!(SLOTS).set(u32::try_from(slots).map_or(f64::INFINITY, f64::from));
    gauge!(RUNNING).set(u32::try_from(running).map_or(f64::INFINITY, f64::from));
    gauge!(LAST_FETCH).set(last_fetch.as_secs_f64());
}

/// Counts open jobs that the sweeper pushed again.
pub(crate) fn recovered(jobs: u64) {
    counter!(RECOVERED).increment(jobs);
}

/// Counts a failed try of a revocation that failed often, or a start of one that an outage has held for long.
pub(crate) fn revocation_is_stuck() {
    counter!(STUCK).increment(1);
}

/// Counts a sync that was parked.
pub(crate) fn parked() {
    counter!(PARKED).increment(1);
}

/// Counts the jobs that the schedule made.
pub(crate) fn scheduled(jobs: u64) {
    counter!(SCHEDULED).increment(jobs);
}

/// Counts the bulk jobs that Redis was given.
pub(crate) fn fed(jobs: usize) {
    counter!(FED).increment(jobs as u64);
}

/// Notes how long a tick of the scheduler took.
pub(crate) fn ticked(took: Duration) {
    histogram!(TICK).record(took);
}

fn label(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Sync => "sync",
        JobKind::Revoke => "revoke",
    }
}

/// Counts one start of a job of `lane`, which had `waited` for it if there was still something to do, and then took so long.
pub(crate) fn job(kind: JobKind, lane: Lane, outcome: &Outcome, waited: Option<Duration>, took: Duration) {
    let (kind, outcome) = (label(kind), outcome.name());
    counter!(FINISHED, "kind" => kind, "outcome" => outcome).increment(1);
    histogram!(RUN_TIME, "kind" => kind, "outcome" => outcome).record(took);
    if let Some(waited) = waited {
        histogram!(WAIT, "kind" => kind, "lane" => lane.as_str(), "outcome" => outcome).record(waited);
    }
}
