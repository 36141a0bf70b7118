//! The sweeper: whatever open job Redis has forgotten is pushed again. DESIGN: Postgres holds the promise, Redis may be
//! flushed at any moment.
//!
//! Every worker process sweeps, with no leader: a push of a job that Redis knows changes nothing.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::Rng as _;
use shared::ids::JobId;
use shared::queue::{Lane, Message, Queue, QueueError, Sweep};
use shared::store::jobs::OpenJob;
use shared::store::{Store, StoreError};
use strum::VariantArray as _;

/// The pause between two sweeps, within these: processes that started together drift apart.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1500), Duration::from_millis(2500));
/// Rows at a time.
const PAGE: i64 = 500;
/// How long one sweep may take; the next one goes on where it stopped.
const SLICE: Duration = Duration::from_millis(500);

/// Why a sweep broke off.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Sweeps until it is dropped.
pub(crate) async fn run(store: Store, queue: Queue) {
    let mut after = None;
    let mut broken = false;
    loop {
        let pause = rand::rng().random_range(PAUSE.0..=PAUSE.1);
        tokio::time::sleep(pause).await;
        match sweep(&store, &queue, after).await {
            Ok(next) => {
                if broken {
                    tracing::info!("the sweeper sweeps again");
                }
                (after, broken) = (next, false);
            }
            // Once an outage, not once a sweep.
            Err(error) => {
                if !broken {
                    tracing::warn!(%error, "the sweeper waits");
                }
                broken = true;
            }
        }
    }
}

/// Looks at the open jobs after `after`, for at most a slice of time. Gives where to go on; `None` is from the start.
async fn sweep(store: &Store, queue: &Queue, mut after: Option<JobId>) -> Result<Option<JobId>, SweepError> {
    let began = Instant::now();
    let mut pushed = 0;
    while began.elapsed() < SLICE {
        let page = store.jobs_in_redis(after, PAGE).await?;
        let Some(last) = page.last().map(|job| job.message.id) else {
            after = None;
            break;
        };
        pushed += push_forgotten(queue, &page).await?;
        let full = i64::try_from(page.len()).is_ok_and(|rows| rows >= PAGE);
        after = full.then_some(last);
        if !full {
            break;
        }
    }
    if pushed > 0 {
        metrics::counter!("metriqlab_jobs_recovered_total").increment(pushed);
        tracing::warn!(jobs = pushed, "Redis had forgotten open jobs; they are pushed again");
    }
    Ok(after)
}

/// Pushes those that Redis does not know, in whatever lane. Gives their number.
async fn push_forgotten(queue: &Queue, page: &[OpenJob]) -> Result<u64, SweepError> {
    let ids: Vec<JobId> = page.iter().map(|job| job.message.id).collect();
    let Sweep::Unknown(unknown) = queue.unknown(&ids).await? else {
        // Redis has lost everything a moment ago: workers are still telling it what they run.
        return Ok(0);
    };
    let unknown: HashSet<JobId> = unknown.into_iter().collect();
    let forgotten = || page.iter().filter(|job| unknown.contains(&job.message.id));
    for lane in Lane::VARIANTS {
        let due = forgotten().filter(|job| job.lane == *lane && job.delay.is_zero());
        let due: Vec<Message> = due.map(|job| job.message.clone()).collect();
        if !due.is_empty() {
            queue.push_many(*lane, &due).await?;
        }
    }
    for job in forgotten().filter(|job| !job.delay.is_zero()) {
        queue.push(job.lane, &job.message, Some(job.delay)).await?;
    }
    Ok(u64::try_from(unknown.len()).unwrap_or(u64::MAX))
}
