//! Redis away, restarted, emptied; connections cut. Each test has a Redis of its own.

use std::sync::Arc;
use std::time::Duration;

use shared::ids::JobId;
use shared::queue::{Delivery, Final, Gates, Lane, Message, Outcome, Queue, Sweep, Waiter, WorkerPool, WorkerSettings};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::support::{
    OwnRedis, SOON, Seen, answer, fresh_prefix, message, no_rows, push, push_all, push_in, quick, raw, rows_of,
    stuck_worker, until, worker,
};
use crate::wire::Wire;

const DONE: Outcome = Outcome::Final(Final::Done);

/// A worker whose jobs end when the test adds permits.
fn gated(queue: &Queue, seen: &Seen, ended: &Seen, gate: &Arc<Semaphore>) -> WorkerPool {
    let (seen, ended, gate) = (seen.clone(), ended.clone(), gate.clone());
    WorkerPool::start(queue, quick(), move |delivery: Delivery| {
        seen.add(delivery.message.id);
        let (ended, gate) = (ended.clone(), gate.clone());
        async move {
            tokio::select! {
                permit = gate.acquire() => permit.unwrap().forget(),
                () = delivery.stop.cancelled() => return Outcome::Gone,
            }
            ended.add(delivery.message.id);
            DONE
        }
    })
}

async fn round_trip(queue: &Queue, waiter: &Waiter) {
    let job = message("noop");
    let watching = waiter.watch(job.id);
    push(queue, Lane::Sync, &job).await;
    assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
}

#[tokio::test]
async fn everything_starts_with_redis_away_and_works_once_it_is_there() {
    let mut redis = OwnRedis::down_at_first();
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let seen = Seen::default();
    let waiter = Waiter::start(&queue, rows_of(&seen));
    let pool = worker(&queue, quick(), &seen, DONE);
    assert!(queue.push(Lane::Sync, &message("noop"), None).await.is_err());
    assert!(queue.ping().await.is_err());
    redis.up().await;
    round_trip(&queue, &waiter).await;
    pool.stop(SOON).await;
}

#[tokio::test]
async fn a_restart_of_redis_ends_no_worker_and_loses_no_job() {
    let mut redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let (seen, ended, gate) = (Seen::default(), Seen::default(), Arc::new(Semaphore::new(0)));
    let waiter = Waiter::start(&queue, rows_of(&ended));
    let pool = gated(&queue, &seen, &ended, &gate);
    let name = pool.name().to_owned();
    let jobs: Vec<Message> = (0..20).map(|_| message("noop")).collect();
    let watching: Vec<_> = jobs.iter().map(|job| waiter.watch(job.id)).collect();
    push_all(&queue, Lane::Sync, &jobs).await;
    until("eight run", async || seen.len() == 8).await;
    redis.kill();
    // These end while Redis is away: their ends are kept until it is back.
    gate.add_permits(8);
    assert!(queue.push(Lane::Sync, &message("noop"), None).await.is_err());
    redis.up().await;
    gate.add_permits(100);
    for watching in watching {
        assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
    }
    assert_eq!(seen.len(), 20, "each once");
    round_trip(&queue, &waiter).await;
    let workers = answer(async || queue.workers().await).await;
    assert_eq!(workers.iter().map(|worker| &worker.name).collect::<Vec<_>>(), [&name], "the same worker all along");
    pool.stop(SOON).await;
}

#[tokio::test]
async fn cut_connections_are_made_again_and_no_caller_sees_it() {
    let redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let seen = Seen::default();
    let waiter = Waiter::start(&queue, rows_of(&seen));
    let pool = worker(&queue, quick(), &seen, DONE);
    let mut connection = raw(&redis.url()).await;
    for kind in ["normal", "pubsub"] {
        round_trip(&queue, &waiter).await;
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg(kind).arg("SKIPME").arg("yes");
        let killed: u64 = kill.query_async(&mut connection).await.unwrap();
        assert!(killed > 0, "{kind}");
        assert!(queue.push(Lane::Bulk, &message("noop"), None).await.unwrap(), "repeated on a fresh connection");
    }
    until("the subscriptions are back", async || {
        let mut list = redis::cmd("CLIENT");
        let clients: String =
            list.arg("LIST").arg("TYPE").arg("pubsub").query_async(&mut connection.clone()).await.unwrap();
        clients.lines().count() == 2
    })
    .await;
    round_trip(&queue, &waiter).await;
    pool.stop(SOON).await;
}

#[tokio::test]
async fn after_a_flush_running_jobs_are_registered_anew_and_the_others_found_missing() {
    let redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let (seen, ended, gate) = (Seen::default(), Seen::default(), Arc::new(Semaphore::new(0)));
    let waiter = Waiter::start(&queue, rows_of(&ended));
    let pool = gated(&queue, &seen, &ended, &gate);
    let (running, waiting) = (message("noop"), message("noop"));
    let watching = waiter.watch(running.id);
    push(&queue, Lane::Sync, &running).await;
    until("it runs", async || seen.len() == 1).await;
    push_in(&queue, Lane::Bulk, &waiting, Duration::from_secs(3600)).await;
    let ids = [running.id, waiting.id];
    until("settled", async || queue.unknown(&ids).await.is_ok_and(|sweep| sweep == Sweep::Unknown(vec![]))).await;

    let mut connection = raw(&redis.url()).await;
    let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    assert_eq!(queue.unknown(&ids).await.unwrap(), Sweep::TooSoon);
    until("the sweeper is told the truth", async || {
        let Ok(sweep) = queue.unknown(&ids).await else { return false };
        assert_ne!(sweep, Sweep::Unknown(ids.to_vec()), "never that the running one is missing");
        sweep == Sweep::Unknown(vec![waiting.id])
    })
    .await;
    assert!(!queue.push(Lane::Sync, &running, None).await.unwrap(), "a sweeper would not start it twice");
    gate.add_permits(1);
    assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
    assert_eq!(seen.count(running.id), 1);
    pool.stop(SOON).await;
}

#[tokio::test]
async fn unknown_asks_every_lane_however_many_ids() {
    let redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let known: Vec<Message> = (0..1_200).map(|_| message("noop")).collect();
    let sweep = answer(async || queue.unknown(&[known[0].id]).await).await;
    assert_eq!(sweep, Sweep::TooSoon, "no worker has been here yet");
    for (jobs, lane) in known.chunks(400).zip(Lane::ALL) {
        for job in jobs {
            push_in(&queue, lane, job, Duration::from_secs(3600)).await;
        }
    }
    let pool = worker(&queue, quick(), &Seen::default(), DONE);
    let missing = [JobId::new(), JobId::new()];
    let mut ids: Vec<JobId> = known.iter().map(|job| job.id).collect();
    ids.insert(3, missing[0]);
    ids.push(missing[1]);
    let unknown = Sweep::Unknown(missing.to_vec());
    until("settled", async || queue.unknown(&ids).await.is_ok_and(|sweep| sweep == unknown)).await;
    pool.stop(SOON).await;
}

#[tokio::test]
async fn a_last_word_whose_claim_was_lost_in_a_flush_is_told_all_the_same() {
    let redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    // Notices alone count here.
    let waiter = Waiter::start(&queue, no_rows);
    let (seen, gate) = (Seen::default(), Arc::new(Semaphore::new(0)));
    // It beats once, at its start: nothing registers its claim anew.
    let settings = WorkerSettings { heartbeat: Duration::from_secs(3600), ..quick() };
    let (noted, opened) = (seen.clone(), gate.clone());
    let pool = WorkerPool::start(&queue, settings, move |delivery: Delivery| {
        let opened = opened.clone();
        noted.add(delivery.message.id);
        async move {
            opened.acquire().await.unwrap().forget();
            DONE
        }
    });
    gate.add_permits(1);
    round_trip(&queue, &waiter).await;
    let job = message("noop");
    let watching = waiter.watch(job.id);
    push(&queue, Lane::Sync, &job).await;
    until("it runs", async || seen.len() == 2).await;
    let () = redis::cmd("FLUSHALL").query_async(&mut raw(&redis.url()).await).await.unwrap();
    gate.add_permits(1);
    assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
    pool.stop(SOON).await;
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_given_back_and_runs() {
    let redis = OwnRedis::start().await;
    let prefix = fresh_prefix();
    let queue = Queue::connect(&redis.url(), &prefix).unwrap();
    let seen = Seen::default();
    let pool = worker(&queue, quick(), &seen, DONE);
    let job = message("noop");
    // As a fetch leaves it that Redis carried out and whose answer never came.
    let key = |name: &str| format!("{{{prefix}:sync}}:v1:{name}");
    let number = 1_u64 << 40;
    let mut pipe = redis::pipe();
    pipe.atomic()
        .hset(key("jobs"), job.id.to_string(), serde_json::to_string(&job).unwrap())
        .hset(key("claims"), job.id.to_string(), format!("{}:{number}", pool.name()))
        .zadd(key(&format!("inflight:{}", pool.name())), job.id.to_string(), number);
    pipe.exec_async(&mut raw(&redis.url()).await).await.unwrap();
    until("the heartbeat finds it", async || seen.count(job.id) == 1).await;
    pool.stop(SOON).await;
}

#[tokio::test]
async fn a_fetch_that_times_out_after_redis_claimed_is_made_good() {
    let redis = OwnRedis::start().await;
    let (wire, prefix) = (Wire::to(&redis.url()).await, fresh_prefix());
    let (queue, away) = (Queue::connect(&redis.url(), &prefix).unwrap(), Queue::connect(&wire.url, &prefix).unwrap());
    let (seen, gates) = (Seen::default(), Gates::closed());
    // Nobody finds it dead meanwhile.
    let settings = WorkerSettings { dead_after: Duration::from_secs(600), ..quick() };
    let noted = seen.clone();
    let pool = WorkerPool::start_gated(&away, settings, &gates, move |delivery: Delivery| {
        noted.add(delivery.message.id);
        async { DONE }
    });
    // A first fetch, which teaches Redis the script.
    gates.set(Lane::Revoke, true);
    push(&queue, Lane::Revoke, &message("noop")).await;
    until("the worker is there", async || seen.len() == 1).await;
    let jobs: Vec<Message> = (0..5).map(|_| message("noop")).collect();
    push_all(&queue, Lane::Sync, &jobs).await;
    wire.lose_scripts();
    gates.set(Lane::Sync, true);
    until("Redis has claimed them", async || queue.depth(Lane::Sync).await.is_ok_and(|depth| depth.running == 5)).await;
    assert_eq!(seen.len(), 1, "the worker does not know");
    wire.lose_no_more();
    until("all ran", async || jobs.iter().all(|job| seen.count(job.id) >= 1)).await;
    until("nothing is held any more", async || queue.depth(Lane::Sync).await.is_ok_and(|depth| depth.running == 0))
        .await;
    assert_eq!(seen.len(), 6, "each once");
    pool.stop(SOON).await;
}

#[tokio::test]
async fn a_stop_ends_though_redis_is_away() {
    let mut redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let seen = Seen::default();
    let pool = stuck_worker(&queue, quick(), &seen);
    push(&queue, Lane::Sync, &message("noop")).await;
    until("it runs", async || seen.len() == 1).await;
    assert!(pool.last_fetch_age() < SOON);
    redis.kill();
    until("a worker that can't fetch says so", async || pool.last_fetch_age() > Duration::from_secs(2)).await;
    tokio::time::timeout(SOON, pool.stop(Duration::from_millis(100))).await.unwrap();
}

#[tokio::test]
async fn a_worker_whose_fetches_are_refused_says_so_and_that_it_hears() {
    let redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let seen = Seen::default();
    let settings = WorkerSettings { safety_poll: Duration::from_millis(100), ..quick() };
    let pool = worker(&queue, settings, &seen, DONE);
    let job = message("noop");
    push(&queue, Lane::Sync, &job).await;
    until("it works", async || seen.count(job.id) == 1).await;
    let mut refuse = redis::cmd("ACL");
    refuse.arg("SETUSER").arg("default").arg("-@scripting");
    let () = refuse.query_async(&mut raw(&redis.url()).await).await.unwrap();
    queue.ping().await.unwrap();
    // One that starts now has not even registered.
    let late = worker(&queue, settings, &seen, DONE);
    for pool in [&pool, &late] {
        let liveness = pool.liveness();
        // Longer than the longest pause between two tries.
        until("it says so", async || liveness.last_fetch_age() > Duration::from_secs(6)).await;
        let hears = async || liveness.last_word_age() + Duration::from_secs(3) < liveness.last_fetch_age();
        until("it hears the refusals", hears).await;
    }
}

#[tokio::test]
async fn a_full_redis_refuses_pushes_but_not_the_work_that_is_there() {
    let redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let jobs: Vec<Message> = (0..20).map(|_| message("noop")).collect();
    push_all(&queue, Lane::Sync, &jobs[..10]).await;
    for job in &jobs[10..] {
        push_in(&queue, Lane::Sync, job, Duration::from_millis(100)).await;
    }
    let connection = raw(&redis.url()).await;
    let limit = async |bytes: u64| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        let () = set.query_async(&mut connection.clone()).await.unwrap();
    };
    limit(1).await;
    assert!(queue.push(Lane::Sync, &message("noop"), None).await.is_err());
    let seen = Seen::default();
    let noted = seen.clone();
    // Each job fails once: what is delayed anew takes memory, too.
    let pool = WorkerPool::start(&queue, quick(), move |delivery: Delivery| {
        noted.add(delivery.message.id);
        let again = noted.count(delivery.message.id) == 1;
        async move { if again { Outcome::RetryIn(Duration::from_millis(10)) } else { DONE } }
    });
    until("all ran twice", async || jobs.iter().all(|job| seen.count(job.id) == 2)).await;
    until("all left", async || queue.depth(Lane::Sync).await.is_ok_and(|depth| depth.running == 0)).await;
    assert_eq!(answer(async || queue.workers().await).await.len(), 1);
    limit(0).await;
    let job = message("noop");
    push(&queue, Lane::Sync, &job).await;
    until("pushes work again", async || seen.count(job.id) == 2).await;
    pool.stop(SOON).await;
}
