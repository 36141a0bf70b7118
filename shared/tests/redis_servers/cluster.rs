//! A cluster of three masters: lanes on different nodes, slots that move under load, a master that restarts.

use std::time::{Duration, Instant};

use shared::ids::JobId;
use shared::queue::{Final, Lane, Queue, Sweep, Waiter};
use shared::redis_servers::RedisServers;
use tokio::sync::watch;

use crate::load::{Arrivals, Notes, Runs, budget, message, pusher, requester, worker};
use crate::servers::{Cluster, SOON, until};

const QUOTA: u32 = 50;
const WINDOW: Duration = Duration::from_millis(500);

fn waiter(queue: &Queue) -> Waiter {
    Waiter::start(queue, |_: Vec<JobId>| Box::pin(async { Ok::<_, String>(Vec::new()) }))
}

/// A job through each lane, its waiter told by the notice alone.
async fn round_trips(queue: &Queue, waiter: &Waiter) {
    for lane in Lane::ALL {
        let job = message();
        let watching = waiter.watch(job.id);
        queue.push(lane, &job, None).await.unwrap();
        assert_eq!(watching.wait(tokio::time::Instant::now() + SOON).await, Some(Final::Done), "{lane}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_on_three_masters_work_as_one_queue_and_lose_nothing_when_slots_move_or_a_master_restarts() {
    let mut cluster = Cluster::start().await;
    let prefix = cluster.spread_prefix().await;
    let (url, runs) = (cluster.url(), Runs::default());
    let queue = Queue::connect(&url, &prefix).unwrap();
    queue.ping().await.unwrap();
    let masters = RedisServers::parse(&url).unwrap().masters().await.unwrap();
    assert_eq!(masters.len(), 3);
    let pool = worker(&queue, &runs);
    let waiter = waiter(&queue);
    until("the worker beats on every node", async || {
        queue.unknown(&[JobId::new()]).await.is_ok_and(|sweep| sweep != Sweep::TooSoon)
    })
    .await;
    round_trips(&queue, &waiter).await;
    assert_eq!(queue.workers().await.unwrap().len(), 1);

    // A slot on the move, key by key, under load. Nothing sweeps here: what was pushed runs.
    let (stop, stopped) = watch::channel(false);
    let pushing = pusher(&queue, stopped.clone());
    let (notes, arrivals) = (Notes::default(), Arrivals::default());
    let budget = budget(&url, &prefix, QUOTA, WINDOW, &notes);
    let requesting = requester(&budget, &arrivals, stopped);
    let endpoint = format!("{{app:{}}}", crate::load::ENDPOINT);
    for tag in [format!("{{{prefix}:sync}}"), format!("{{{prefix}:bulk}}"), endpoint] {
        let (slot, owner) = (cluster.slot(&tag).await, cluster.first_owner(&tag).await);
        let (before, requests) = (runs.len(), arrivals.count());
        until("there is load", async || runs.len() > before + 100 && arrivals.count() > requests).await;
        cluster.move_slot(slot, owner, (owner + 1) % 3).await;
        let (before, requests) = (runs.len(), arrivals.count());
        until("work goes on", async || runs.len() > before + 100 && arrivals.count() > requests).await;
    }

    // A master that dies and comes back with all it had acknowledged.
    let node = cluster.first_owner(&format!("{{{prefix}:revoke}}")).await;
    cluster.nodes[node].kill();
    until("it is missed", async || queue.ping().await.is_err()).await;
    assert!(cluster.nodes[node].up().await, "its port is free again");
    cluster.whole().await;
    let before = runs.len();
    until("work goes on", async || runs.len() > before + 100).await;
    stop.send_replace(true);
    let jobs = pushing.await.unwrap();
    requesting.await.unwrap();
    until("every job has run", async || runs.missing(&jobs) == 0).await;
    for lane in Lane::ALL {
        until("nothing is left", async || {
            queue.depth(lane).await.is_ok_and(|depth| depth.ready + depth.running + depth.delayed == 0)
        })
        .await;
    }
    // What had to be said again may have run again, no more: a finish whose answer was lost with the master.
    let twice = jobs.iter().filter(|job| runs.of(job.id) > 1).count();
    assert!(twice <= 8, "{twice} of {} jobs ran twice", jobs.len());
    let most = arrivals.most_within(WINDOW);
    assert!(most <= QUOTA as usize, "{most} requests in a window");
    round_trips(&queue, &waiter).await;
    let began = Instant::now();
    pool.stop(SOON).await;
    assert!(began.elapsed() < SOON);
}
