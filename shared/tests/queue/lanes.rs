//! Pushing, fetching, finishing.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use shared::queue::{
    Delivery, Depth, Final, Lane, Message, Outcome, Queue, QueueError, Waiter, WorkerPool, WorkerSettings,
};

use crate::support::{
    OwnRedis, SOON, Seen, answer, fresh_prefix, fresh_queue, keys, message, no_rows, push, push_all, push_in, quick,
    raw, redis_url, stuck_worker, until, until_all, worker,
};

const DONE: Outcome = Outcome::Final(Final::Done);

async fn depth(queue: &Queue, lane: Lane) -> (u64, u64, u64) {
    let Depth { ready, delayed, running, .. } = answer(async || queue.depth(lane).await).await;
    (ready, delayed, running)
}

#[tokio::test]
async fn a_job_is_run_its_waiter_told_and_nothing_is_left_in_redis() {
    let (queue, prefix) = fresh_queue();
    let waiter = Waiter::start(&queue, no_rows);
    let seen = Seen::default();
    let pool = worker(&queue, quick(), &seen, DONE);
    let job = message("noop");
    let watching = waiter.watch(job.id);
    assert!(queue.push(Lane::Sync, &job, None).await.unwrap());
    assert_eq!(watching.wait(tokio::time::Instant::now() + SOON).await, Some(Final::Done));
    assert_eq!(seen.ids(), [job.id]);
    pool.stop(Duration::from_secs(5)).await;
    // What stays is one number a lane: since when Redis has not been emptied.
    let left = keys(&redis_url(), &prefix).await;
    assert!(left.iter().all(|key| key.ends_with(":epoch")), "{left:?}");
    assert_eq!(waiter.watched(), 0);
    assert_eq!(answer(async || queue.workers().await).await, []);
}

#[tokio::test]
async fn every_lane_is_served_and_the_trace_travels() {
    let (queue, _) = fresh_queue();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let _pool = WorkerPool::start(&queue, quick(), move |delivery: Delivery| {
        sender.send((delivery.lane, delivery.message, *delivery.interactive.borrow())).unwrap();
        async { DONE }
    });
    for lane in Lane::ALL {
        let job = Message { trace: Some("00-abc-def-01".into()), ..message("noop") };
        push(&queue, lane, &job).await;
        let delivered = tokio::time::timeout(SOON, receiver.recv()).await.unwrap().unwrap();
        assert_eq!(delivered, (lane, job, lane != Lane::Bulk));
    }
}

#[tokio::test]
async fn a_push_is_idempotent_by_id_in_every_state_and_free_again_after_the_end() {
    let (queue, _) = fresh_queue();
    let job = message("noop");
    assert!(queue.push(Lane::Sync, &job, Some(Duration::from_secs(3600))).await.unwrap());
    assert!(!queue.push(Lane::Sync, &job, None).await.unwrap(), "delayed");
    assert_eq!(depth(&queue, Lane::Sync).await, (0, 1, 0));
    assert!(queue.forget(Lane::Sync, job.id).await.unwrap());
    assert_eq!(queue.push_many(Lane::Sync, &[job.clone(), job.clone()]).await.unwrap(), 1);
    assert!(!queue.push(Lane::Sync, &job, None).await.unwrap(), "ready");
    assert_eq!(depth(&queue, Lane::Sync).await, (1, 0, 0));
    let seen = Seen::default();
    let pool = stuck_worker(&queue, quick(), &seen);
    until("it runs", async || seen.len() == 1).await;
    assert!(!queue.push(Lane::Sync, &job, None).await.unwrap(), "running");
    assert!(!queue.forget(Lane::Sync, job.id).await.unwrap(), "what runs is not forgotten");
    pool.stop(Duration::ZERO).await;
    let pool = worker(&queue, quick(), &seen, DONE);
    until("it ends", async || depth(&queue, Lane::Sync).await == (0, 0, 0)).await;
    assert!(queue.push(Lane::Sync, &job, None).await.unwrap(), "ended: a new run");
    until("it runs again", async || seen.len() == 3).await;
    pool.stop(SOON).await;
}

#[tokio::test]
async fn jobs_start_in_the_order_in_which_they_came() {
    let (queue, _) = fresh_queue();
    let jobs: Vec<Message> = (0..1_200).map(|_| message("noop")).collect();
    push_all(&queue, Lane::Sync, &jobs).await;
    let seen = Seen::default();
    let _pool = worker(&queue, WorkerSettings { concurrency: 1, ..quick() }, &seen, DONE);
    until("all ran", async || seen.len() == jobs.len()).await;
    assert!(seen.ids().iter().eq(jobs.iter().map(|job| &job.id)));
}

#[tokio::test]
async fn an_idle_worker_starts_a_delayed_job_on_time_by_its_one_timer() {
    let (queue, _) = fresh_queue();
    let seen = Seen::default();
    let _pool = worker(&queue, quick(), &seen, DONE);
    let job = message("noop");
    let pushed = Instant::now();
    push_in(&queue, Lane::Bulk, &job, Duration::from_millis(400)).await;
    // The safety poll is a minute here: nothing else would start it.
    until("it ran", async || seen.len() == 1).await;
    assert!(pushed.elapsed() >= Duration::from_millis(399), "{:?}", pushed.elapsed());
}

#[tokio::test]
async fn no_wake_up_is_lost_between_a_fetch_and_the_next_push() {
    let (queue, _) = fresh_queue();
    let waiter = Waiter::start(&queue, no_rows);
    let seen = Seen::default();
    let _pool = worker(&queue, quick(), &seen, DONE);
    for round in 0..300 {
        let (one, other) = (message("noop"), message("noop"));
        let (first, second) = (waiter.watch(one.id), waiter.watch(other.id));
        push(&queue, Lane::Sync, &one).await;
        // At another point of the fetch that the first push caused, each time.
        tokio::time::sleep(Duration::from_micros(round * 5)).await;
        push(&queue, Lane::Sync, &other).await;
        let deadline = tokio::time::Instant::now() + SOON;
        assert_eq!(first.wait(deadline).await, Some(Final::Done), "round {round}");
        assert_eq!(second.wait(deadline).await, Some(Final::Done), "round {round}");
    }
}

#[tokio::test]
async fn a_failed_attempt_is_no_last_word_and_comes_back_after_the_delay_that_was_asked_for() {
    let (queue, _) = fresh_queue();
    let waiter = Waiter::start(&queue, no_rows);
    let starts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = starts.clone();
    let _pool = WorkerPool::start(&queue, quick(), move |_: Delivery| {
        let mut starts = noted.lock().unwrap();
        starts.push(Instant::now());
        let outcome = match starts.len() {
            1 => Outcome::RetryIn(Duration::from_millis(200)),
            2 => Outcome::NotNow(Duration::from_millis(100)),
            _ => Outcome::Final(Final::Failed { code: "platform_error".into() }),
        };
        async { outcome }
    });
    let job = message("noop");
    let watching = waiter.watch(job.id);
    push(&queue, Lane::Sync, &job).await;
    let last_word = watching.wait(tokio::time::Instant::now() + SOON).await;
    assert_eq!(last_word, Some(Final::Failed { code: "platform_error".into() }));
    let starts = starts.lock().unwrap().clone();
    assert_eq!(starts.len(), 3);
    assert!(starts[1] - starts[0] >= Duration::from_millis(199), "the delay is the handler's");
    assert!(starts[2] - starts[1] >= Duration::from_millis(99));
}

#[tokio::test]
async fn a_panic_is_a_retry_and_ends_no_worker() {
    let (queue, _) = fresh_queue();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let _pool = WorkerPool::start(&queue, quick(), move |_: Delivery| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        assert!(call != 0, "a panic before the first await");
        async move {
            tokio::task::yield_now().await;
            assert!(call != 1, "a panic later");
            DONE
        }
    });
    push(&queue, Lane::Revoke, &message("noop")).await;
    until("the third run ends it", async || depth(&queue, Lane::Revoke).await == (0, 0, 0)).await;
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn what_cannot_be_read_harms_nobody() {
    let (queue, prefix) = fresh_queue();
    let mut connection = raw(&redis_url()).await;
    let key = |name: &str| format!("{{{prefix}:sync}}:v1:{name}");
    let strange = message("noop").id.to_string();
    let mut pipe = redis::pipe();
    let mut next = 0;
    for (id, payload) in [(strange.as_bytes(), &b"\xff{"[..]), (b"\xfe", b"{}"), (b"no id", b"x")] {
        pipe.hset(key("jobs"), id, payload);
        pipe.hset(key("lines"), format!(":{next}"), id);
        pipe.hset(key("lines"), format!(":{}", next + 1), b"of a payload that is gone");
        next += 2;
    }
    pipe.hset(key("lines"), ":first", 0).hset(key("lines"), ":next", next).zadd(key("turns"), "", 0);
    // A group that stands in turn and has no line.
    pipe.zadd(key("turns"), "nobody", 0);
    pipe.exec_async(&mut connection).await.unwrap();
    let seen = Seen::default();
    let _pool = worker(&queue, WorkerSettings { unknown_after: Duration::from_secs(60), ..quick() }, &seen, DONE);
    let job = message("noop");
    push(&queue, Lane::Sync, &job).await;
    until("the good one ran", async || seen.count(job.id) == 1).await;
    // Under a job's id it is left for a version that can read it; under no id of ours it goes.
    until("all is settled", async || depth(&queue, Lane::Sync).await == (0, 1, 0)).await;
    let kept: Vec<String> = redis::cmd("HKEYS").arg(key("jobs")).query_async(&mut connection).await.unwrap();
    assert_eq!(kept, [strange]);
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn an_unknown_kind_is_left_for_a_worker_that_knows_it() {
    let (queue, _) = fresh_queue();
    let (old, new) = (Seen::default(), Seen::default());
    let start = Instant::now();
    let old_pool = worker(&queue, quick(), &old, Outcome::Unknown);
    let job = message("of-the-next-version");
    push(&queue, Lane::Sync, &job).await;
    until("the old one saw it", async || old.len() > 0 && depth(&queue, Lane::Sync).await == (0, 1, 0)).await;
    until("it is offered again, later", async || old.len() >= 2).await;
    old_pool.stop(SOON).await;
    let _new_pool = worker(&queue, quick(), &new, DONE);
    until("the new one runs it", async || new.count(job.id) == 1).await;
    let offers = u128::try_from(old.len()).unwrap();
    assert!(offers <= start.elapsed().as_millis() / 300 + 1, "{offers} offers: a hot loop");
}

#[tokio::test]
async fn a_worker_takes_no_more_than_its_free_slots_and_reports_while_they_are_full() {
    let (queue, _) = fresh_queue();
    let jobs: Vec<Message> = (0..20).map(|_| message("noop")).collect();
    let release = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = release.clone();
    let _pool = WorkerPool::start(&queue, WorkerSettings { concurrency: 2, ..quick() }, move |_: Delivery| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            DONE
        }
    });
    push_all(&queue, Lane::Sync, &jobs).await;
    for ended in 0..18 {
        until("two run, the others are free for other workers", async || {
            depth(&queue, Lane::Sync).await == (18 - ended, 0, 2)
        })
        .await;
        release.add_permits(1);
    }
    release.add_permits(2);
    until("the rest", async || depth(&queue, Lane::Sync).await == (0, 0, 0)).await;
}

#[tokio::test]
async fn bulk_work_never_takes_the_last_quarter_of_the_slots() {
    let (queue, _) = fresh_queue();
    let seen = Seen::default();
    let bulk: Vec<Message> = (0..20).map(|_| message("noop")).collect();
    push_all(&queue, Lane::Bulk, &bulk).await;
    let _pool = stuck_worker(&queue, quick(), &seen);
    until("bulk runs in six of eight", async || depth(&queue, Lane::Bulk).await == (14, 0, 6)).await;
    let job = message("noop");
    push(&queue, Lane::Sync, &job).await;
    until("a waiting client gets a slot at once", async || seen.count(job.id) == 1).await;
}

#[tokio::test]
async fn a_hundred_thousand_due_at_once_drain_and_leave_no_memory_behind() {
    let redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    answer(async || queue.ping().await).await;
    let before = memory(&redis).await;
    let jobs: Vec<Message> = (0..100_000).map(|_| message("noop")).collect();
    let delay = Duration::from_millis(1);
    stream::iter(&jobs).for_each_concurrent(256, |job| push_in(&queue, Lane::Sync, job, delay)).await;
    assert_eq!(depth(&queue, Lane::Sync).await, (0, 100_000, 0));
    let seen = Seen::default();
    let pool = worker(&queue, WorkerSettings { concurrency: 64, ..WorkerSettings::default() }, &seen, DONE);
    until_all(&seen, jobs.len()).await;
    until("all are reported", async || depth(&queue, Lane::Sync).await == (0, 0, 0)).await;
    assert_eq!(seen.ids().into_iter().collect::<HashSet<_>>().len(), jobs.len(), "each once");
    assert!(pool.last_fetch_age() < SOON);
    pool.stop(SOON).await;
    let after = memory(&redis).await;
    assert!(after < before + (1 << 20), "{before} bytes before, {after} after");
}

async fn memory(redis: &OwnRedis) -> u64 {
    let mut connection = raw(&redis.url()).await;
    let () = redis::cmd("MEMORY").arg("PURGE").query_async(&mut connection).await.unwrap();
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await.unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:")).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test]
async fn the_depth_says_how_long_the_first_in_line_has_waited() {
    let (queue, _) = fresh_queue();
    let oldest = async || answer(async || queue.depth(Lane::Bulk).await).await.oldest;
    assert_eq!(oldest().await, None);
    push(&queue, Lane::Bulk, &message("noop")).await;
    until("time passes", async || oldest().await > Some(Duration::from_millis(5))).await;
    assert!(oldest().await < Some(SOON));
}

#[tokio::test]
async fn a_prefix_or_url_that_cannot_work_is_refused() {
    for prefix in ["", "a{b", "a}b"] {
        assert!(matches!(Queue::connect("redis://localhost", prefix), Err(QueueError::Prefix)));
    }
    assert!(matches!(Queue::connect("http://localhost", "a"), Err(QueueError::Url(_))));
}
