//! `metriqlab queue`: lanes that are paused, drained and resumed, over real processes.

use std::time::Duration;

use serde_json::json;
use shared::queue::Lane;

use crate::support::servers::PrivateRedis;
use crate::support::{System, within};

const LIMIT: Duration = Duration::from_secs(60);

async fn count(system: &System, condition: &str) -> i64 {
    let query = format!("SELECT count(*) FROM jobs WHERE {condition}");
    system.sql().await.query_one(&query, &[]).await.unwrap().get(0)
}

/// Creators that were synced once; our ids.
async fn connect(system: &System, number: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..number {
        let open_id = system.sandbox.user(1).await;
        ids.push(system.connect(&open_id).await);
    }
    system.settled().await;
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_lane_is_held_over_all_workers_and_through_a_flush() {
    let redis = PrivateRedis::start().await;
    let mut system = System::builder().workers(2).on_redis(&redis.url).start().await;
    let ids = connect(&system, 2).await;
    let said = system.pause("sync").await;
    assert!(said.starts_with("sync is paused: ") && said.contains("queue resume sync"), "{said}");
    let path = format!("/api/v1/creators/{}/sync", ids[0]);
    let asked = system.client.request(reqwest::Method::POST, &path).header("Prefer", "wait=1");
    assert_eq!(system.client.send(asked).await.data(202)["status"], "queued");
    redis.flush().await;
    let queue = system.queue();
    within(LIMIT, "the job is in Redis again", async || {
        queue.depth(Lane::Sync).await.ok().filter(|depth| depth.ready == 1)
    })
    .await;
    // A worker that starts now has to ask first, too. What another lane brings is done meanwhile.
    system.add_worker();
    system.client.delete(&format!("/api/v1/creators/{}", ids[1])).await.data(200);
    assert_eq!(count(&system, "kind = 'sync' AND state = 'enqueued' AND claim = 0").await, 1);
    system.run(&["queue", "resume", "sync"]).await;
    // Begun: after a flush the budget waits for its window to pass.
    within(LIMIT, "the job is begun", async || {
        (count(&system, "kind = 'sync' AND claim > 0").await == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_returns_when_the_lane_is_empty_and_what_waits_goes_on_waiting() {
    let system = System::builder().set("METRIQLAB_RESYNC_EVERY", "off").start().await;
    let ids = connect(&system, 3).await;
    system.sandbox.settings(json!({"latency": {"profile": "between", "min_ms": 2000, "max_ms": 2000}})).await;
    system.client.post("/api/v1/creators/sync").await.data(202);
    within(LIMIT, "a job runs", async || {
        (count(&system, "lane = 'bulk' AND state = 'running'").await > 0).then_some(())
    })
    .await;
    let said = system.run(&["queue", "drain", "bulk"]).await;
    assert!(said.contains("bulk is empty, and stays draining"), "{said}");
    system.sandbox.settings(json!({"latency": {"profile": "none"}})).await;
    assert_eq!(count(&system, "lane = 'bulk' AND state IN ('enqueued', 'running', 'retrying')").await, 0);
    let before = count(&system, "lane = 'bulk'").await;
    // Accepted, and not begun; what is due stays due; a batch of all has no jobs yet.
    let batch = system.client.request(reqwest::Method::POST, "/api/v1/creators/sync").json(&json!({ "ids": ids }));
    system.client.send(batch).await.data(202);
    system.client.post("/api/v1/creators/sync").await.data(202);
    let said = system.run(&["queue", "drain", "bulk"]).await;
    assert!(said.contains("bulk is empty"), "{said}");
    assert_eq!(count(&system, "lane = 'bulk'").await, before + 3);
    assert_eq!(count(&system, "state = 'waiting'").await, 3);
    // A client who waits is served all the same.
    system.client.sync(&ids[0]).await;
    system.run(&["queue", "resume", "bulk"]).await;
    system.settled().await;
    let open = "SELECT count(*) FROM batches WHERE finished_at IS NULL";
    within(LIMIT, "all batches have ended", async || {
        (system.sql().await.query_one(open, &[]).await.unwrap().get::<_, i64>(0) == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_paused_with_redis_away_too() {
    let mut redis = PrivateRedis::start().await;
    let system = System::builder().apis(0).on_redis(&redis.url).start().await;
    redis.stop().await;
    let output = system.output(&["queue", "pause", "bulk"]).await;
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Redis is out of reach"));
    within(LIMIT, "the worker has heard it", async || {
        system.workers[0].said().contains("lane=bulk state=paused").then_some(())
    })
    .await;
    let output = system.output(&["queue", "pause", "bulk", "--redis-url", "redis://127.0.0.1:1"]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("already paused"));
    assert_eq!(system.output(&["queue", "pause", "nonsense"]).await.status.code(), Some(2));
    let output = system.output(&["queue", "pause", "bulk", "--database-url", "postgres://127.0.0.1:1/none"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.lines().count() == 1 && text.contains("Postgres is out of reach"), "{text}");
}
