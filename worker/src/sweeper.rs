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
/// How long a push, or the end of a job, may take from Postgres to Redis.
const MOMENT: Duration = Duration::from_millis(250);

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
    let mut suspects = Vec::new();
    while began.elapsed() < SLICE {
        let page = store.jobs_in_redis(after, PAGE).await?;
        let next = page.last().map(|job| job.message.id);
        let full = i64::try_from(page.len()).is_ok_and(|rows| rows >= PAGE);
        // Redis has lost everything a moment ago, and workers are still telling it what they run: the next sweep.
        let Some((unknown, known)) = unknown(queue, page).await? else { break };
        suspects.extend(unknown);
        promote(queue, known).await?;
        after = next.filter(|_| full);
        if !full {
            break;
        }
    }
    if !suspects.is_empty() {
        confirm(store, queue, suspects).await?;
    }
    Ok(after)
}

/// Those that no lane knows, and those that one does; `None` if it is too soon to say.
async fn unknown(queue: &Queue, jobs: Vec<OpenJob>) -> Result<Option<(Vec<OpenJob>, Vec<OpenJob>)>, SweepError> {
    let ids: Vec<JobId> = jobs.iter().map(|job| job.message.id).collect();
    let Sweep::Unknown(unknown) = queue.unknown(&ids).await? else { return Ok(None) };
    let unknown: HashSet<JobId> = unknown.into_iter().collect();
    Ok(Some(jobs.into_iter().partition(|job| unknown.contains(&job.message.id))))
}

/// Moves the jobs that somebody waits for and that the bulk lane alone knows: the word of it was lost on its way to Redis.
async fn promote(queue: &Queue, mut known: Vec<OpenJob>) -> Result<(), SweepError> {
    known.retain(|job| job.lane == Lane::Sync);
    let ids: Vec<JobId> = known.iter().map(|job| job.message.id).collect();
    let Sweep::Unknown(left_behind) = queue.unknown_to(Lane::Sync, &ids).await? else { return Ok(()) };
    for job in known.iter().filter(|job| left_behind.contains(&job.message.id)) {
        tracing::info!(job = %job.message.id, "a job that somebody waits for is moved to their lane");
        queue.promote(Lane::Bulk, &job.message).await?;
    }
    Ok(())
}

/// Looks again a moment later, and pushes what is still forgotten: a row is there before its push, and a job leaves Redis
/// before its row is read again.
async fn confirm(store: &Store, queue: &Queue, mut suspects: Vec<OpenJob>) -> Result<(), SweepError> {
    tokio::time::sleep(MOMENT).await;
    let ids: Vec<JobId> = suspects.iter().map(|job| job.message.id).collect();
    let over: HashSet<JobId> = store.last_words(&ids).await?.into_iter().map(|(id, _)| id).collect();
    suspects.retain(|job| !over.contains(&job.message.id));
    let Some((forgotten, _)) = unknown(queue, suspects).await? else { return Ok(()) };
    let pushed = push(queue, &forgotten).await?;
    if pushed > 0 {
        crate::measure::recovered(pushed);
        tracing::warn!(jobs = pushed, "Redis had forgotten open jobs; they are pushed again");
    }
    Ok(())
}

/// Pushes these, each into its lane and for its time. Gives the number that was new: other workers sweep as well.
async fn push(queue: &Queue, jobs: &[OpenJob]) -> Result<u64, SweepError> {
    let mut pushed = 0;
    for lane in Lane::VARIANTS {
        let due = jobs.iter().filter(|job| job.lane == *lane && job.delay.is_zero());
        let due: Vec<Message> = due.map(|job| job.message.clone()).collect();
        if !due.is_empty() {
            pushed += queue.push_many(*lane, &due).await?;
        }
    }
    for job in jobs.iter().filter(|job| !job.delay.is_zero()) {
        pushed += u64::from(queue.push(job.lane, &job.message, Some(job.delay)).await?);
    }
    Ok(pushed)
}
