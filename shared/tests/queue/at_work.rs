//! A worker's death is held against the jobs that were at work, and not against those that waited for their turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::queue::{Delivery, Final, Lane, Message, Outcome, Queue, WorkerPool, WorkerSettings};
use tokio::sync::Semaphore;

use crate::support::{
    OwnRedis, SOON, Seen, answer, fresh_prefix, fresh_queue, keys, message, push, push_all, quick, raw, redis_url,
    until, until_alone, worker,
};

const DONE: Outcome = Outcome::Final(Final::Done);

/// A worker whose jobs wait for a turn, which is a permit of `turns`, and then work for ever.
fn waiting_worker(queue: &Queue, settings: WorkerSettings, turns: &Arc<Semaphore>, seen: &Seen) -> WorkerPool {
    let (turns, seen) = (turns.clone(), seen.clone());
    WorkerPool::start(queue, settings, move |delivery: Delivery| {
        let (turns, seen) = (turns.clone(), seen.clone());
        async move {
            let (_turn, is_at_work) = delivery.waiting.during(turns.acquire()).await;
            assert!(is_at_work.is_ok());
            seen.add(delivery.message.id);
            std::future::pending().await
        }
    })
}

/// How many jobs of this worker are marked: what a dead one has left there does not count.
async fn marks(url: &str, prefix: &str, pool: &WorkerPool) -> usize {
    let key = format!("{{{prefix}:bulk}}:v1:waiting");
    let marks: Vec<String> = redis::cmd("SMEMBERS").arg(key).query_async(&mut raw(url).await).await.unwrap();
    marks.iter().filter(|claim| claim.starts_with(pool.name())).count()
}

fn slots(count: usize) -> WorkerSettings {
    // The bulk lane has three quarters of them.
    WorkerSettings { concurrency: count * 4 / 3 + 2, ..quick() }
}

#[tokio::test]
async fn three_deaths_make_no_suspect_of_a_job_that_only_waited() {
    let (queue, prefix) = fresh_queue();
    let jobs: Vec<Message> = (0..20).map(|_| message("noop")).collect();
    push_all(&queue, Lane::Bulk, &jobs).await;
    let no_turns = Arc::new(Semaphore::new(0));
    for _ in 0..3 {
        let pool = waiting_worker(&queue, slots(20), &no_turns, &Seen::default());
        until("all wait", async || marks(&redis_url(), &prefix, &pool).await == 20).await;
        drop(pool);
    }
    // All at once: of suspects it would run one after the other.
    let (seen, turns) = (Seen::default(), Arc::new(Semaphore::new(20)));
    let pool = waiting_worker(&queue, slots(20), &turns, &seen);
    until("all are at work", async || seen.len() == 20).await;
    assert_eq!(answer(async || queue.depth(Lane::Bulk).await).await.suspects, 0);
    assert_eq!(marks(&redis_url(), &prefix, &pool).await, 0);
    drop(pool);
    let ended = Seen::default();
    let pool = worker(&queue, slots(20), &ended, DONE);
    until("all end", async || ended.len() == 20).await;
    until_alone(&queue).await;
    pool.stop(SOON).await;
    assert!(keys(&redis_url(), &prefix).await.iter().all(|key| key.ends_with(":epoch")));
}

#[tokio::test]
async fn a_job_whose_turn_has_come_is_held_to_account_for_its_worker() {
    let (queue, prefix) = fresh_queue();
    let jobs: Vec<Message> = (0..4).map(|_| message("noop")).collect();
    push_all(&queue, Lane::Bulk, &jobs).await;
    for death in 1..=2 {
        let (seen, turns) = (Seen::default(), Arc::new(Semaphore::new(0)));
        let pool = waiting_worker(&queue, slots(4), &turns, &seen);
        until("all wait", async || marks(&redis_url(), &prefix, &pool).await == 4).await;
        turns.add_permits(4);
        until("all are at work", async || seen.len() == 4).await;
        assert_eq!(marks(&redis_url(), &prefix, &pool).await, 0, "unmarked before the turn is used");
        drop(pool);
        if death == 2 {
            let (none, looker) = (Arc::new(Semaphore::new(0)), Seen::default());
            let pool = waiting_worker(&queue, slots(4), &none, &looker);
            until("one runs and three are suspects", async || {
                let depth = queue.depth(Lane::Bulk).await;
                depth.is_ok_and(|depth| (depth.ready, depth.suspects, depth.running) == (3, 3, 1))
            })
            .await;
            pool.stop(Duration::ZERO).await;
        }
    }
}

#[tokio::test]
async fn a_mark_says_nothing_of_another_claim_and_none_can_be_set_for_a_claim_that_is_lost() {
    let (queue, prefix) = fresh_queue();
    let job = message("noop");
    push(&queue, Lane::Bulk, &job).await;
    let mut connection = raw(&redis_url()).await;
    let key = |name: &str| format!("{{{prefix}:bulk}}:v1:{name}");
    for death in 1..=2_u32 {
        let seen = Seen::default();
        let pool = worker_at_work(&queue, &seen);
        until("it runs", async || seen.len() == 1).await;
        // One that an earlier claim of the same job has left, and one of the same worker.
        for stale in [format!("{}:0", pool.name()), "another:1".to_owned()] {
            let () = redis::cmd("SADD").arg(key("waiting")).arg(stale).query_async(&mut connection).await.unwrap();
        }
        drop(pool);
        let other = waiting_worker(&queue, quick(), &Arc::new(Semaphore::new(0)), &Seen::default());
        until("it is counted", async || {
            let counted: Option<u32> = redis::cmd("HGET")
                .arg(key("crashes"))
                .arg(job.id.to_string())
                .query_async(&mut connection.clone())
                .await
                .unwrap();
            counted == Some(death)
        })
        .await;
        other.stop(Duration::ZERO).await;
    }
    let ended = Seen::default();
    let pool = worker(&queue, quick(), &ended, DONE);
    until("it ends", async || ended.len() == 1).await;
    until_alone(&queue).await;
    pool.stop(SOON).await;
    assert!(keys(&redis_url(), &prefix).await.iter().all(|key| key.ends_with(":epoch")), "stale marks go, too");
}

fn worker_at_work(queue: &Queue, seen: &Seen) -> WorkerPool {
    waiting_worker(queue, quick(), &Arc::new(Semaphore::new(9)), seen)
}

#[tokio::test]
async fn a_turn_that_redis_can_not_be_told_of_is_not_to_be_used() {
    let redis = OwnRedis::start().await;
    let prefix = fresh_prefix();
    let queue = Queue::connect(&redis.url(), &prefix).unwrap();
    let (told, turns) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let pool = WorkerPool::start(&queue, quick(), {
        let (told, turns) = (told.clone(), turns.clone());
        move |delivery: Delivery| {
            let (told, turns) = (told.clone(), turns.clone());
            async move {
                let (_turn, is_at_work) = delivery.waiting.during(turns.acquire()).await;
                if is_at_work.is_err() {
                    told.add(delivery.message.id);
                }
                DONE
            }
        }
    });
    push(&queue, Lane::Bulk, &message("noop")).await;
    until("it waits, and Redis is told so", async || marks(&redis.url(), &prefix, &pool).await == 1).await;
    redis.signal("STOP");
    turns.add_permits(1);
    until("the job is told, though Redis says nothing", async || told.len() == 1).await;
    redis.signal("CONT");
    until("it ends", async || pool.running() == 0).await;
    pool.stop(SOON).await;
}

/// A fleet of one that is killed again and again, sooner than a death can be noticed by anyone that lived through all of it.
#[tokio::test]
async fn what_a_dead_worker_held_is_taken_over_by_successors_that_do_not_live_long() {
    let (queue, _) = fresh_queue();
    let settings = WorkerSettings { dead_after: Duration::from_secs(4), ..quick() };
    let job = message("noop");
    push(&queue, Lane::Bulk, &job).await;
    let seen = Seen::default();
    let pool = WorkerPool::start(&queue, settings, {
        let seen = seen.clone();
        move |delivery: Delivery| {
            seen.add(delivery.message.id);
            std::future::pending::<Outcome>()
        }
    });
    until("it runs", async || seen.len() == 1).await;
    drop(pool);
    let (killed, ended) = (Instant::now(), Seen::default());
    // At first too short a life to notice a death that one has lived through; longer on a machine that is too busy for this.
    let mut life = Duration::from_millis(1500);
    while ended.len() == 0 {
        assert!(killed.elapsed() < Duration::from_secs(120), "nobody takes it over");
        let pool = worker(&queue, settings, &ended, DONE);
        tokio::time::sleep(life).await;
        drop(pool);
        life = if killed.elapsed() < Duration::from_secs(20) { life } else { life * 2 };
    }
}
