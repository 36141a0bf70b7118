//! Sizes: what must not grow does not.

use std::time::Duration;

use serde_json::json;

use crate::support::{System, progressing};

/// Writes down every statement that writes videos, however many rows it has.
const COUNT_STATEMENTS: &str = "
    CREATE TABLE written (kind text NOT NULL);
    CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO written VALUES (TG_OP); RETURN NULL; END';
    CREATE TRIGGER write_down AFTER INSERT OR UPDATE OR DELETE ON videos FOR EACH STATEMENT EXECUTE FUNCTION write_down()";

/// One number.
async fn count(sql: &tokio_postgres::Client, query: &str) -> i64 {
    sql.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_with_20000_videos_syncs_in_flat_memory_and_few_statements() {
    let mut system =
        System::builder().workers(0).set("RUST_LOG", "info").set("TIKTOK_RATE_PER_MINUTE", "1000000").start().await;
    let sql = system.sql().await;
    sql.batch_execute(COUNT_STATEMENTS).await.unwrap();
    let open_id = system.sandbox.user(20_000).await;
    let id = system.connect(&open_id).await;
    system.add_worker();
    progressing("the first sync", async || {
        // On a machine that is busy a try may time out. How many there may be is not what is looked at here.
        sql.execute("UPDATE jobs SET attempts = 0 WHERE state = 'retrying'", &[]).await.unwrap();
        let open = count(&sql, "SELECT count(*) FROM jobs WHERE finished_at IS NULL").await;
        if open == 0 { Ok(()) } else { Err(count(&sql, "SELECT count(*) FROM videos").await) }
    })
    .await;
    assert_eq!(count(&sql, "SELECT count(*) FROM videos WHERE listed").await, 20_000);
    let peak = system.workers[0].peak_bytes();
    println!("the worker held at most {} MB", peak / 1024 / 1024);
    assert!(peak < 150 * 1024 * 1024, "the worker held {} MB", peak / 1024 / 1024);
    // A batch is one INSERT … ON CONFLICT DO UPDATE, which Postgres counts as both; and one UPDATE hides what is not listed.
    let inserts = count(&sql, "SELECT count(*) FROM written WHERE kind = 'INSERT'").await;
    let others = count(&sql, "SELECT count(*) FROM written WHERE kind <> 'INSERT'").await;
    // On a machine that is busy a try may time out, and its page is read again.
    let starts = count(&sql, "SELECT sum(claim)::bigint FROM jobs").await;
    assert!(inserts >= 1 && inserts <= starts * (20_000 / 200 + 1), "{inserts} statements in {starts} starts");
    assert!(others <= inserts + 1, "{others} statements that update or delete beside {inserts}");
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
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk.unwrap());
    }
    let peak = system.apis[0].peak_bytes();
    let list: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let ids: std::collections::HashSet<&str> =
        list["data"].as_array().unwrap().iter().map(|creator| creator["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 100_001);
    println!("the API held at most {} MB", peak / 1024 / 1024);
    assert!(peak < 100 * 1024 * 1024, "the API held {} MB", peak / 1024 / 1024);
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
    progressing("the making of its jobs", async || {
        let making = count(&sql, "SELECT count(*) FROM batches WHERE expanded_at IS NULL").await;
        if making == 0 { Ok(()) } else { Err(count(&sql, "SELECT count(*) FROM jobs").await) }
    })
    .await;
    for (name, before, peak) in [("API", before.0, api.peak_bytes()), ("worker", before.1, worker.peak_bytes())] {
        // A few hundred bytes for each of them would be seen.
        let grown = peak.saturating_sub(before) / 1024;
        println!("the {name}: {} kB before, at most {grown} kB more", before / 1024);
        assert!(grown < 24 * 1024, "the {name} grew by {grown} kB");
    }
}

/// Which a budget that is full would have it do, for a window at least: longer than a sync is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_waits_for_nothing() {
    let system = System::start().await;
    let id = system.connect(&system.sandbox.user(1).await).await;
    let request = system.client.request(reqwest::Method::POST, &format!("/api/v1/creators/{id}/sync"));
    system.client.send(request.header("prefer", "wait=45")).await.data(200);
}

/// How much of the quota a fleet is to use.
const ENOUGH: f64 = 0.97;
const PAGES: &str = "/v2/video/list/";
const OPEN: &str = "SELECT (SELECT count(*) FROM jobs WHERE finished_at IS NULL) \
                    + (SELECT count(*) FROM batches WHERE finished_at IS NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_with_a_backlog_use_the_quota_and_never_exceed_it() {
    // So long that what each step on the way to a request takes on a busy machine is little beside it.
    let (quota, window) = (100_u32, Duration::from_secs(10));
    let system = System::builder()
        .workers(3)
        .set("RUST_LOG", "info")
        .set("TIKTOK_RATE_PER_MINUTE", &quota.to_string())
        .set("TIKTOK_RATE_WINDOW", "10s")
        .sandbox(|config| {
            config.rate_limit = quota;
            config.rate_window = window;
            config.latency = sandbox::Latency::Between { min_ms: 10, max_ms: 60 };
        })
        .start()
        .await;
    // A backlog of several windows: the first syncs of creators that connect at once, each of a profile and ten pages.
    let users = futures::future::join_all((0..30).map(|_| system.sandbox.user(181))).await;
    system.connect_all(&users).await;
    let sql = system.sql().await;
    let mut share = 0.0;
    for round in 1..=4 {
        if round > 1 {
            // And then bulk syncs of them all, until the machine was not too busy for two windows.
            system.client.post("/api/v1/creators/sync").await.data(202);
        }
        progressing("the backlog", async || {
            let open = count(&sql, OPEN).await;
            if open == 0 { Ok(()) } else { Err((open, system.sandbox.arrivals(PAGES).await.len())) }
        })
        .await;
        share = used(&system.sandbox.arrivals(PAGES).await, quota, window);
        println!("after {round} rounds: {:.1} % of the quota used", share * 100.0);
        if share >= ENOUGH {
            break;
        }
    }
    let limits = system.sandbox.limits().await;
    for endpoint in ["user_info", "video_list"] {
        let seen = &limits[endpoint];
        assert_eq!(seen["refused"], json!(0), "no 429 at all: {limits}");
        assert!(seen["worst_window"].as_u64().unwrap() <= u64::from(quota), "{limits}");
    }
    assert!(share >= ENOUGH, "{:.1} % of the quota used", share * 100.0);
}

/// The share of the quota that was used over the two windows in which it was used best: what the budget leaves unused it leaves
/// in all of them, and what the machine is busy with otherwise it need not be busy with all the time.
fn used(arrivals: &[i64], quota: u32, window: Duration) -> f64 {
    let (quota, window) = (quota as usize, window.as_secs_f64() * 1000.0);
    let spans = arrivals.windows(2 * quota + 1).map(|all| all[2 * quota] - all[0]);
    let shortest = spans.min().expect("a backlog of several windows");
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let share = 2.0 * window / shortest as f64;
    share
}
