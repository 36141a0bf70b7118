//! Ends a worker that is deaf: it lives and fetches nothing, although Redis answers. Whoever runs it starts it anew. One whose
//! fetches Redis refuses is not deaf: it would be refused after a restart, too, and its running jobs were cut for nothing.
//!
//! A thread with a runtime and connections of its own looks: what makes a worker deaf may be that its runtime stands still.

use std::time::{Duration, Instant};

use shared::queue::{Liveness, Queue};
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long Redis may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

/// Looks until `stopping`, and cancels the token that it gives once the worker is deaf. If the process is still there
/// `ends_within` later, it ends it the hard way: its jobs run elsewhere then.
pub(crate) fn start(
    deaf_after: Duration,
    liveness: Liveness,
    queue: &Queue,
    stopping: CancellationToken,
    ends_within: Duration,
) -> std::io::Result<CancellationToken> {
    let (deaf, queue) = (CancellationToken::new(), queue.apart());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = deaf.clone();
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        let is_deaf = runtime.block_on(stopping.run_until_cancelled(until_deaf(deaf_after, &liveness, &queue)));
        if is_deaf.is_none() {
            return;
        }
        found.cancel();
        std::thread::sleep(ends_within);
        tracing::error!("the deaf worker does not stop: its process is ended");
        std::process::exit(1);
    })?;
    Ok(deaf)
}

/// Waits until no fetch was answered or refused for so long, and Redis answered every look in the second half of it: who has just come
/// back from an outage of Redis's, or was itself stopped, gets that much time to fetch.
async fn until_deaf(deaf_after: Duration, liveness: &Liveness, queue: &Queue) {
    let mut answering: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let age = liveness.last_word_age();
        if age < deaf_after / 2 || !answers(queue).await {
            answering = None;
            continue;
        }
        let since = answering.get_or_insert_with(Instant::now).elapsed();
        if age >= deaf_after && since >= deaf_after / 2 {
            return;
        }
    }
}

async fn answers(queue: &Queue) -> bool {
    matches!(tokio::time::timeout(WITHIN, queue.ping()).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use shared::ids::JobId;
    use shared::queue::{Final, Outcome, WorkerPool, WorkerSettings};

    use super::*;

    const AFTER: Duration = Duration::from_secs(4);

    fn queue(url: &str) -> Queue {
        Queue::connect(url, &format!("test-{}", JobId::new())).expect("a queue")
    }

    fn worker(queue: &Queue) -> WorkerPool {
        let settings = WorkerSettings { safety_poll: Duration::from_millis(100), ..WorkerSettings::default() };
        WorkerPool::start(queue, settings, async |_| Outcome::Final(Final::Done))
    }

    #[tokio::test]
    async fn a_deaf_worker_is_found_and_one_that_hears_or_has_no_redis_is_left_alone() {
        let redis = std::env::var("METRIQLAB_TEST_REDIS_URL").expect("run the tests with `make test`");
        let (here, away) = (queue(&redis), queue("redis://127.0.0.1:1"));
        let began = Instant::now();
        // A pool that is dropped fetches no more: these are deaf, and the second has no Redis.
        let (deaf, cut_off) = (worker(&here).liveness(), worker(&away).liveness());
        let found = tokio::time::timeout(Duration::from_secs(60), until_deaf(AFTER, &deaf, &here));
        tokio::select! {
            found = found => found.expect("a deaf worker is found"),
            () = until_deaf(AFTER, &cut_off, &away) => panic!("without Redis nobody hears"),
        }
        assert!(began.elapsed() >= AFTER, "too soon");
        assert!(cut_off.last_word_age() >= AFTER);
    }
}
