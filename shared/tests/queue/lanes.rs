//! Pushing, fetching, finishing.

use std::time::Duration;

use futures::FutureExt;
use shared::ids::JobId;
use shared::queue::{Final, Lane, Outcome, Waiter};
use tokio::time::Instant;

use crate::support::{SOON, Seen, fresh_queue, keys, message, quick, redis_url, until, worker};

fn no_rows(_: Vec<JobId>) -> futures::future::BoxFuture<'static, Result<Vec<(JobId, Final)>, String>> {
    async { Ok(Vec::new()) }.boxed()
}

#[tokio::test]
async fn a_job_is_run_its_waiter_told_and_nothing_is_left_in_redis() {
    let (queue, prefix) = fresh_queue();
    let waiter = Waiter::start(&queue, no_rows);
    let seen = Seen::default();
    let pool = worker(&queue, quick(), &seen, Outcome::Final(Final::Done));
    let job = message("noop");
    let watching = waiter.watch(job.id);
    assert!(queue.push(Lane::Sync, &job, None).await.unwrap());
    assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
    assert_eq!(seen.ids(), [job.id]);
    pool.stop(Duration::from_secs(5)).await;
    // What stays is one number a lane: since when Redis has not been emptied.
    let left: Vec<String> = keys(&redis_url(), &prefix).await;
    assert!(left.iter().all(|key| key.ends_with(":epoch")), "{left:?}");
    assert_eq!(waiter.watched(), 0);
}

#[tokio::test]
async fn every_lane_is_served() {
    let (queue, _) = fresh_queue();
    let seen = Seen::default();
    let _pool = worker(&queue, quick(), &seen, Outcome::Final(Final::Done));
    for lane in [Lane::Revoke, Lane::Sync, Lane::Bulk] {
        let job = message("noop");
        queue.push(lane, &job, None).await.unwrap();
        until(lane.as_ref(), async || seen.count(job.id) == 1).await;
    }
}
