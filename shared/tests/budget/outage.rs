//! A Redis that is away, comes back, or forgets.

use std::time::Duration;

use shared::budget::{Budget, BudgetError};
use tokio::time::{Instant, sleep_until};

use crate::helpers::{
    Notes, OwnRedis, VIDEOS, at_once, budget_at, fresh_prefix, interactive, permit, redis_url, settings, take_all, told,
};

const SECOND: Duration = Duration::from_secs(1);

/// Why a caller gets no permit who waits for so long at most: it hears so before one who waits for as long as anybody does.
async fn refused_first(budget: &Budget, max_wait: Duration) -> BudgetError {
    tokio::select! {
        biased;
        hasty = permit(budget, true, max_wait) => hasty.expect_err("there is no Redis to ask"),
        _ = budget.permit(VIDEOS, None, interactive(true), None) => panic!("a deadline counts for nothing"),
    }
}

#[tokio::test]
async fn without_redis_nobody_gets_a_permit_and_with_it_again_everybody() {
    let mut redis = OwnRedis::new();
    let budget = budget_at(&redis.url(), &fresh_prefix(), settings(100, SECOND), &Notes::default());
    for _ in 0..2 {
        assert_eq!(refused_first(&budget, Duration::from_millis(400)).await, BudgetError::Unavailable);
        redis.start().await;
        permit(&budget, true, 20 * SECOND).await.expect("Redis is back").settle().await;
        redis.kill();
    }
}

#[tokio::test]
async fn a_caller_without_a_deadline_waits_for_redis_but_not_for_ever() {
    let mut redis = OwnRedis::forgetful();
    let budget = budget_at(&redis.url(), &fresh_prefix(), settings(100, SECOND), &Notes::default());
    let asked = Instant::now();
    let refused = budget.permit(VIDEOS, None, interactive(true), None).await.expect_err("Redis is away");
    let took = asked.elapsed();
    assert_eq!(refused, BudgetError::Unavailable);
    assert!(took >= 4 * SECOND && took < 15 * SECOND, "it took {took:?}");
    // A machine that takes longer than a caller's patience to start a Redis shows nothing, and is asked again.
    for _ in 0..5 {
        let (permit, ()) = tokio::join!(budget.permit(VIDEOS, None, interactive(true), None), redis.start());
        if let Ok(permit) = permit {
            permit.settle().await;
            return;
        }
        redis.kill();
    }
    panic!("Redis came meanwhile, and nobody got a permit");
}

#[tokio::test]
async fn a_redis_that_hangs_makes_nobody_hang_and_loses_no_permit() {
    let mut redis = OwnRedis::new();
    redis.start().await;
    let budget = budget_at(&redis.url(), &fresh_prefix(), settings(10, 60 * SECOND), &Notes::default());
    at_once(&budget).await.expect("it is free").give_back().await;
    // Once for less than the response's timeout, and once for longer.
    for hang in [SECOND, 6 * SECOND] {
        redis.signal("STOP");
        let asked = Instant::now();
        assert_eq!(refused_first(&budget, Duration::from_millis(200)).await, BudgetError::Unavailable);
        sleep_until(asked + hang).await;
        redis.signal("CONT");
        let mut all = Vec::new();
        for _ in 0..10 {
            all.push(
                permit(&budget, true, 20 * SECOND)
                    .await
                    .expect("Redis goes on, and the lost answer's permit came back"),
            );
        }
        for permit in all {
            permit.give_back().await;
        }
    }
}

#[tokio::test]
async fn without_postgres_nobody_gets_a_permit_and_none_is_lost() {
    let notes = Notes::default();
    let budget = budget_at(&redis_url(), &fresh_prefix(), settings(10, 60 * SECOND), &notes);
    at_once(&budget).await.expect("it is free").give_back().await;
    notes.set_away(true);
    // Until then, the last note still counts.
    sleep_until(Instant::now() + SECOND + Duration::from_millis(50)).await;
    // All that is free is granted by the log, and can't be handed out.
    let asked = (0..10).map(|_| permit(&budget, true, Duration::from_millis(100)));
    for refused in futures::future::join_all(asked).await {
        assert_eq!(refused.expect_err("its use can't be noted"), BudgetError::Unavailable);
    }
    notes.set_away(false);
    let mut all = vec![permit(&budget, true, 20 * SECOND).await.expect("Postgres is back")];
    all.extend(take_all(&budget).await);
    assert_eq!(all.len(), 10);
}

#[tokio::test]
async fn a_restart_of_redis_forgets_no_entry_and_makes_nobody_wait() {
    let mut redis = OwnRedis::new();
    redis.start().await;
    let budget = budget_at(&redis.url(), &fresh_prefix(), settings(10, 60 * SECOND), &Notes::default());
    for _ in 0..4 {
        at_once(&budget).await.expect("it is free").settle().await;
    }
    redis.kill();
    redis.start().await;
    let mut left = vec![permit(&budget, true, 20 * SECOND).await.expect("the log is there")];
    left.extend(take_all(&budget).await);
    assert_eq!(left.len(), 6);
}

#[tokio::test]
async fn after_a_flush_a_budget_that_was_in_use_counts_as_full() {
    let mut redis = OwnRedis::new();
    redis.start().await;
    let settings = settings(10, SECOND);
    let (prefix, notes) = (fresh_prefix(), Notes::default());
    let (holder, other) =
        (budget_at(&redis.url(), &prefix, settings, &notes), budget_at(&redis.url(), &prefix, settings, &notes));
    // Sent and not answered when the flush comes: in the worst case it arrives at the end of its timeout.
    let used = Instant::now();
    let permits = take_all(&holder).await;
    assert!(permits.len() >= 10, "more only if the first ones are over before the last ones are had");
    redis.run("FLUSHALL").await;
    let next = other.permit(VIDEOS, None, interactive(true), None).await.expect("it waits");
    let waited = used.elapsed();
    let hold = SECOND + settings.request_timeout + settings.window + settings.slack;
    assert!(waited >= hold, "only {waited:?}");
    assert!(waited < hold + 10 * SECOND, "{waited:?}");
    next.settle().await;
}

#[tokio::test]
async fn after_a_flush_a_budget_that_was_not_in_use_is_empty() {
    let mut redis = OwnRedis::new();
    redis.start().await;
    let settings = settings(10, Duration::from_millis(300));
    let hold = SECOND + settings.request_timeout + settings.window + settings.slack;
    let notes = Notes::default();
    let budget = budget_at(&redis.url(), &fresh_prefix(), settings, &notes);
    at_once(&budget).await.expect("it is free").settle().await;
    let used = Instant::now();
    // Use is noted up to a second before it happens.
    sleep_until(used + hold + SECOND + Duration::from_millis(50)).await;
    redis.run("FLUSHALL").await;
    // A budget that counts as full would refuse it: nothing would be free for longer than that.
    told(&budget, VIDEOS, SECOND).await.expect("nothing can be in use").settle().await;
}

#[tokio::test]
async fn a_process_that_has_seen_more_than_redis_knows_notices_it() {
    let mut redis = OwnRedis::new();
    redis.start().await;
    let settings = settings(10, 60 * SECOND);
    let prefix = fresh_prefix();
    let notes = Notes::default();
    let budget = budget_at(&redis.url(), &prefix, settings, &notes);
    at_once(&budget).await.expect("it is free").settle().await;
    // As after a failover to a replica that lags: the log is there, but its last grants are not.
    let mut connection = redis.connection().await;
    let state = format!("{prefix}:budget:{{app:{VIDEOS}}}:state");
    let () = redis::cmd("HINCRBY")
        .arg(&state)
        .arg("used")
        .arg(-5_000_000)
        .query_async(&mut connection)
        .await
        .expect("it is there");
    let refused = at_once(&budget).await.expect_err("lost entries may still count");
    assert!(matches!(refused, BudgetError::NotBefore(wait) if wait > 30 * SECOND), "{refused}");
}
