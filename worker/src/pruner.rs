//! The pruner: forgets finished jobs after a week, finished batches after a month, consents that nobody finished, how far
//! syncs had come that were given up, and answers that were kept for an `Idempotency-Key` after a day.

use std::time::Duration;

use rand::Rng as _;
use shared::store::{Store, StoreError};

/// The pause between two rounds, within these.
const PAUSE: (Duration, Duration) = (Duration::from_secs(45), Duration::from_secs(75));
/// Rows of one statement: locks few, and lets others in between.
const BATCH: i64 = 500;

/// Prunes until it is dropped. An outage of Postgres ends a round, nothing more.
pub(crate) async fn run(store: Store) {
    loop {
        let pause = rand::rng().random_range(PAUSE.0..=PAUSE.1);
        tokio::time::sleep(pause).await;
        if let Err(error) = prune(&store).await {
            tracing::debug!(%error, "nothing is pruned this time");
        }
    }
}

async fn prune(store: &Store) -> Result<(), StoreError> {
    while is_full(store.prune_jobs(BATCH).await?) {}
    while is_full(store.prune_batches(BATCH).await?) {}
    while is_full(store.prune_states(BATCH).await?) {}
    while is_full(store.prune_checkpoints(BATCH).await?) {}
    while is_full(store.prune_requests(BATCH).await?) {}
    Ok(())
}

fn is_full(rows: usize) -> bool {
    i64::try_from(rows).is_ok_and(|rows| rows >= BATCH)
}
