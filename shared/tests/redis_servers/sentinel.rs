//! A master that dies, and a replica that is promoted.

use std::time::Duration;

use shared::budget::BudgetError;
use shared::ids::JobId;
use shared::queue::{Final, Lane, Message, Queue, Sweep, Waiter};

use crate::load::{Notes, Runs, budget, message, push, sweep, told, worker};
use crate::servers::{SOON, Watched, until};

const QUOTA: u32 = 10;
/// So long that none of it passes in the test.
const WINDOW: Duration = Duration::from_secs(600);

/// Whether a job that is pushed now runs, and its waiter hears of it: by a notice, for there are no rows here.
async fn noticed(queue: &Queue, waiter: &Waiter) -> bool {
    let job = message();
    let watching = waiter.watch(job.id);
    push(queue, Lane::Sync, &job).await;
    watching.wait(tokio::time::Instant::now() + Duration::from_secs(5)).await == Some(Final::Done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_that_missed_the_end_loses_no_job_and_no_honesty() {
    let mut redis = Watched::start().await;
    let (url, runs, notes) = (redis.url(), Runs::default(), Notes::default());
    let queue = Queue::connect(&url, "test").unwrap();
    let waiter = Waiter::start(&queue, |_: Vec<JobId>| Box::pin(async { Ok::<_, String>(Vec::new()) }));
    let pool = worker(&queue, &runs);
    until("the epoch is settled", async || {
        queue.unknown(&[JobId::new()]).await.is_ok_and(|sweep| sweep != Sweep::TooSoon)
    })
    .await;
    // A process that used the budget, and one that only looked.
    let (user, other) = (budget(&url, "test", QUOTA, WINDOW, &notes), budget(&url, "test", QUOTA, WINDOW, &notes));
    told(&user, SOON).await.unwrap().settle().await;
    told(&other, SOON).await.unwrap().give_back().await;
    redis.replicated().await;
    redis.cut_replication().await;
    // Of all this the replica will know nothing.
    let later: Vec<Message> = (0..50).map(|_| message()).collect();
    for (number, job) in (0..).zip(&later) {
        queue.push(Lane::ALL[number % 3], job, Some(Duration::from_secs(2))).await.unwrap();
    }
    for _ in 1..QUOTA {
        told(&user, Duration::ZERO).await.expect("it is free").settle().await;
    }
    redis.master.kill();
    assert!(queue.push(Lane::Sync, &message(), None).await.is_err(), "it says so while nobody is master");
    redis.promoted().await;

    // The queue finds the new master, hears its notices, and what it has lost is pushed again.
    until("notices come again", async || noticed(&queue, &waiter).await).await;
    until("the lost jobs are swept up and run", async || {
        sweep(&queue, &runs, &later).await;
        runs.missing(&later) == 0
    })
    .await;

    // Nine requests are missing from the log that was promoted. Who made them knows, and closes the endpoint for all.
    let refused = told(&user, Duration::from_secs(5)).await.expect_err("the window is full, whatever the log says");
    assert!(matches!(refused, BudgetError::NotBefore(wait) if wait > Duration::from_secs(30)), "{refused}");
    let refused = told(&other, Duration::from_secs(5)).await.expect_err("for everybody");
    assert!(matches!(refused, BudgetError::NotBefore(wait) if wait > Duration::from_secs(30)), "{refused}");

    // The old master comes back and takes itself for the master still, until the Sentinel finds it: nobody is led to it.
    assert!(redis.master.up().await, "its port is free");
    let newcomer = Queue::connect(&url, "test").unwrap();
    until("a newcomer finds the new one", async || noticed(&newcomer, &waiter).await).await;
    pool.stop(SOON).await;
}
