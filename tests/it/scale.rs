//! Sizes: what must not grow does not.

use std::time::Duration;

use serde_json::json;

use crate::support::{System, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_with_20000_videos_syncs_in_flat_memory_and_few_statements() {
    let system = System::builder().set("RUST_LOG", "info").set("TIKTOK_RATE_PER_MINUTE", "1000000").start().await;
    let open_id = system.sandbox.user(20_000).await;
    let id = system.connect(&open_id).await;
    within(Duration::from_secs(240), "the first sync is done", async || {
        let creator = system.client.get(&format!("/api/v1/creators/{id}")).await;
        creator.data(200)["lastSyncedAt"].is_string().then_some(())
    })
    .await;
    let sql = system.sql().await;
    let rows: i64 = sql.query_one("SELECT count(*) FROM videos WHERE listed", &[]).await.unwrap().get(0);
    assert_eq!(rows, 20_000);
    let resident = system.workers[0].resident_bytes();
    assert!(resident < 150 * 1024 * 1024, "the worker holds {} MB", resident / 1024 / 1024);
    // Each batch is one statement in one transaction, so the transactions that wrote videos count the statements.
    let writes: i64 = sql.query_one("SELECT count(DISTINCT xmin::text) FROM videos", &[]).await.unwrap().get(0);
    assert!(writes <= 20_000 / 200 + 1, "{writes} statements for 20,000 videos");
    assert_eq!(system.client.all_videos(&id).await.len(), 20_000);
}

/// So many more creators of the one project, copies of its only one.
async fn add_creators(system: &System, number: i64) {
    let insert = "INSERT INTO creators (id, project_id, credential_id, platform, external_id, username, bio, connected_at) \
                  SELECT gen_random_uuid(), project_id, credential_id, 'TIKTOK', 'x' || n, 'creator ' || n, \
                         repeat('bio ', 20), now() + n * interval '1 ms' FROM creators, generate_series(1, $1::bigint) n";
    let sql = system.sql().await;
    sql.execute(insert, &[&number]).await.unwrap();
    sql.execute("ANALYZE creators", &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_100000_creators_streams_in_flat_memory() {
    use futures::StreamExt;
    let system = System::builder().workers(0).set("RUST_LOG", "info").start().await;
    let open_id = system.sandbox.user(0).await;
    system.connect(&open_id).await;
    add_creators(&system, 100_000).await;
    let response = system.client.request(reqwest::Method::GET, "/api/v1/creators").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = response.bytes_stream();
    let (mut body, mut most) = (Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk.unwrap());
        most = most.max(system.apis[0].resident_bytes());
    }
    let list: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let ids: std::collections::HashSet<&str> =
        list["data"].as_array().unwrap().iter().map(|creator| creator["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 100_001);
    assert!(most < 100 * 1024 * 1024, "the API held {} MB", most / 1024 / 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_resync_of_100000_creators_is_accepted_and_made_in_flat_memory() {
    let system = System::builder().set("RUST_LOG", "info").set("METRIQLAB_RESYNC_EVERY", "off").start().await;
    let open_id = system.sandbox.user(1).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    add_creators(&system, 100_000).await;
    // One of few, so that what is there once is there already.
    let asked = system.client.request(reqwest::Method::POST, "/api/v1/creators/sync").json(&json!({"ids": [id]}));
    system.client.send(asked).await.data(202);
    system.settled().await;
    let (api, worker) = (&system.apis[0], &system.workers[0]);
    let before = (api.resident_bytes(), worker.resident_bytes());
    assert_eq!(system.client.post("/api/v1/creators/sync").await.data(202)["total"], 100_001);
    let sql = system.sql().await;
    within(Duration::from_secs(240), "all of its jobs are made", async || {
        let making: i64 =
            sql.query_one("SELECT count(*) FROM batches WHERE expanded_at IS NULL", &[]).await.unwrap().get(0);
        (making == 0).then_some(())
    })
    .await;
    for (name, before, peak) in [("API", before.0, api.peak_bytes()), ("worker", before.1, worker.peak_bytes())] {
        // A few hundred bytes for each of them would be seen.
        let grown = peak.saturating_sub(before) / 1024;
        println!("the {name}: {} kB before, at most {grown} kB more", before / 1024);
        assert!(grown < 24 * 1024, "the {name} grew by {grown} kB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_with_a_backlog_use_the_quota_and_never_exceed_it() {
    let (quota, window) = (100_u32, Duration::from_secs(5));
    let system = System::builder()
        .workers(3)
        .set("RUST_LOG", "info")
        .set("TIKTOK_RATE_PER_MINUTE", &quota.to_string())
        .set("TIKTOK_RATE_WINDOW", "5s")
        .sandbox(|config| {
            config.rate_limit = quota;
            config.rate_window = window;
            config.latency = sandbox::Latency::Between { min_ms: 10, max_ms: 60 };
        })
        .start()
        .await;
    // A backlog of several windows: the first syncs of creators that connect at once, each of one profile and one page.
    let open_id = system.sandbox.user(1).await;
    let first = std::time::Instant::now();
    let id = system.connect(&open_id).await;
    system.client.sync(&id).await;
    assert!(first.elapsed() < window, "a first start waits for nothing: {:?}", first.elapsed());
    let ids: Vec<String> = {
        let users = futures::future::join_all((0..60).map(|_| system.sandbox.user(181))).await;
        futures::future::join_all(users.iter().map(|open_id| system.connect(open_id))).await
    };
    assert_eq!(ids.len(), 60);
    within(Duration::from_secs(120), "the backlog is done", async || {
        let sql = system.sql().await;
        let open: i64 = sql.query_one("SELECT count(*) FROM jobs WHERE finished_at IS NULL", &[]).await.unwrap().get(0);
        (open == 0).then_some(())
    })
    .await;
    let limits = system.sandbox.limits().await;
    let list = &limits["video_list"];
    assert_eq!(list["refused"], json!(0), "no 429 at all: {limits}");
    assert!(list["worst_window"].as_u64().unwrap() <= u64::from(quota), "{limits}");
    let used = used(&system.sandbox.arrivals("/v2/video/list/").await, quota, window);
    assert!(used >= 0.97, "{:.1} % of the quota used", used * 100.0);
}

/// The share of the quota that was used while there was a backlog: from the end of the first window, which a burst may
/// fill at once, to the last arrival.
fn used(arrivals: &[i64], quota: u32, window: Duration) -> f64 {
    let window = i64::try_from(window.as_millis()).unwrap();
    let (first, last) = (arrivals[0] + window, arrivals[arrivals.len() - 1]);
    let counted = arrivals.iter().filter(|at| **at >= first).count();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let possible = f64::from(quota) * (last - first) as f64 / window as f64;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let share = counted as f64 / possible;
    share
}
