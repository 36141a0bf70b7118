//! The pruner: forgets finished jobs after a week, finished batches after a month, consents that nobody finished, how far
//! syncs had come that were given up, answers that were kept for an `Idempotency-Key` after a day, and history that is
//! older than it is kept. It also makes the next months' partitions.

use std::time::Duration;

use rand::Rng as _;
use shared::store::{Store, StoreError};

/// The pause between two rounds, within these.
const PAUSE: (Duration, Duration) = (Duration::from_secs(45), Duration::from_secs(75));
/// The pause after the partitions could not be turned.
const AGAIN: Duration = Duration::from_secs(2);
/// Rows of one statement: locks few, and lets others in between.
const BATCH: i64 = 500;

/// Prunes until it is dropped, and keeps history for so long; `None`: for ever. An outage of Postgres ends a round, nothing
/// more.
pub(crate) async fn run(store: Store, history_keep: Option<Duration>) {
    let mut broken = false;
    loop {
        // At once at the start: a fleet that was stopped for months has nowhere to write to.
        if let Err(error) = turn_months(&store, history_keep).await {
            // Once, not every time; but somebody has to know before a month begins that has no partition.
            if !broken {
                tracing::warn!(
                    %error,
                    "history's months are neither made nor dropped; tried again every two seconds. If it goes on: is Postgres up, \
                     may our user create and drop tables, does somebody hold `creator_history` or `video_history` locked?"
                );
            }
            broken = true;
        } else {
            if broken {
                tracing::info!("the partitions of history are as they should be again");
            }
            broken = false;
        }
        let pause = if broken { AGAIN } else { rand::rng().random_range(PAUSE.0..=PAUSE.1) };
        tokio::time::sleep(pause).await;
        match prune(&store).await {
            Err(error) if error.is_unavailable() => tracing::debug!(%error, "nothing is pruned this time"),
            Err(error) => {
                tracing::warn!(%error, "old rows are not pruned: the database's user must be allowed to delete them");
            }
            Ok(()) => {}
        }
    }
}

/// Makes the partitions of history ahead, and drops those that are too old.
async fn turn_months(store: &Store, keep: Option<Duration>) -> Result<(), StoreError> {
    let made = store.make_history_partitions().await?;
    if made > 0 {
        tracing::info!(made, "partitions of history are made");
    }
    if let Some(keep) = keep {
        let dropped = store.drop_history_partitions(keep).await?;
        if dropped > 0 {
            tracing::info!(dropped, ?keep, "partitions of history are dropped");
        }
    }
    Ok(())
}

async fn prune(store: &Store) -> Result<(), StoreError> {
    while is_full(store.prune_jobs(BATCH).await?) {}
    while is_full(store.prune_batches(BATCH).await?) {}
    while is_full(store.prune_states(BATCH).await?) {}
    while is_full(store.prune_checkpoints(BATCH).await?) {}
    while is_full(store.prune_requests(BATCH).await?) {}
    store.prune_paces().await?;
    Ok(())
}

fn is_full(rows: usize) -> bool {
    i64::try_from(rows).is_ok_and(|rows| rows >= BATCH)
}
