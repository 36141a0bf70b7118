//! A job's way through a worker: start it, do it, write how it ended.

mod calls;
mod halt;
mod listing;
mod policy;
mod progress;
mod revoke;
mod span;
mod sync;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use shared::cadence::Cadence;
use shared::platforms::tiktok::TikTok;
use shared::queue::{Delivery, Final, Lane, Outcome, ProgressVoice, Queue};
use shared::store::jobs::{Failure, Job, JobKind, Start};
use shared::store::{Store, StoreError};
use shared::tokens::Tokens;
use tracing::Instrument as _;

use halt::Halt;

/// What the jobs work with.
pub(crate) struct Context {
    pub store: Store,
    pub queue: Queue,
    pub tokens: Tokens,
    pub tiktok: TikTok,
    /// Tells who watches how far a sync is.
    pub voice: ProgressVoice,
    /// The schedule.
    pub cadence: Cadence,
}

/// Does one delivery of the queue. A kind that this version does not know is left for one that does.
pub(crate) async fn handle(context: Arc<Context>, delivery: Delivery) -> Outcome {
    let Ok(kind) = delivery.message.kind.parse::<JobKind>() else {
        tracing::debug!(kind = delivery.message.kind, "a job of an unknown kind is left alone");
        return Outcome::Unknown;
    };
    let span = span::of(&delivery, kind);
    let (began, mut waited) = (Instant::now(), None);
    let outcome = async {
        tokio::select! {
            biased;
            // The job is another's, or this process ends. The row stays as it is: who starts it next has a higher claim.
            () = delivery.stop.cancelled() => Outcome::RetryIn(Duration::ZERO),
            outcome = run(&context, &delivery, &mut waited) => outcome,
        }
    }
    .instrument(span.clone())
    .await;
    span::ended(&span, &outcome);
    crate::measure::job(kind, delivery.lane, &outcome, waited, began.elapsed());
    outcome
}

/// Starts the job and does it. How long it had `waited` is known from its start on, also if this is dropped.
async fn run(context: &Arc<Context>, delivery: &Delivery, waited: &mut Option<Duration>) -> Outcome {
    let job = match context.store.start_job(delivery.message.id).await {
        Ok(Start::Claimed(job)) => {
            span::started(&job);
            *waited = Some(crate::measure::waited(&job));
            job
        }
        // Its last word was written and its notice perhaps lost: the queue sends it again.
        Ok(Start::Finished(word)) => return Outcome::Final(word),
        Ok(Start::Unknown) => return Outcome::Gone,
        Err(error) => return store_failed(&error),
    };
    let began = Instant::now();
    match survive(work(context, delivery, &job)).await {
        Ok(()) => Outcome::Final(Final::Done),
        Err(halt) => conclude(context, delivery, &job, halt, began.elapsed()).await,
    }
}

/// A panic is a failed try like another: caught only by the queue it would leave the row running, and the next start would
/// count as the same attempt, for ever.
async fn survive(work: impl Future<Output = Result<(), Halt>>) -> Result<(), Halt> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| Err(Halt::Retry(panicked())))
}

async fn work(context: &Arc<Context>, delivery: &Delivery, job: &Job) -> Result<(), Halt> {
    match job.kind {
        JobKind::Sync if delivery.is_poison() => Err(Halt::Fail(crashed(delivery.crashes, job))),
        // Boxed: it is large, and there are many.
        JobKind::Sync => Box::pin(sync::run(context, delivery, job)).await,
        JobKind::Revoke => revoke::run(context, delivery, job).await,
    }
}

/// Writes how a job ended that was not done this time, after so long, behind its fence, and says so to the queue.
async fn conclude(context: &Context, delivery: &Delivery, job: &Job, halt: Halt, took: Duration) -> Outcome {
    let written = match halt {
        Halt::Superseded => Ok(Outcome::Gone),
        Halt::Disconnected => cancel(context, job).await,
        // Who waits learns that the platform has failed, within the time that its tries have. All others wait, and no attempt
        // is spent on what is nobody's fault.
        Halt::Held(_) if job.kind == JobKind::Sync && is_waited_for(delivery, job) => {
            retry(context, delivery, job, &held(job), took).await
        }
        Halt::Held(_) if job.kind == JobKind::Revoke => {
            let delay = policy::held_revocation(job);
            postpone(context, delivery, job, delay).await
        }
        Halt::NotNow(delay) | Halt::Held(delay) => postpone(context, delivery, job, delay).await,
        // Another try within seconds would be refused the same.
        Halt::Rejected(failure) if job.kind == JobKind::Sync && is_waited_for(delivery, job) => {
            fail(context, job, &failure).await
        }
        Halt::Retry(failure) | Halt::Rejected(failure) => retry(context, delivery, job, &failure, took).await,
        Halt::Refused(failure) => refused(context, delivery, job, &failure).await,
        Halt::Fail(failure) => fail(context, job, &failure).await,
        Halt::Store(error) if error.is_unavailable() => Err(error),
        Halt::Store(error) => {
            tracing::error!(%error, "a bug, or a schema that is not ours");
            retry(context, delivery, job, &Failure::internal("the store refused a query"), took).await
        }
    };
    written.unwrap_or_else(|error| store_failed(&error))
}

fn is_waited_for(delivery: &Delivery, job: &Job) -> bool {
    job.lane.is_interactive() || *delivery.interactive.borrow()
}

async fn cancel(context: &Context, job: &Job) -> Result<Outcome, StoreError> {
    // Only for a creator that is gone without a disconnect: one would have cancelled the job already.
    if context.store.cancel_job(job.fence()).await? {
        return Ok(Outcome::Final(Final::Cancelled));
    }
    let word = context.store.last_words(&[job.id]).await?.pop();
    Ok(word.map_or(Outcome::Gone, |(_, word)| Outcome::Final(word)))
}

async fn postpone(context: &Context, delivery: &Delivery, job: &Job, delay: Duration) -> Result<Outcome, StoreError> {
    if !context.store.postpone_job(job.fence(), delay).await? {
        return Ok(Outcome::Gone);
    }
    // In a lane that somebody waits on it has another class at the budget, and may be served at once.
    Ok(again(context, delivery, job, (delivery.lane, Duration::ZERO)).await?.unwrap_or(Outcome::NotNow(delay)))
}

async fn retry(
    context: &Context,
    delivery: &Delivery,
    job: &Job,
    failure: &Failure,
    took: Duration,
) -> Result<Outcome, StoreError> {
    // The row, not the delivery, says in which lane the job is by now: somebody may wait for a bulk job since. It moves
    // once at most, so the second write meets it where the second look saw it.
    for _ in 0..2 {
        let Some(now) = context.store.job(job.project_id, job.id).await? else {
            return Ok(Outcome::Gone);
        };
        let Some(delay) = policy::next_try(now.kind, now.lane, now.attempts, took) else {
            return fail(context, job, failure).await;
        };
        if context.store.retry_job(job.fence(), now.lane, delay, failure).await? {
            policy::warn_if_stuck(job, now.attempts, failure, delay);
            return Ok(again(context, delivery, job, (now.lane, delay)).await?.unwrap_or(Outcome::RetryIn(delay)));
        }
    }
    Ok(Outcome::Gone)
}

/// A job that changed its lane while it ran is not put back into the one that it was delivered from: it goes to its new
/// one, for after the delay that was `written` for that lane. If it changed after that, somebody waits for it: it goes at once.
async fn again(
    context: &Context,
    delivery: &Delivery,
    job: &Job,
    (written, delay): (Lane, Duration),
) -> Result<Option<Outcome>, StoreError> {
    let Some(now) = context.store.job(job.project_id, job.id).await? else {
        return Ok(Some(Outcome::Gone));
    };
    if now.lane == delivery.lane {
        return Ok(None);
    }
    let delay = if now.lane == written { delay } else { Duration::ZERO };
    if let Err(error) = context.queue.push(now.lane, &delivery.message, Some(delay)).await {
        tracing::debug!(%error, "the sweeper will push it");
    }
    Ok(Some(Outcome::Gone))
}

/// The creator must connect again. If it has meanwhile, the job goes on with the new tokens.
async fn refused(context: &Context, delivery: &Delivery, job: &Job, failure: &Failure) -> Result<Outcome, StoreError> {
    if !context.store.fail_refused_job(job.fence(), failure).await? {
        return postpone(context, delivery, job, halt::BUSY).await;
    }
    Ok(given_up(job, failure))
}

async fn fail(context: &Context, job: &Job, failure: &Failure) -> Result<Outcome, StoreError> {
    if !context.store.fail_job(job.fence(), failure).await? {
        return Ok(Outcome::Gone);
    }
    Ok(given_up(job, failure))
}

fn given_up(job: &Job, failure: &Failure) -> Outcome {
    tracing::warn!(creator = %job.creator_id, code = failure.code, error = failure.message, "the job is given up");
    Outcome::Final(Final::Failed { code: failure.code.to_owned() })
}

/// Nothing was written, so the next start of the job counts as the same attempt.
fn store_failed(error: &StoreError) -> Outcome {
    let pause = policy::store_pause();
    tracing::warn!(%error, ?pause, "the job goes on when Postgres does");
    Outcome::RetryIn(pause)
}

fn crashed(times: u32, job: &Job) -> Failure {
    after_last_error("internal", &format!("the job ended its worker {times} times"), job)
}

fn held(job: &Job) -> Failure {
    after_last_error("platform_error", "the platform is out of order, and is not called until it has recovered", job)
}

/// What is said of a try that came to nothing of its own hides what the one before it was told, which somebody may have to look
/// into: it is said, too, and its `log_id` stays in the row.
fn after_last_error(code: &'static str, why: &str, job: &Job) -> Failure {
    Failure { code, message: with_last_error(why, job.error.as_deref()), log_id: job.log_id.clone() }
}

fn with_last_error(why: &str, last: Option<&str>) -> String {
    const BEFORE: &str = "; before that: ";
    // Of several such tries the row has what the one before all of them was told.
    let last = last.and_then(|last| last.rsplit(BEFORE).next()).filter(|last| *last != why);
    last.map_or_else(|| why.to_owned(), |last| format!("{why}{BEFORE}{last}"))
}

/// The details are in the log, where the panic's own message went.
fn panicked() -> Failure {
    Failure::internal("the job panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failed_try_and_other_ends_are_what_they_were() {
        let bug = survive(async {
            tokio::task::yield_now().await;
            panic!("a bug")
        });
        assert!(matches!(bug.await, Err(Halt::Retry(failure)) if failure == panicked()));
        assert!(matches!(survive(async { Ok(()) }).await, Ok(())));
        assert!(matches!(survive(async { Err(Halt::Superseded) }).await, Err(Halt::Superseded)));
    }

    #[test]
    fn what_a_try_was_told_outlives_tries_that_came_to_nothing() {
        assert_eq!(with_last_error("held", None), "held");
        assert_eq!(with_last_error("held", Some("held")), "held");
        let told = with_last_error("held", Some("internal_error: try later"));
        assert_eq!(told, "held; before that: internal_error: try later");
        assert_eq!(with_last_error("held", Some(&told)), told);
        assert_eq!(with_last_error("crashed", Some(&told)), "crashed; before that: internal_error: try later");
    }
}
