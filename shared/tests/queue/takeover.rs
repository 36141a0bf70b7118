//! Workers that die, are paused, or stop.

use std::collections::HashMap;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shared::ids::JobId;
use shared::queue::{
    CRASHES_OF_A_POISON, Delivery, Final, Lane, Message, Outcome, Queue, Waiter, Waiting, WorkerInfo, WorkerPool,
    WorkerSettings,
};
use shared::turns::Spent;

use crate::support::{
    OwnRedis, SOON, Seen, answer, fresh_prefix, fresh_queue, keys, message, no_rows, push, push_all, quick, raw,
    redis_url, stuck_worker, until, until_all, until_alone, worker,
};

const DONE: Outcome = Outcome::Final(Final::Done);

#[tokio::test]
async fn the_jobs_of_a_dead_worker_run_elsewhere_at_the_front_and_in_order() {
    let (queue, _) = fresh_queue();
    let jobs: Vec<Message> = (0..12).map(|_| message("noop")).collect();
    push_all(&queue, Lane::Sync, &jobs).await;
    let (dead, alive) = (Seen::default(), Seen::default());
    let pool = stuck_worker(&queue, quick(), &dead);
    until("eight run", async || dead.len() == 8).await;
    drop(pool);
    let _pool = worker(&queue, WorkerSettings { concurrency: 1, ..quick() }, &alive, DONE);
    until("all run elsewhere", async || alive.len() == 12).await;
    // The new worker began with the four that were free; then the eight, in their old order.
    let order: Vec<JobId> = jobs[8..].iter().chain(&jobs[..8]).map(|job| job.id).collect();
    assert_eq!(alive.ids(), order);
    until_alone(&queue).await;
}

/// Its slots are free by its death: its jobs need not wait for those of others.
#[tokio::test]
async fn the_jobs_of_a_dead_worker_run_in_one_whose_slots_are_all_taken() {
    let (queue, _) = fresh_queue();
    let settings = WorkerSettings { concurrency: 4, ..quick() };
    let (dead, alive) = (Seen::default(), Seen::default());
    let pool = stuck_worker(&queue, settings, &dead);
    push_all(&queue, Lane::Bulk, &[message("noop"), message("noop")]).await;
    until("it has all that it may", async || dead.len() == 2).await;
    let busy = stuck_worker(&queue, settings, &alive);
    push_all(&queue, Lane::Bulk, &(0..6).map(|_| message("noop")).collect::<Vec<_>>()).await;
    until("the other, too", async || alive.len() == 2).await;
    drop(pool);
    until("the dead one's run there", async || dead.ids().iter().all(|id| alive.ids().contains(id))).await;
    assert_eq!((alive.len(), busy.running()), (4, 4), "and no more");
}

#[tokio::test]
async fn a_worker_that_died_with_ten_thousand_jobs_is_recovered() {
    let (queue, prefix) = fresh_queue();
    let jobs: Vec<Message> = (0..10_000).map(|_| message("noop")).collect();
    push_all(&queue, Lane::Sync, &jobs).await;
    let (dead, alive) = (Seen::default(), Seen::default());
    let pool = stuck_worker(&queue, WorkerSettings { concurrency: 10_001, ..quick() }, &dead);
    until_all(&dead, 10_000).await;
    drop(pool);
    let pool = worker(&queue, quick(), &alive, DONE);
    until_all(&alive, 10_000).await;
    until_alone(&queue).await;
    pool.stop(SOON).await;
    assert!(keys(&redis_url(), &prefix).await.iter().all(|key| key.ends_with(":epoch")));
}

#[tokio::test]
async fn a_worker_that_was_presumed_dead_is_told_and_its_last_word_counts_for_nothing() {
    let (queue, _) = fresh_queue();
    let waiter = Waiter::start(&queue, no_rows);
    let (sender, mut started) = tokio::sync::mpsc::unbounded_channel();
    // Its second heartbeat comes too late: so looks a paused process.
    let late = WorkerSettings { heartbeat: Duration::from_secs(4), ..quick() };
    let paused = WorkerPool::start(&queue, late, move |delivery: Delivery| {
        sender.send(()).unwrap();
        async move {
            delivery.stop.cancelled().await;
            Outcome::Final(Final::Failed { code: "from_the_dead".into() })
        }
    });
    let job = message("noop");
    let watching = waiter.watch(job.id);
    push(&queue, Lane::Sync, &job).await;
    tokio::time::timeout(SOON, started.recv()).await.unwrap();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (seen, opened) = (Seen::default(), gate.clone());
    let noted = seen.clone();
    let other = WorkerPool::start(&queue, quick(), move |delivery: Delivery| {
        noted.add(delivery.message.id);
        let gate = opened.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            DONE
        }
    });
    until("another has it", async || seen.count(job.id) == 1).await;
    until("the first hears of it, and its word is refused", async || paused.running() == 0).await;
    assert_eq!(answer(async || queue.depth(Lane::Sync).await).await.running, 1, "the other still holds it");
    gate.add_permits(1);
    assert_eq!(watching.wait(tokio::time::Instant::now() + SOON).await, Some(Final::Done));
    other.stop(SOON).await;
}

#[tokio::test]
async fn a_job_that_kills_its_workers_runs_alone_and_is_declared_dead_in_the_end() {
    let (queue, _) = fresh_queue();
    let poison = message("poison");
    push(&queue, Lane::Bulk, &poison).await;
    let deliveries: Arc<Mutex<Vec<u32>>> = Arc::default();
    let suspects_from = 2;
    for death in 1..=suspects_from + CRASHES_OF_A_POISON {
        let noted = deliveries.clone();
        let pool = WorkerPool::start(&queue, quick(), move |delivery: Delivery| {
            assert!(!delivery.is_poison());
            noted.lock().unwrap().push(delivery.crashes);
            async { std::future::pending().await }
        });
        until("it runs", async || deliveries.lock().unwrap().len() == death as usize).await;
        drop(pool);
    }
    // Two deaths make it a suspect; only the three that followed, alone, are held against it.
    assert_eq!(*deliveries.lock().unwrap(), [0, 0, 0, 1, 2]);
    let buried = Arc::new(tokio::sync::Notify::new());
    let noted = buried.clone();
    let pool = WorkerPool::start(&queue, quick(), move |delivery: Delivery| {
        assert!(delivery.is_poison());
        noted.notify_one();
        async { Outcome::Final(Final::Failed { code: "internal".into() }) }
    });
    tokio::time::timeout(SOON, buried.notified()).await.unwrap();
    pool.stop(SOON).await;
    // Forgotten with its crashes: pushed again (from the command line), it starts with a clean sheet.
    push(&queue, Lane::Bulk, &poison).await;
    let seen = Seen::default();
    let _pool = WorkerPool::start(&queue, quick(), {
        let seen = seen.clone();
        move |delivery: Delivery| {
            assert_eq!(delivery.crashes, 0);
            seen.add(delivery.message.id);
            async { DONE }
        }
    });
    until("it runs again", async || seen.len() == 1).await;
}

#[tokio::test]
async fn suspects_run_one_at_a_time_beside_the_others() {
    let (queue, _) = fresh_queue();
    let suspects: Vec<Message> = (0..3).map(|_| message("suspect")).collect();
    push_all(&queue, Lane::Sync, &suspects[..2]).await;
    push(&queue, Lane::Revoke, &suspects[2]).await;
    for _ in 0..2 {
        let seen = Seen::default();
        let pool = stuck_worker(&queue, quick(), &seen);
        until("all three run", async || seen.len() == 3).await;
        drop(pool);
    }
    let running: Arc<[AtomicUsize; 2]> = Arc::default();
    let ended = Seen::default();
    let (counted, noted) = (running.clone(), ended.clone());
    let plain = message("plain");
    push(&queue, Lane::Sync, &plain).await;
    let _pool = WorkerPool::start(&queue, quick(), move |delivery: Delivery| {
        let (running, ended) = (counted.clone(), noted.clone());
        async move {
            if delivery.message.kind == "suspect" {
                let now = running[0].fetch_add(1, Ordering::SeqCst) + 1;
                running[1].fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                running[0].fetch_sub(1, Ordering::SeqCst);
            }
            ended.add(delivery.message.id);
            DONE
        }
    });
    until("all ended", async || ended.len() == 4).await;
    assert_eq!(running[1].load(Ordering::SeqCst), 1, "at most one suspect at a time, over all lanes");
}

#[test]
fn a_revocation_is_never_poison() {
    let (_, interactive) = tokio::sync::watch::channel(true);
    let mut delivery = Delivery {
        message: message("revoke"),
        lane: Lane::Revoke,
        crashes: 1_000,
        stop: tokio_util::sync::CancellationToken::new(),
        interactive,
        spent: Spent::default(),
        waiting: Waiting::default(),
    };
    assert!(!delivery.is_poison());
    delivery.lane = Lane::Sync;
    assert!(delivery.is_poison());
}

#[tokio::test]
async fn a_revocation_that_kills_one_worker_after_the_other_waits_in_between() {
    let (queue, prefix) = fresh_queue();
    let job = message("revoke");
    push(&queue, Lane::Revoke, &job).await;
    // Twice among others, three times alone.
    let crashes = format!("{{{prefix}:revoke}}:v1:crashes");
    let mut connection = raw(&redis_url()).await;
    let () = redis::cmd("HSET").arg(crashes).arg(job.id.to_string()).arg(5).query_async(&mut connection).await.unwrap();
    let (dead, alive) = (Seen::default(), Seen::default());
    let pool = stuck_worker(&queue, quick(), &dead);
    until("it runs", async || dead.len() == 1).await;
    let killed = Instant::now();
    drop(pool);
    let _pool = worker(&queue, quick(), &alive, DONE);
    until("it runs all the same", async || alive.len() == 1).await;
    // It is dead a second after its last heartbeat, which may be half a second old by now: after a longer gap, that
    // second begins with the other's first one. Then the job waits for two. Without them it would run after about one.
    assert!(killed.elapsed() >= Duration::from_millis(2_400), "it did not wait: {:?}", killed.elapsed());
}

#[tokio::test]
async fn a_stop_gives_back_to_the_front_in_order_without_a_crash_and_signs_off() {
    let (queue, prefix) = fresh_queue();
    let jobs: Vec<Message> = (0..6).map(|_| message("noop")).collect();
    push_all(&queue, Lane::Sync, &jobs).await;
    let (started, told) = (Seen::default(), Seen::default());
    let (noted, stopped) = (started.clone(), told.clone());
    let pool = WorkerPool::start(&queue, WorkerSettings { concurrency: 5, ..quick() }, move |delivery: Delivery| {
        noted.add(delivery.message.id);
        let stopped = stopped.clone();
        async move {
            delivery.stop.cancelled().await;
            stopped.add(delivery.message.id);
            std::future::pending().await
        }
    });
    until("four run", async || started.len() == 4).await;
    assert_eq!(answer(async || queue.workers().await).await[0].running, 4);
    pool.stop(Duration::from_millis(100)).await;
    assert_eq!(told.len(), 4, "each was told to stop");
    let mut connection = raw(&redis_url()).await;
    let key = |name: &str| format!("{{{prefix}:sync}}:v1:{name}");
    let line: HashMap<String, String> =
        redis::cmd("HGETALL").arg(key("lines")).query_async(&mut connection).await.unwrap();
    assert_eq!((&*line[":first"], &*line[":next"]), ("0", "6"));
    let ready: Vec<&String> = (0..6).map(|place| &line[&format!(":{place}")]).collect();
    assert_eq!(ready, jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    let left: bool = redis::cmd("EXISTS").arg(key("crashes")).query_async(&mut connection).await.unwrap();
    assert!(!left, "a stop is no crash");
    assert_eq!(answer(async || queue.workers().await).await, []);
}

#[tokio::test]
async fn a_long_drain_is_no_death_and_its_jobs_end_where_they_run() {
    let (queue, _) = fresh_queue();
    let waiter = Waiter::start(&queue, no_rows);
    let (seen, others) = (Seen::default(), Seen::default());
    let noted = seen.clone();
    let pool = WorkerPool::start(&queue, quick(), move |delivery: Delivery| {
        noted.add(delivery.message.id);
        async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            DONE
        }
    });
    let job = message("noop");
    let watching = waiter.watch(job.id);
    push(&queue, Lane::Sync, &job).await;
    until("it runs", async || seen.len() == 1).await;
    // Three dead intervals: were there no heartbeats, this one would take over.
    let other = worker(&queue, quick(), &others, DONE);
    pool.stop(SOON).await;
    assert_eq!(watching.wait(tokio::time::Instant::now() + SOON).await, Some(Final::Done));
    other.stop(SOON).await;
    assert_eq!((seen.len(), others.len()), (1, 0));
}

#[tokio::test]
async fn an_outage_of_redis_is_not_the_death_of_its_workers() {
    let mut redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let (seen, others) = (Seen::default(), Seen::default());
    let dead_after = Duration::from_secs(4);
    let slow = WorkerSettings { heartbeat: Duration::from_millis(2_100), dead_after, ..quick() };
    let fast = WorkerSettings { heartbeat: Duration::from_millis(50), dead_after, ..quick() };
    let holder = stuck_worker(&queue, slow, &seen);
    let job = message("noop");
    push(&queue, Lane::Sync, &job).await;
    until("it runs", async || seen.len() == 1).await;
    let other = stuck_worker(&queue, fast, &others);
    until("the other is there", async || queue.workers().await.is_ok_and(|workers| workers.len() == 2)).await;
    redis.kill();
    tokio::time::sleep(dead_after + Duration::from_millis(500)).await;
    redis.up().await;
    // One that did not see the outage must not take it for a death, either.
    let fresh = stuck_worker(&queue, fast, &others);
    // The fast ones are there first, and find a heartbeat of the slow one that is too old.
    until("all are heard", async || {
        let workers = queue.workers().await.unwrap_or_default();
        workers.len() == 3 && workers.iter().all(|worker| worker.last_heartbeat < dead_after)
    })
    .await;
    tokio::time::sleep(dead_after).await;
    assert_eq!((seen.len(), others.len()), (1, 0));
    assert_eq!((holder.running(), other.running(), fresh.running()), (1, 0, 0));
}

/// What [`WorkerProcess`] runs in a process of its own; alone it does nothing.
#[tokio::test]
async fn child_worker() {
    let Ok(prefix) = std::env::var("QUEUE_TEST_CHILD_PREFIX") else { return };
    let queue = Queue::connect(&redis_url(), &prefix).unwrap();
    // It finds nobody dead: what another has taken over while it was paused, it does not take back.
    let settings = WorkerSettings { dead_after: Duration::from_secs(600), ..quick() };
    let pool = WorkerPool::start(&queue, settings, |delivery: Delivery| async move {
        delivery.stop.cancelled().await;
        Outcome::Final(Final::Failed { code: "from_the_dead".into() })
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(pool);
}

struct WorkerProcess(Child);

impl WorkerProcess {
    fn spawn(prefix: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "takeover::child_worker", "--nocapture"])
            .env("QUEUE_TEST_CHILD_PREFIX", prefix)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(format!("-{name}")).arg(self.0.id().to_string()).status().unwrap().success());
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_process_killed_or_paused_loses_its_job_to_another_within_seconds() {
    for signal in ["KILL", "STOP"] {
        let (queue, prefix) = fresh_queue();
        let waiter = Waiter::start(&queue, no_rows);
        let process = WorkerProcess::spawn(&prefix);
        let job = message("noop");
        let watching = waiter.watch(job.id);
        push(&queue, Lane::Sync, &job).await;
        until("the process has it", async || queue.depth(Lane::Sync).await.is_ok_and(|depth| depth.running == 1)).await;
        let seen = Seen::default();
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let pool = WorkerPool::start(&queue, quick(), {
            let (seen, gate) = (seen.clone(), gate.clone());
            move |delivery: Delivery| {
                seen.add(delivery.message.id);
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    DONE
                }
            }
        });
        process.signal(signal);
        let start = Instant::now();
        until("another has it", async || seen.len() == 1).await;
        // Two to three on a quiet machine.
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        if signal == "STOP" {
            process.signal("CONT");
            until("it is back", async || queue.workers().await.is_ok_and(|workers| workers.len() == 2)).await;
            // It hears that the job is not its own any more, says its word, and is not listened to.
            until("it let go", async || {
                let workers = queue.workers().await.unwrap_or_default();
                let is_right = |worker: &WorkerInfo| (worker.running == 1) == (worker.name == pool.name());
                !workers.is_empty() && workers.iter().all(is_right)
            })
            .await;
        }
        assert_eq!(answer(async || queue.depth(Lane::Sync).await).await.running, 1);
        gate.add_permits(1);
        assert_eq!(watching.wait(tokio::time::Instant::now() + SOON).await, Some(Final::Done));
        pool.stop(SOON).await;
    }
}
