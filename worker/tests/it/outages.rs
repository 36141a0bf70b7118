//! A platform that fails for everybody, or refuses: what the fleet stops doing, and that it goes on by itself.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use shared::budget::BreakerState;
use shared::queue::Final;
use shared::store::batches::BatchFilter;

use crate::support::{System, wait_for};

/// A window of which the breaker's first pause is half a second.
const WINDOW: Duration = Duration::from_secs(6);

async fn synced(system: &System, creators: usize) {
    let worker = system.worker();
    let accounts = join_all((0..creators).map(|_| system.account(1))).await;
    join_all(accounts.iter().map(|open_id| system.connect(open_id))).await;
    wait_for("the first syncs", async || (open(system).await == 0).then_some(())).await;
    worker.stop().await;
}

async fn open(system: &System) -> i64 {
    system.count("SELECT count(*) FROM jobs WHERE finished_at IS NULL").await
}

async fn breaker(system: &System, endpoint: &'static str) -> BreakerState {
    system.budget.snapshot(endpoint).await.expect("Redis runs").breaker
}

/// Waits until so many looks have found that it is not over: the time to the next one is more than `pause`.
async fn held_for(system: &System, endpoint: &'static str, pause: Duration) {
    wait_for("a look that comes late", async || {
        matches!(breaker(system, endpoint).await, BreakerState::Open { probe_in } if probe_in > pause).then_some(())
    })
    .await;
}

/// How many looks of bulk work there can have been so long after the outage was found, by the breaker's pauses.
fn looks_within(mut elapsed: Duration) -> u64 {
    let mut pause = WINDOW / 12;
    let mut looks = 0;
    while elapsed >= pause {
        elapsed -= pause;
        pause = (2 * pause).min(WINDOW);
        looks += 1;
    }
    looks
}

async fn failed_calls(system: &System, path: &str) -> u64 {
    let path = format!("/requests?path={path}&status=500");
    system.control("GET", &path, serde_json::Value::Null).await["matched"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_holds_bulk_work_at_no_cost_and_ends_by_itself() {
    let system = System::start_with_window(WINDOW).await;
    synced(&system, 30).await;
    system.fault(json!({ "endpoint": "user_info", "kind": "internal_error" })).await;
    system.store.open_batch(system.project, &BatchFilter::default()).await.expect("a batch");
    let began = Instant::now();
    let worker = system.worker();
    // Half a second, one second, two.
    held_for(&system, "user_info", Duration::from_secs(1)).await;
    let calls = failed_calls(&system, "/v2/user/info/").await;
    let looks = looks_within(began.elapsed());
    // Five found it, three may have been on their way, and a machine that stands still lets a few go out unasked.
    assert!((5..=14 + looks).contains(&calls), "{calls} calls of 30 jobs at {looks} looks at most");
    // Besides the five: looks, those on their way, and those that went out unasked, which fail like the first.
    let unasked = i64::try_from(calls.saturating_sub(5)).expect("a few");
    let retrying = system.count("SELECT count(*) FROM jobs WHERE state = 'retrying'").await;
    assert!(retrying <= 4 + unasked, "{retrying} failed before it was an outage, of {calls} calls");
    assert_eq!(system.count("SELECT count(*) FROM jobs WHERE attempts > 1").await, 0);
    let started = system.count("SELECT sum(claim)::bigint FROM jobs WHERE lane = 'bulk'").await;
    // Without a held lane each of the thirty comes again at each look. With it, at worst each has come once before the gate
    // was shut, and then one for each look, and one each ten seconds.
    let elapsed = began.elapsed();
    let most = 30 + looks_within(elapsed) + elapsed.as_secs() / 10 + 1;
    assert!(u64::try_from(started).is_ok_and(|started| started <= most), "{started} starts for {calls} calls");
    assert_eq!(breaker(&system, "video_list").await, BreakerState::Closed);
    system.clear_faults().await;
    wait_for("it goes on", async || {
        // Those that failed wait for their next try.
        let done = system.count("SELECT count(*) FROM jobs WHERE lane = 'bulk' AND state = 'done'").await;
        (done >= 26 - unasked).then_some(())
    })
    .await;
    assert_eq!(breaker(&system, "user_info").await, BreakerState::Closed);
    assert_eq!(system.count("SELECT count(*) FROM jobs WHERE state = 'failed'").await, 0);
    assert_eq!(system.count("SELECT count(*) FROM creators WHERE status = 'ACTIVE'").await, 30);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_served_as_soon_as_the_platform_is_back() {
    let system = System::start_with_window(Duration::from_secs(60)).await;
    synced(&system, 6).await;
    let creator = system.creators().await[0];
    system.fault(json!({ "endpoint": "user_info", "kind": "internal_error" })).await;
    system.store.open_batch(system.project, &BatchFilter::default()).await.expect("a batch");
    let worker = system.worker();
    wait_for("an outage", async || (breaker(&system, "user_info").await != BreakerState::Closed).then_some(())).await;
    // The platform is back; the next look of bulk work is seconds away.
    system.clear_faults().await;
    let id = system.ask_for_sync(creator).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(breaker(&system, "user_info").await, BreakerState::Closed);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_sync_that_an_outage_ends_says_what_the_platform_said() {
    // The next look at the platform is a minute away: later than the tries of a client who waits.
    let system = System::start_with_window(Duration::from_secs(3600)).await;
    synced(&system, 5).await;
    system.fault(json!({ "endpoint": "user_info", "kind": "internal_error" })).await;
    let creators = system.creators().await;
    let asked = join_all(creators.iter().map(|creator| system.ask_for_sync(*creator))).await;
    let worker = system.worker();
    let mut held = 0;
    for id in asked {
        assert_eq!(system.last_word(id).await, Final::Failed { code: "platform_error".to_owned() });
        let job = system.store.any_job(id).await.expect("read").expect("a job");
        let error = job.error.expect("a reason");
        assert!(error.contains("internal_error"), "{error}");
        assert!(job.log_id.is_some(), "TikTok's support asks for it: {error}");
        held +=
            usize::from(error.starts_with("the platform is out of order, and is not called until it has recovered; "));
    }
    assert!(held > 0, "the fifth account's first failure has opened the breaker, and its other tries were held");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_are_held_and_never_given_up() {
    let system = System::start_with_window(WINDOW).await;
    synced(&system, 8).await;
    system.fault(json!({ "endpoint": "revoke", "kind": "internal_error" })).await;
    for creator in system.creators().await {
        system.ask_for_disconnect(system.project, creator).await;
    }
    let began = Instant::now();
    let worker = system.worker();
    held_for(&system, "oauth_revoke", Duration::from_secs(1)).await;
    let calls = failed_calls(&system, "/v2/oauth/revoke/").await;
    // Five found it, one more may have been on its way with each of them, and then there were looks: ten a second here.
    let looks = began.elapsed().as_millis() / 100 + 1;
    assert!(u128::from(calls) <= 10 + looks, "{calls} calls");
    assert!(system.count("SELECT max(attempts)::bigint FROM jobs WHERE kind = 'revoke'").await <= 2, "held, not tried");
    system.clear_faults().await;
    wait_for("all are gone", async || {
        (system.count("SELECT count(*) FROM creators").await == 0 && open(&system).await == 0).then_some(())
    })
    .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_goes_out_as_soon_as_the_platform_is_back() {
    // Bulk work would look after forty seconds, which is longer than this test waits; who waits after eight.
    let system = System::start_with_window(Duration::from_secs(480)).await;
    synced(&system, 6).await;
    let creators = system.creators().await;
    system.fault(json!({ "endpoint": "revoke", "kind": "internal_error" })).await;
    for creator in &creators[1..] {
        system.ask_for_disconnect(system.project, *creator).await;
    }
    let worker = system.worker();
    wait_for("an outage", async || (breaker(&system, "oauth_revoke").await != BreakerState::Closed).then_some(()))
        .await;
    system.clear_faults().await;
    let id = system.ask_for_disconnect(system.project, creators[0]).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(breaker(&system, "oauth_revoke").await, BreakerState::Closed);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_of_a_clients_try_share_its_time() {
    let system = System::start().await;
    let open_id = system.account(1).await;
    // Each would be in time by itself. After the first one, the second is late by a second.
    for (endpoint, delay) in [("user_info", 1500), ("video_list", 4500)] {
        system.fault(json!({ "endpoint": endpoint, "kind": "slow", "delay_ms": delay, "times": 1 })).await;
    }
    let id = system.connect(&open_id).await.sync.expect("a first sync");
    let worker = system.worker();
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(system.job(id).await.attempts, 2, "six seconds are more than the first try has");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_429s_lowers_the_ceiling_once_and_it_comes_back() {
    let system = System::start_with_window(Duration::from_secs(1)).await;
    let refused = json!({ "endpoint": "video_list", "kind": "error", "status": 429, "times": 2,
        "code": "rate_limit_exceeded", "message": "slow down" });
    system.fault(refused).await;
    let worker = system.worker();
    let accounts = [system.account(1).await, system.account(1).await];
    // It is back within seconds, so it is looked at from the first connection on.
    let lowered = wait_for("a lower ceiling", async || {
        let stands = system.budget.snapshot("video_list").await.expect("Redis runs");
        (stands.ceiling < stands.quota).then_some(stands)
    });
    let connecting = join_all(accounts.iter().map(|open_id| system.connect(open_id)));
    let (connected, stands) = tokio::join!(connecting, lowered);
    assert!(stands.ceiling >= 49_000, "{stands:?}");
    for connected in connected {
        let id = connected.sync.expect("a first sync");
        assert_eq!(system.last_word(id).await, Final::Done);
        assert_eq!(system.job(id).await.attempts, 1);
    }
    assert_paused(&system).await;
    wait_for("the whole quota", async || {
        let stands = system.budget.snapshot("video_list").await.expect("Redis runs");
        (stands.ceiling == stands.quota && stands.paused_for.is_none()).then_some(())
    })
    .await;
    worker.stop().await;
}

/// The second call may have been on its way when the first was refused. The third had to wait for a second from then.
async fn assert_paused(system: &System) {
    let calls = system.control("GET", "/requests?path=/v2/video/list/", serde_json::Value::Null).await;
    let (statuses, times): (Vec<_>, Vec<_>) = calls["requests"]
        .as_array()
        .expect("requests")
        .iter()
        .map(|call| (call["status"].as_u64().expect("a status"), call["at_ms"].as_i64().expect("a time")))
        .unzip();
    assert_eq!(statuses[..3], [429, 429, 200]);
    assert!(times[2] - times[0] >= 900, "{times:?}");
}
