//! Postgres away, stuck or broken: 503 with a time, never a hang, and no detail of ours.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::harness::{Options, World, eventually, send};

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_it_is_unavailable() {
    let away = "postgres://nobody@127.0.0.1:1/none".to_owned();
    let world = World::with(Options { database: Some(away), ..Options::default() }).await;
    let answer = world.client.get("/api/v1/creators").await;
    assert_eq!(answer.error(503), "unavailable");
    assert!(answer.header("retry-after").expect("a time").parse::<u64>().expect("seconds") >= 1);
    for detail in ["127.0.0.1:1/", "127.0.0.1:1 ", "nobody", "none"] {
        assert!(!answer.text.contains(detail), "{}", answer.text);
    }
    let page = send(world.client.bare(Method::GET, "/oauth/tiktok/callback?state=a&code=b")).await;
    assert_eq!(page.status, 503);
    assert_eq!(page.header("retry-after"), Some("2"));
    assert!(page.text.contains("<h1>Something went wrong</h1>"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_statement_is_no_hang_and_frees_its_connection() {
    let world = World::with(Options { statement_timeout: Duration::from_secs(1), ..Options::default() }).await;
    let creator = world.creator("open-1").await;
    world.client.get("/api/v1/creators").await.data(200);
    let mut sql = world.sql().await;
    let lock = sql.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE creators IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let began = Instant::now();
    let path = format!("/api/v1/creators/{creator}");
    let stuck: Vec<_> = (0..20).map(|_| world.client.get(&path)).collect();
    for answer in futures::future::join_all(stuck).await {
        assert_eq!(answer.error(503), "unavailable");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    lock.rollback().await.expect("unlocked");
    world.client.get(&path).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_tells_no_details() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    world.client.get("/api/v1/creators").await.data(200);
    world.sql().await.batch_execute("ALTER TABLE creators RENAME COLUMN bio TO biography").await.expect("renamed");
    let request =
        world.client.request(Method::GET, &format!("/api/v1/creators/{creator}")).header("x-request-id", "find-me");
    let answer = send(request).await;
    assert_eq!(answer.error(500), "internal");
    assert_eq!(answer.body["error"]["requestId"], json!("find-me"));
    for detail in ["bio", "column", "creators", "SELECT", "diesel"] {
        assert!(!answer.text.contains(detail), "{}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_not_done_later() {
    // Longer than the API waits: no limit of Postgres's own undoes the statement.
    let world = World::with(Options { statement_timeout: Duration::from_secs(120), ..Options::default() }).await;
    let creator = world.creator("open-1").await;
    let sync = format!("/api/v1/creators/{creator}/sync");
    let mut sql = world.sql().await;
    let lock = sql.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE jobs, batches IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    for answer in
        futures::future::join_all([sync.as_str(), "/api/v1/creators/sync"].map(|path| world.client.post(path))).await
    {
        assert_eq!(answer.error(503), "unavailable");
    }
    lock.rollback().await.expect("unlocked");
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND state <> 'idle'";
    eventually("the statements that were on their way", || async {
        (sql.query_one(busy, &[]).await.expect("a row").get::<_, i64>(0) == 0).then_some(())
    })
    .await;
    let made = "SELECT (SELECT count(*) FROM jobs WHERE finished_at IS NULL) + (SELECT count(*) FROM batches)";
    assert_eq!(sql.query_one(made, &[]).await.expect("a row").get::<_, i64>(0), 0);
}
