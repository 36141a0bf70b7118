//! The waiter and its races; promotion.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::ids::JobId;
use shared::queue::{Delivery, Final, Lane, Message, Outcome, Queue, Waiter, WorkerPool};
use tokio::time::Instant;

use crate::support::{
    OwnRedis, ReadRows, SOON, Seen, answer, fresh_prefix, fresh_queue, message, no_rows, push, push_in, quick, raw,
    until, worker,
};

const DONE: Outcome = Outcome::Final(Final::Done);

/// Rows that the test decides on, and how often and with how many ids they were read.
#[derive(Clone, Default)]
struct Rows {
    finals: Arc<Mutex<Vec<(JobId, Final)>>>,
    reads: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Rows {
    fn reader(&self) -> impl Fn(Vec<JobId>) -> ReadRows + use<> {
        let rows = self.clone();
        move |ids| {
            rows.reads.fetch_add(1, Ordering::SeqCst);
            rows.most.fetch_max(ids.len(), Ordering::SeqCst);
            let finals = rows.finals.lock().unwrap().iter().filter(|(id, _)| ids.contains(id)).cloned().collect();
            Box::pin(async move { Ok(finals) })
        }
    }
}

#[tokio::test]
async fn a_job_that_ended_before_its_waiter_listened_is_found_in_its_row() {
    let (queue, _) = fresh_queue();
    let rows = Rows::default();
    let waiter = Waiter::start(&queue, rows.reader());
    let id = JobId::new();
    rows.finals.lock().unwrap().push((id, Final::Cancelled));
    let watching = waiter.watch(id);
    assert_eq!(watching.check_now().await, Some(Final::Cancelled));
    assert_eq!(watching.wait(Instant::now()).await, Some(Final::Cancelled));
}

#[tokio::test]
async fn a_notice_that_never_came_is_made_up_for_by_the_row_within_seconds() {
    let mut took = Vec::new();
    // A machine that is busy for so long shows nothing, and is asked again.
    for _ in 0..10 {
        took.push(found_in_the_row().await);
        if took.iter().any(|took| *took < Duration::from_secs(4)) {
            return;
        }
    }
    panic!("the row is read each two seconds, and this took {took:?}");
}

/// How long a waiter takes to find a last word that nobody has told it.
async fn found_in_the_row() -> Duration {
    let (queue, _) = fresh_queue();
    let rows = Rows::default();
    let waiter = Waiter::start(&queue, rows.reader());
    let id = JobId::new();
    let watching = waiter.watch(id);
    rows.finals.lock().unwrap().push((id, Final::Done));
    let start = Instant::now();
    assert_eq!(watching.wait(start + SOON).await, Some(Final::Done));
    start.elapsed()
}

#[tokio::test]
async fn a_waiter_works_with_redis_away_and_reads_once_more_at_its_deadline() {
    let redis = OwnRedis::down_at_first();
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let rows = Rows::default();
    let waiter = Waiter::start(&queue, rows.reader());
    let (early, late, never) = (JobId::new(), JobId::new(), JobId::new());
    let watching = waiter.watch(early);
    rows.finals.lock().unwrap().push((early, Final::Done));
    assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
    let watching = waiter.watch(late);
    rows.finals.lock().unwrap().push((late, Final::Done));
    assert_eq!(watching.wait(Instant::now()).await, Some(Final::Done), "the read at the deadline");
    assert_eq!(waiter.watch(never).wait(Instant::now() + Duration::from_millis(50)).await, None);
    assert_eq!(waiter.watched(), 0);
}

#[tokio::test]
async fn a_notice_lost_with_the_connection_is_made_up_for_when_it_is_back() {
    let redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    // Sooner than the regular read, which the one that the subscription caused has put off by two seconds. A machine that is
    // busy for so long shows nothing, and is asked again.
    for _ in 0..10 {
        if made_up_for(&redis, &queue).await < Duration::from_millis(1_800) {
            return;
        }
    }
    panic!("only the regular read makes up for it");
}

/// How long a waiter takes to hear what was said while its connection broke, from the read at its subscription on.
async fn made_up_for(redis: &OwnRedis, queue: &Queue) -> Duration {
    let rows = Rows::default();
    let waiter = Waiter::start(queue, rows.reader());
    let id = JobId::new();
    let watching = waiter.watch(id);
    until("the subscription caused a read", async || rows.reads.load(Ordering::SeqCst) > 0).await;
    let subscribed = Instant::now();
    let mut connection = raw(&redis.url()).await;
    let mut kill = redis::cmd("CLIENT");
    let _: u64 = kill.arg("KILL").arg("TYPE").arg("pubsub").query_async(&mut connection).await.unwrap();
    rows.finals.lock().unwrap().push((id, Final::Done));
    queue.notify(id, &Final::Done).await.unwrap();
    assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
    subscribed.elapsed()
}

#[tokio::test]
async fn a_thousand_waiters_cost_a_read_of_500_each_two_seconds_not_one_each() {
    let (queue, _) = fresh_queue();
    let rows = Rows::default();
    let waiter = Waiter::start(&queue, rows.reader());
    let watching: Vec<_> = (0..1_000).map(|_| waiter.watch(JobId::new())).collect();
    until("all are read", async || rows.most.load(Ordering::SeqCst) == 500).await;
    assert!(rows.reads.load(Ordering::SeqCst) < 10);
    drop(watching);
    assert_eq!(waiter.watched(), 0);
}

#[tokio::test]
async fn two_callers_share_a_job_and_one_that_hangs_up_ends_nothing() {
    let (queue, _) = fresh_queue();
    let waiter = Waiter::start(&queue, no_rows);
    let id = JobId::new();
    let (one, two, gone) = (waiter.watch(id), waiter.watch(id), waiter.watch(id));
    drop(gone);
    let notifier = tokio::spawn(async move {
        // Sent until it is heard: the subscription may not be up yet, and a repetition does no harm.
        loop {
            let _ = queue.notify(id, &Final::Failed { code: "platform_error".into() }).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let deadline = Instant::now() + SOON;
    let failed = Some(Final::Failed { code: "platform_error".into() });
    assert_eq!(tokio::join!(one.wait(deadline), two.wait(deadline)), (failed.clone(), failed));
    notifier.abort();
}

async fn lanes(queue: &Queue) -> [(u64, u64, u64); 2] {
    let mut lanes = [(0, 0, 0); 2];
    for (slot, lane) in lanes.iter_mut().zip([Lane::Sync, Lane::Bulk]) {
        let depth = answer(async || queue.depth(lane).await).await;
        *slot = (depth.ready, depth.delayed, depth.running);
    }
    lanes
}

#[tokio::test]
async fn a_job_that_waits_is_promoted_into_the_sync_lane_and_runs_once() {
    let (queue, _) = fresh_queue();
    let [ready, delayed, absent]: [Message; 3] = std::array::from_fn(|_| message("noop"));
    push(&queue, Lane::Bulk, &ready).await;
    push_in(&queue, Lane::Bulk, &delayed, Duration::from_secs(3600)).await;
    for job in [&ready, &delayed, &absent, &absent] {
        answer(async || queue.promote(Lane::Bulk, job).await).await;
    }
    assert_eq!(lanes(&queue).await[0], (3, 0, 0));
    assert_eq!(lanes(&queue).await[1].1, 0);
    let seen = Seen::default();
    let pool = worker(&queue, quick(), &seen, DONE);
    until("all ran", async || lanes(&queue).await == [(0, 0, 0); 2]).await;
    assert_eq!(seen.ids(), [ready.id, delayed.id, absent.id]);
    pool.stop(SOON).await;
}

#[tokio::test]
async fn a_running_job_that_is_promoted_becomes_interactive_and_comes_back_in_the_sync_lane() {
    let (queue, _) = fresh_queue();
    let waiter = Waiter::start(&queue, no_rows);
    let (sender, mut deliveries) = tokio::sync::mpsc::unbounded_channel();
    let pool = WorkerPool::start(&queue, quick(), move |mut delivery: Delivery| {
        sender.send(delivery.lane).unwrap();
        async move {
            delivery.interactive.wait_for(|interactive| *interactive).await.unwrap();
            if delivery.lane == Lane::Bulk { Outcome::RetryIn(Duration::from_millis(50)) } else { DONE }
        }
    });
    let job = message("noop");
    push(&queue, Lane::Bulk, &job).await;
    assert_eq!(tokio::time::timeout(SOON, deliveries.recv()).await.unwrap(), Some(Lane::Bulk));
    let watching = waiter.watch(job.id);
    // The worker may not have subscribed yet; a caller who waits asks again, too.
    until("it has moved", async || {
        queue.promote(Lane::Bulk, &job).await.is_ok() && lanes(&queue).await[1] == (0, 0, 0)
    })
    .await;
    assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
    assert_eq!(deliveries.recv().await, Some(Lane::Sync));
    pool.stop(SOON).await;
}
