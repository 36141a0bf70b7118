//! Gates: lanes that a worker is not to fetch from.

use std::time::Duration;

use shared::queue::{Final, Gates, Lane, Message, Outcome, Passage, WorkerPool};

use crate::support::{SOON, Seen, answer, fresh_queue, message, push, push_all, quick, until};

#[tokio::test]
async fn a_closed_gate_holds_its_lane_alone_and_an_open_one_lets_what_waits_run_at_once() {
    let (queue, _) = fresh_queue();
    let (gates, seen) = (Gates::closed(), Seen::default());
    let noted = seen.clone();
    let pool = WorkerPool::start_gated(&queue, quick(), &gates, move |delivery| {
        noted.add(delivery.message.id);
        async { Outcome::Final(Final::Done) }
    });
    let (held, free) = (message("noop"), message("noop"));
    push(&queue, Lane::Sync, &held).await;
    push(&queue, Lane::Revoke, &free).await;
    gates.set(Lane::Revoke, true);
    until("the lane with an open gate is served", async || seen.count(free.id) == 1).await;
    gates.set(Lane::Sync, true);
    until("what waited runs", async || seen.count(held.id) == 1).await;
    // Again, on a lane that has been open and idle.
    gates.set(Lane::Sync, false);
    let late = message("noop");
    push(&queue, Lane::Sync, &late).await;
    until("it is in line", async || queue.depth(Lane::Sync).await.is_ok_and(|depth| depth.ready == 1)).await;
    assert!(pool.last_fetch_age() < Duration::from_secs(60), "a lane that is held is not stale");
    assert_eq!(seen.count(late.id), 0);
    gates.set(Lane::Sync, true);
    until("it runs", async || seen.count(late.id) == 1).await;
    pool.stop(SOON).await;
}

#[tokio::test]
async fn a_worker_hears_that_what_holds_lanes_has_changed() {
    let (queue, _) = fresh_queue();
    let gates = Gates::open();
    let pool = WorkerPool::start_gated(&queue, quick(), &gates, |_| async { Outcome::Gone });
    // The first call is that of the subscription.
    tokio::time::timeout(SOON, gates.changed()).await.unwrap();
    queue.announce_lanes().await.unwrap();
    tokio::time::timeout(SOON, gates.changed()).await.unwrap();
    pool.stop(SOON).await;
}

#[tokio::test]
async fn a_gate_lets_one_through_and_then_nothing_until_it_says_so_again() {
    let (queue, _) = fresh_queue();
    let (gates, seen) = (Gates::open(), Seen::default());
    gates.restrict(Lane::Bulk, Passage::Nothing);
    let noted = seen.clone();
    let pool = WorkerPool::start_gated(&queue, quick(), &gates, move |delivery| {
        noted.add(delivery.message.id);
        async { Outcome::Final(Final::Done) }
    });
    let jobs: Vec<Message> = (0..20).map(|_| message("noop")).collect();
    push_all(&queue, Lane::Bulk, &jobs).await;
    let beside = async || {
        let other = message("noop");
        push(&queue, Lane::Sync, &other).await;
        until("another lane goes on", async || seen.count(other.id) == 1).await;
    };
    for through in 0..3 {
        beside().await;
        let held = answer(async || queue.depth(Lane::Bulk).await).await;
        assert_eq!((held.ready, held.running), (20 - through, 0));
        gates.restrict(Lane::Bulk, Passage::One);
        until("one has gone through", async || gates.passage(Lane::Bulk) == Passage::Nothing).await;
        until("it has ended", async || queue.depth(Lane::Bulk).await.is_ok_and(|depth| depth.running == 0)).await;
    }
    // An operator's hold is another one, and neither opens what the other holds.
    gates.set(Lane::Bulk, false);
    gates.restrict(Lane::Bulk, Passage::All);
    assert_eq!(gates.passage(Lane::Bulk), Passage::Nothing);
    gates.set(Lane::Bulk, true);
    until("all ran", async || jobs.iter().all(|job| seen.count(job.id) == 1)).await;
    pool.stop(SOON).await;
}
