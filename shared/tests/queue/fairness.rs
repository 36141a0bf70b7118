//! Groups take turns.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::ids::ProjectId;
use shared::queue::{Delivery, Final, Lane, Message, Outcome, Queue, WorkerPool, WorkerSettings};
use shared::turns::Group;
use tokio::sync::Semaphore;

use crate::support::{
    OwnRedis, SOON, Seen, fresh_prefix, fresh_queue, keys, message, push_all, quick, raw, redis_url, stuck_worker,
    until, until_all, until_alone, worker,
};

const DONE: Outcome = Outcome::Final(Final::Done);

fn one_at_a_time() -> WorkerSettings {
    WorkerSettings { concurrency: 1, ..quick() }
}

fn of(group: &Group, jobs: usize) -> Vec<Message> {
    (0..jobs).map(|_| Message { group: Some(group.clone()), ..message("noop") }).collect()
}

fn group() -> Group {
    ProjectId::new().into()
}

/// The positions in which these ran.
fn places(seen: &Seen, jobs: &[Message]) -> Vec<usize> {
    let ids = seen.ids();
    jobs.iter().filter_map(|job| ids.iter().position(|id| *id == job.id)).collect()
}

#[tokio::test]
async fn a_group_of_ten_thousand_adds_a_round_to_the_wait_of_ten_small_ones() {
    let (queue, prefix) = fresh_queue();
    push_all(&queue, Lane::Bulk, &of(&group(), 10_000)).await;
    let (seen, gate) = (Seen::default(), Arc::new(Semaphore::new(100)));
    let (noted, opened) = (seen.clone(), gate.clone());
    let pool = WorkerPool::start(&queue, one_at_a_time(), move |delivery: Delivery| {
        let (noted, opened) = (noted.clone(), opened.clone());
        async move {
            opened.acquire().await.unwrap().forget();
            noted.add(delivery.message.id);
            DONE
        }
    });
    until("the large one is under way, and the next of its jobs waits in the slot", async || {
        seen.len() == 100 && queue.depth(Lane::Bulk).await.is_ok_and(|depth| depth.running == 1)
    })
    .await;
    let small: Vec<Vec<Message>> = (0..10).map(|_| of(&group(), 10)).collect();
    for jobs in &small {
        push_all(&queue, Lane::Bulk, jobs).await;
    }
    gate.add_permits(20_000);
    until_all(&seen, 10_100).await;
    for jobs in &small {
        for (round, place) in places(&seen, jobs).into_iter().enumerate() {
            // A hundred had run, one was in the slot, and a round is a job of each of the eleven.
            assert!(place <= 101 + 11 * (round + 1), "the small group's job {round} ran as number {place}");
        }
    }
    pool.stop(SOON).await;
    let left = keys(&redis_url(), &prefix).await;
    assert!(left.iter().all(|key| key.ends_with(":epoch")), "{left:?}");
}

#[tokio::test]
async fn turns_are_by_requests_spent_not_by_jobs() {
    let (queue, _) = fresh_queue();
    let (dear, cheap) = (group(), group());
    let (dear_jobs, cheap_jobs) = (of(&dear, 100), of(&cheap, 400));
    push_all(&queue, Lane::Bulk, &dear_jobs).await;
    push_all(&queue, Lane::Bulk, &cheap_jobs).await;
    let spent: Arc<Mutex<Vec<(bool, u32)>>> = Arc::default();
    let noted = spent.clone();
    let pool = WorkerPool::start(&queue, one_at_a_time(), move |delivery: Delivery| {
        let is_dear = delivery.message.group.as_ref() == Some(&dear);
        let cost = if is_dear { 9 } else { 1 };
        for _ in 0..cost {
            delivery.spent.count();
        }
        noted.lock().unwrap().push((is_dear, cost));
        async { DONE }
    });
    until("all have run", async || spent.lock().unwrap().len() == 500).await;
    pool.stop(SOON).await;
    let (mut dear, mut cheap) = (0_u32, 0_u32);
    for (is_dear, cost) in spent.lock().unwrap().iter() {
        if *is_dear {
            dear += cost;
        } else {
            cheap += cost;
        }
        // While both wait. A few jobs are fetched before the last one's end has reached Redis; turns by jobs would come to
        // a difference of 800.
        assert!(cheap >= 400 || dear.abs_diff(cheap) <= 10 * 9, "{dear} and {cheap} requests");
    }
    assert_eq!((dear, cheap), (900, 400));
}

#[tokio::test]
async fn a_stop_and_a_crash_keep_each_groups_order_and_the_turns() {
    let (queue, prefix) = fresh_queue();
    let groups: Vec<Vec<Message>> = (0..3).map(|_| of(&group(), 6)).collect();
    for jobs in &groups {
        push_all(&queue, Lane::Sync, jobs).await;
    }
    let held = Seen::default();
    let pool = stuck_worker(&queue, quick(), &held);
    until("eight run", async || held.len() == 8).await;
    pool.stop(Duration::ZERO).await;
    let held = Seen::default();
    let pool = stuck_worker(&queue, quick(), &held);
    until("eight run", async || held.len() == 8).await;
    drop(pool);
    let seen = Seen::default();
    let pool = worker(&queue, one_at_a_time(), &seen, DONE);
    until("all have run", async || seen.len() == 18).await;
    until_alone(&queue).await;
    pool.stop(SOON).await;
    for jobs in &groups {
        // What was free ran first; what the dead one held came back before the rest of its group.
        let free: Vec<Message> = jobs.iter().filter(|job| held.count(job.id) == 0).cloned().collect();
        let taken: Vec<Message> = jobs.iter().filter(|job| held.count(job.id) == 1).cloned().collect();
        assert!(places(&seen, &free).is_sorted() && places(&seen, &taken).is_sorted());
    }
    assert!(keys(&redis_url(), &prefix).await.iter().all(|key| key.ends_with(":epoch")));
}

#[tokio::test]
async fn after_a_flush_the_turns_begin_anew() {
    let redis = OwnRedis::start().await;
    let queue = Queue::connect(&redis.url(), &fresh_prefix()).unwrap();
    let (large, small) = (group(), group());
    push_all(&queue, Lane::Bulk, &of(&large, 500)).await;
    let held = Seen::default();
    let pool = stuck_worker(&queue, quick(), &held);
    until("six run", async || held.len() == 6).await;
    let () = redis::cmd("FLUSHALL").query_async(&mut raw(&redis.url()).await).await.unwrap();
    until("they are registered anew", async || queue.depth(Lane::Bulk).await.is_ok_and(|depth| depth.running == 6))
        .await;
    let (large, small) = (of(&large, 20), of(&small, 5));
    push_all(&queue, Lane::Bulk, &large).await;
    push_all(&queue, Lane::Bulk, &small).await;
    let seen = Seen::default();
    let other = worker(&queue, one_at_a_time(), &seen, DONE);
    until("the others run", async || seen.len() == 25).await;
    assert!(places(&seen, &small).into_iter().enumerate().all(|(round, place)| place <= 2 * (round + 1)));
    other.stop(SOON).await;
    pool.stop(Duration::ZERO).await;
}
