//! What becomes of one permit, and of one caller.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use shared::budget::{BudgetError, BudgetSettings};
use shared::ids::ProjectId;
use shared::turns::Group;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::helpers::{
    Notes, PROFILE, VIDEOS, at_once, budget_at, fleet, fresh_prefix, interactive, permit, redis_url, settings,
    take_all, told,
};

const MINUTE: Duration = Duration::from_secs(60);

/// What a busy machine adds to what takes milliseconds; far less than the minute that it would take otherwise.
const NOISE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn who_would_be_late_is_told_at_once_when_to_come_back() {
    let fleet = fleet(2, settings(3, MINUTE));
    for permit in take_all(&fleet[0]).await {
        permit.settle().await;
    }
    let asked = Instant::now();
    let refused = told(&fleet[1], VIDEOS, Duration::from_secs(30)).await.expect_err("all is used");
    assert!(asked.elapsed() < NOISE);
    let BudgetError::NotBefore(wait) = refused else { panic!("{refused}") };
    assert!((30..=62).contains(&wait.as_secs()), "{wait:?}");
}

#[tokio::test]
async fn what_is_given_back_is_free_at_once_for_everybody() {
    let fleet = fleet(2, settings(1, MINUTE));
    let mut held = at_once(&fleet[0]).await.expect("it is free");
    for number in 1..20 {
        let other = &fleet[number % 2];
        assert!(at_once(other).await.is_err(), "it is held");
        let given = Instant::now();
        held.give_back().await;
        held = loop {
            // The log hears of it in the background, within milliseconds.
            if let Ok(permit) = permit(other, true, Duration::ZERO).await {
                break permit;
            }
            assert!(given.elapsed() < NOISE, "it was given back");
        };
    }
    held.give_back().await;
}

#[tokio::test]
async fn what_is_given_back_goes_to_who_waits() {
    let budget = Arc::clone(&fleet(1, settings(1, MINUTE))[0]);
    let held = at_once(&budget).await.expect("it is free");
    let waiting = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.permit(VIDEOS, None, interactive(true), None).await }
    });
    // Only once the second caller waits can it be passed over.
    sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    let given = Instant::now();
    held.give_back().await;
    let permit = waiting.await.expect("no panic").expect("it was given back");
    assert!(given.elapsed() < NOISE, "it took {:?}", given.elapsed());
    permit.settle().await;
}

#[tokio::test]
async fn a_permit_is_fresh_for_a_second() {
    let budget = Arc::clone(&fleet(1, settings(1, MINUTE))[0]);
    let asked = Instant::now();
    let permit = at_once(&budget).await.expect("it is free");
    let had = Instant::now();
    // The clock is read before the permit is asked, or after it, so that it does not matter how long this test stands still.
    assert!(permit.fresh() || asked.elapsed() >= Duration::from_secs(1));
    loop {
        let held = had.elapsed();
        if !permit.fresh() {
            break;
        }
        assert!(held < Duration::from_secs(1), "fresh after {held:?}");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(asked.elapsed() >= Duration::from_secs(1));
    permit.give_back().await;
    take_all(&budget).await.pop().expect("the stale one was taken back").settle().await;
}

#[tokio::test]
async fn the_permits_of_a_process_that_died_free_themselves() {
    // Held for the second that they are fresh, the request's 200 ms, the window and its slack.
    let settings = settings(5, Duration::from_millis(500));
    let hold = Duration::from_secs(1) + settings.request_timeout + settings.window + settings.slack;
    let fleet = fleet(2, settings);
    let granted = Instant::now();
    drop(take_all(&fleet[0]).await);
    let next = fleet[1].permit(VIDEOS, None, interactive(true), None).await.expect("it frees itself");
    let took = granted.elapsed();
    assert!(took >= hold && took < hold + NOISE, "{took:?}, not {hold:?}");
    next.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_are_dropped_lose_nothing() {
    let fleet = fleet(2, settings(6, MINUTE));
    let mut tasks = JoinSet::new();
    for number in 0..400 {
        let budget = Arc::clone(&fleet[number % 2]);
        tasks.spawn(async move {
            let patience = Duration::from_micros(rand::rng().random_range(0..3_000));
            tokio::select! {
                biased;
                // Also when the permit has just come and was not looked at yet.
                () = sleep(patience) => {}
                permit = budget.permit(VIDEOS, None, interactive(number % 3 > 0), None) => {
                    permit.expect("Redis runs").give_back().await;
                }
            }
        });
    }
    tasks.join_all().await;
    // The log hears in the background of what is given back, and says of what it has not heard of that it is in use.
    let mut held = Vec::new();
    let began = Instant::now();
    while held.len() < 6 {
        held.extend(permit(&fleet[0], true, Duration::ZERO).await.ok());
        assert!(began.elapsed() < Duration::from_secs(20), "only {} of 6: some were lost", held.len());
    }
    assert!(at_once(&fleet[0]).await.is_err(), "and none was made up");
}

/// One request in a `window`. A permit that is neither settled nor given back is held for more than a minute, so that
/// it does not free itself while callers still come.
fn held_for_long(window: Duration) -> BudgetSettings {
    BudgetSettings { request_timeout: MINUTE, ..settings(1, window) }
}

#[tokio::test]
async fn a_caller_that_becomes_interactive_moves_to_the_front() {
    let budget = Arc::clone(&fleet(1, held_for_long(Duration::from_millis(400)))[0]);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let held = at_once(&budget).await.expect("it is free");
    let mut switches = Vec::new();
    let mut tasks = JoinSet::new();
    for number in 0..3 {
        let (switch, is_interactive) = watch::channel(false);
        switches.push(switch);
        let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
        tasks.spawn(async move {
            let permit = budget.permit(VIDEOS, None, is_interactive, None).await.expect("it waits");
            order.lock().unwrap().push(number);
            permit.settle().await;
        });
        // So that they stand in this order.
        sleep(Duration::from_millis(20)).await;
    }
    switches[2].send_replace(true);
    held.settle().await;
    tasks.join_all().await;
    assert_eq!(*order.lock().unwrap(), [2, 0, 1]);
}

#[tokio::test]
async fn the_groups_take_turns_and_a_large_one_does_not_hold_up_a_small_one() {
    let budget = Arc::clone(&fleet(1, held_for_long(Duration::from_millis(200)))[0]);
    let (large, small) = (Group::from(ProjectId::new()), Group::from(ProjectId::new()));
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let held = at_once(&budget).await.expect("it is free");
    let mut tasks = JoinSet::new();
    let callers = [("large", &large, 6), ("small", &small, 2)];
    for (name, group) in callers.into_iter().flat_map(|(name, group, number)| vec![(name, group); number]) {
        let (budget, order, group) = (Arc::clone(&budget), Arc::clone(&order), group.clone());
        tasks.spawn(async move {
            let permit = budget.permit(VIDEOS, Some(group), interactive(false), None).await.expect("it waits");
            order.lock().unwrap().push(name);
            permit.settle().await;
        });
        // So that they come in this order.
        sleep(Duration::from_millis(20)).await;
    }
    held.settle().await;
    tasks.join_all().await;
    let order = order.lock().unwrap().clone();
    assert_eq!(order, ["large", "small", "large", "small", "large", "large", "large", "large"]);
}

#[tokio::test]
async fn a_429_closes_that_endpoint_for_the_whole_fleet() {
    /// Longer than this machine stands still: until all are asked, it must not be over.
    const PAUSE: Duration = Duration::from_secs(7);
    let fleet = fleet(2, settings(100, Duration::from_secs(1)));
    at_once(&fleet[1]).await.expect("it is open").settle().await;
    let closed = Instant::now();
    fleet[0].close(VIDEOS, Some(PAUSE)).await;
    let refused = at_once(&fleet[1]).await.expect_err("it is closed");
    assert!(matches!(refused, BudgetError::NotBefore(wait) if wait <= PAUSE), "{refused}");
    let other = told(&fleet[1], PROFILE, Duration::ZERO).await;
    other.expect("the other endpoint is open").settle().await;
    let (one, two) = tokio::join!(
        fleet[0].permit(VIDEOS, None, interactive(true), None),
        fleet[1].permit(VIDEOS, None, interactive(false), None)
    );
    let took = closed.elapsed();
    one.expect("open again").settle().await;
    two.expect("open again").settle().await;
    assert!(took >= Duration::from_millis(6_990) && took < PAUSE + NOISE, "{took:?}");
}

#[tokio::test]
async fn a_429_that_does_not_say_how_long_closes_for_a_second() {
    let fleet = fleet(1, settings(100, Duration::from_secs(1)));
    let closed = Instant::now();
    fleet[0].close(VIDEOS, None).await;
    fleet[0].permit(VIDEOS, None, interactive(true), None).await.expect("open again").settle().await;
    let took = closed.elapsed();
    assert!(took >= Duration::from_millis(990) && took < NOISE, "{took:?}");
}

#[tokio::test]
async fn use_is_noted_before_the_call_and_once_a_second_at_most() {
    let notes = Notes::default();
    let budget = budget_at(&redis_url(), &fresh_prefix(), settings(1_000, Duration::from_secs(1)), &notes);
    let began = Instant::now();
    let mut granted = 0_u32;
    while notes.count(VIDEOS) < 3 {
        at_once(&budget).await.expect("there are many").settle().await;
        assert!(notes.count(VIDEOS) >= 1);
        granted += 1;
        assert!(began.elapsed() < MINUTE, "it is not noted again");
        sleep(Duration::from_millis(5)).await;
    }
    let (took, uses) = (began.elapsed(), notes.count(VIDEOS));
    assert!(u64::from(uses) <= took.as_secs() + 1, "noted {uses} times in {took:?}");
    assert!(granted > uses, "{granted} permits, noted {uses} times");
    assert_eq!(notes.count(PROFILE), 0);
}
