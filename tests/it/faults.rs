//! What fails, and what happens then: processes, Redis, Postgres, TikTok.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::servers::{PrivatePostgres, PrivateRedis};
use crate::support::{System, eventually};

/// A creator of 200 videos behind a TikTok that takes 700 ms a call: a sync of more than seven seconds.
async fn slow_creator(system: &System) -> (String, String) {
    let open_id = system.sandbox.user(200).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    system.sandbox.settings(json!({"latency": {"profile": "between", "min_ms": 700, "max_ms": 700}})).await;
    (open_id, id)
}

/// Starts a sync that is waited for, and returns once TikTok has been asked for a page of it.
async fn start_sync(
    system: &System,
    open_id: &str,
    id: &str,
) -> tokio::task::JoinHandle<crate::support::client::Answer> {
    let before = system.sandbox.calls("/v2/video/list/", open_id).await;
    let (client, path) = (system.client.clone(), format!("/api/v1/creators/{id}/sync"));
    let waiting = tokio::spawn(async move {
        let asked = client.request(reqwest::Method::POST, &path).header("Prefer", "wait=60");
        client.send(asked).await
    });
    eventually("a page of videos is read", async || {
        (system.sandbox.calls("/v2/video/list/", open_id).await > before + 1).then_some(())
    })
    .await;
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_job_runs_elsewhere_and_the_client_gets_its_answer() {
    let mut system = System::start().await;
    let (open_id, id) = slow_creator(&system).await;
    let mut late = Vec::new();
    // A machine that stands still for a while shows nothing, and is asked again.
    for _ in 0..6 {
        match taken_over(&mut system, &open_id, &id).await {
            Some((took, most)) if took < most => return,
            other => late.push(other),
        }
    }
    panic!("taken over too late each time: {late:?}");
}

/// Kills the newest worker at its work and starts another. How long it took that its job runs there, and how long it
/// may take; `None` if the worker was done before it was killed.
async fn taken_over(system: &mut System, open_id: &str, id: &str) -> Option<(Duration, Duration)> {
    // How long a sync takes to its first call on this machine, as busy as it is, and how long a process takes to start.
    let asked = Instant::now();
    let before = system.sandbox.calls("/v2/user/info/", open_id).await;
    let waiting = start_sync(system, open_id, id).await;
    system.workers.last_mut().unwrap().kill().await;
    let (killed, page) = (Instant::now(), asked.elapsed());
    let calls = system.sandbox.calls("/v2/user/info/", open_id).await;
    assert!(calls > before);
    system.add_worker();
    let other = system.workers.last().unwrap();
    eventually("the other worker is ready", async || other.said().contains("the worker is ready").then_some(())).await;
    let start = killed.elapsed();
    let runs = eventually("the job runs elsewhere", async || {
        let runs = system.sandbox.calls("/v2/user/info/", open_id).await > calls;
        (runs || waiting.is_finished()).then_some(runs)
    })
    .await;
    let took = killed.elapsed();
    println!(
        "taken over after {took:?}; the other worker was ready after {start:?}, a sync's second page came after {page:?}"
    );
    assert_eq!(waiting.await.unwrap().data(200)["synced"], true);
    assert_eq!(system.client.all_videos(id).await.len(), 200);
    runs.then_some((took, Duration::from_secs(10) + start + page))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_worker_that_comes_back_writes_nothing() {
    let mut system = System::start().await;
    let (open_id, id) = slow_creator(&system).await;
    let waiting = start_sync(&system, &open_id, &id).await;
    system.workers[0].signal(Signal::SIGSTOP);
    system.add_worker();
    assert_eq!(waiting.await.unwrap().data(200)["synced"], true);
    system.settled().await;
    let sql = system.sql().await;
    let fingerprint = async || -> String {
        let query = "SELECT md5(string_agg(t, ',' ORDER BY t)) FROM (SELECT xmin::text || id::text AS t FROM videos \
                     UNION ALL SELECT xmin::text || id::text FROM creators WHERE id::text = $1 \
                     UNION ALL SELECT xmin::text || id::text FROM jobs WHERE creator_id::text = $1) AS rows";
        sql.query_one(query, &[&id]).await.unwrap().get(0)
    };
    // Twenty seconds of standing still, counted from outside: well past every heartbeat and lease.
    let before = fingerprint().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    system.workers[0].signal(Signal::SIGCONT);
    system.workers[1].kill().await;
    // It is back, and works: another creator's sync is done by it alone.
    let other = system.sandbox.user(1).await;
    let other = system.connect(&other).await;
    system.client.sync(&other).await;
    let query = "SELECT count(*) FROM videos WHERE creator_id::text = $1";
    assert_eq!(sql.query_one(query, &[&id]).await.unwrap().get::<_, i64>(0), 200);
    sql.execute("DELETE FROM videos WHERE creator_id::text = $1", &[&other]).await.unwrap();
    assert_eq!(fingerprint().await, before, "nothing of the old creator was written");
}

/// Paused in the middle of a transaction, it holds the creator's row.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_paused_within_a_transaction_holds_nobody_up() {
    let mut system = System::start().await;
    let (open_id, id) = slow_creator(&system).await;
    let waiting = start_sync(&system, &open_id, &id).await;
    let (mut ours, sql) = (system.sql().await, system.sql().await);
    let lock = ours.transaction().await.unwrap();
    lock.execute("SELECT 1 FROM creators WHERE id::text = $1 FOR UPDATE", &[&id]).await.unwrap();
    eventually("the worker waits for the row", async || {
        let query =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (sql.query_one(query, &[]).await.unwrap().get::<_, i64>(0) > 0).then_some(())
    })
    .await;
    system.workers[0].signal(Signal::SIGSTOP);
    // Its statement goes on in Postgres, which gives it the row.
    lock.commit().await.unwrap();
    system.add_worker();
    assert_eq!(waiting.await.unwrap().data(200)["synced"], true);
    system.workers[0].signal(Signal::SIGCONT);
    system.client.sync(&id).await;
    assert_eq!(system.client.all_videos(&id).await.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_gives_its_jobs_back_and_exits_with_zero() {
    let mut system = System::builder().set("METRIQLAB_SHUTDOWN_GRACE", "200ms").start().await;
    let (open_id, id) = slow_creator(&system).await;
    let waiting = start_sync(&system, &open_id, &id).await;
    let ending = tokio::time::timeout(Duration::from_secs(25), system.workers[0].terminate());
    let status = ending.await.expect("the worker ends");
    assert!(status.success(), "{status}");
    system.add_worker();
    assert_eq!(waiting.await.unwrap().data(200)["synced"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_stop_and_start() {
    let mut redis = PrivateRedis::start().await;
    let system = System::builder().on_redis(&redis.url).start().await;
    let open_id = system.sandbox.user(5).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    redis.stop().await;
    eventually("it says that Redis is down", async || {
        let ready = system.client.get("/readyz").await;
        (ready.status == 200 && ready.body["status"] == "degraded" && ready.body["redis"] == "down").then_some(())
    })
    .await;
    assert_eq!(
        system.client.get(&format!("/api/v1/creators/{id}/videos")).await.data(200)["items"].as_array().unwrap().len(),
        5
    );
    let started = system.client.post("/api/v1/connect/tiktok").await;
    assert_eq!(started.status, 200, "connects go on");
    let request = system.client.request(reqwest::Method::POST, &format!("/api/v1/creators/{id}/sync"));
    let promised = system.client.send(request.header("Prefer", "wait=1")).await;
    let job = promised.data(202)["jobId"].as_str().unwrap().to_owned();
    redis.restart().await;
    eventually("the promise is kept", async || {
        let seen = system.client.get(&format!("/api/v1/jobs/{job}")).await;
        (seen.data(200)["status"] == "done").then_some(())
    })
    .await;
    system.client.sync(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_be_flushed_right_after_a_promise() {
    let redis = PrivateRedis::start().await;
    let mut system = System::builder().workers(0).on_redis(&redis.url).set("TIKTOK_RATE_WINDOW", "1s").start().await;
    let open_id = system.sandbox.user(5).await;
    let id = system.connect(&open_id).await;
    let request = system.client.request(reqwest::Method::POST, &format!("/api/v1/creators/{id}/sync"));
    let promised = system.client.send(request.header("Prefer", "respond-async")).await;
    let job = promised.data(202)["jobId"].as_str().unwrap().to_owned();
    redis.flush().await;
    system.add_worker();
    // The budget waits out its window, and the time that a request may take, after a flush.
    eventually("the promise is kept", async || {
        let seen = system.client.get(&format!("/api/v1/jobs/{job}")).await;
        (seen.data(200)["status"] == "done").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_be_flushed_under_a_running_job() {
    let redis = PrivateRedis::start().await;
    let system = System::builder().on_redis(&redis.url).set("TIKTOK_RATE_WINDOW", "1s").start().await;
    let (open_id, id) = slow_creator(&system).await;
    let waiting = start_sync(&system, &open_id, &id).await;
    redis.flush().await;
    assert_eq!(waiting.await.unwrap().data(200)["synced"], true);
    // It is parked meanwhile, for the budget waits out its window after a flush: another start, but no other try.
    let attempts: i32 = system.sql().await.query_one("SELECT max(attempts) FROM jobs", &[]).await.unwrap().get(0);
    assert!(attempts == 1 || system.tried_again(), "{attempts} attempts");
    assert_eq!(system.client.all_videos(&id).await.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_may_stop_and_start() {
    let mut postgres = PrivatePostgres::start().await;
    let system = System::builder().on_postgres(&postgres.url).start().await;
    let open_id = system.sandbox.user(5).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    postgres.stop().await;
    let refused = eventually("it says so", async || {
        let answer = system.client.get(&format!("/api/v1/creators/{id}")).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(refused.error(503), "unavailable");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(system.client.post(&format!("/api/v1/creators/{id}/sync")).await.error(503), "unavailable");
    // It answers from what it found within the last second.
    eventually("it is not ready", async || (system.client.get("/readyz").await.status == 503).then_some(())).await;
    assert_eq!(system.client.get("/healthz").await.status, 200);
    postgres.restart().await;
    eventually("it is back", async || {
        (system.client.get(&format!("/api/v1/creators/{id}")).await.status == 200).then_some(())
    })
    .await;
    system.client.sync(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_may_restart_under_a_running_job() {
    let mut postgres = PrivatePostgres::start().await;
    let system = System::builder().on_postgres(&postgres.url).start().await;
    let (open_id, id) = slow_creator(&system).await;
    let waiting = start_sync(&system, &open_id, &id).await;
    postgres.stop().await;
    postgres.restart().await;
    let answer = waiting.await.unwrap();
    // It was accepted before: whatever becomes of Postgres, the promise stands.
    assert!(answer.status == 200 || answer.status == 202, "{}: {}", answer.status, answer.body);
    eventually("the job is done all the same", async || {
        let page = system.client.get(&format!("/api/v1/creators/{id}/videos?limit=100")).await;
        (page.status == 200).then_some(())
    })
    .await;
    system.settled().await;
    system.client.sync(&id).await;
    assert_eq!(system.client.all_videos(&id).await.len(), 200);
}
