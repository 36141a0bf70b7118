//! What operators ask.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::harness::{Options, World, database, send};

#[tokio::test(flavor = "multi_thread")]
async fn healthy_is_ok() {
    let world = World::start().await;
    let alive = send(world.client.bare(Method::GET, "/healthz")).await;
    assert_eq!((alive.status.as_u16(), alive.text.as_str()), (200, "ok\n"));
    let ready = send(world.client.bare(Method::GET, "/readyz")).await;
    assert_eq!((ready.status.as_u16(), ready.body), (200, json!({"status": "ok"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_often_is_told_what_is_known() {
    let world = World::start().await;
    let ask = async || send(world.client.bare(Method::GET, "/readyz")).await.status;
    assert_eq!(ask().await, 200);
    // Nothing is there any more; within the second nobody looks.
    world.sql().await.batch_execute("DROP TABLE __diesel_schema_migrations").await.expect("dropped");
    let dropped = Instant::now();
    let mut still_good = 0;
    while ask().await == 200 {
        still_good += 1;
        assert!(dropped.elapsed() < Duration::from_secs(20), "what was found out a second ago is not true any more");
    }
    assert!(still_good > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_it_is_degraded() {
    let world = World::with(Options { redis: Some("redis://127.0.0.1:1".into()), ..Options::default() }).await;
    let ready = send(world.client.bare(Method::GET, "/readyz")).await;
    assert_eq!((ready.status.as_u16(), ready.body), (200, json!({"status": "degraded", "redis": "down"})));
    assert_eq!(send(world.client.bare(Method::GET, "/healthz")).await.status, 200, "a restart would not help");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_or_its_schema_it_is_not_ready_and_says_why() {
    let away = "postgres://nobody@127.0.0.1:1/none".to_owned();
    let world = World::with(Options { database: Some(away), ..Options::default() }).await;
    let ready = send(world.client.bare(Method::GET, "/readyz")).await;
    assert_eq!((ready.status.as_u16(), ready.body), (503, json!({"status": "unavailable", "postgres": "down"})));
    assert_eq!(send(world.client.bare(Method::GET, "/healthz")).await.status, 200, "it lives");

    let world = World::with(Options { database: Some(database().await), ..Options::default() }).await;
    let ready = send(world.client.bare(Method::GET, "/readyz")).await;
    assert_eq!(ready.status, 503);
    let schema = ready.body["schema"].as_str().expect("a word on the schema");
    assert!(schema.starts_with("found none, expected 2"), "{schema}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_schema_of_a_later_version_it_stays_ready() {
    let world = World::start().await;
    let later = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231000000')";
    world.sql().await.batch_execute(later).await.expect("a later migration");
    let ready = send(world.client.bare(Method::GET, "/readyz")).await;
    assert_eq!((ready.status.as_u16(), ready.body), (200, json!({"status": "ok"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_migration_that_a_newer_one_has_overtaken_it_is_not_ready_and_names_it() {
    let world = World::start().await;
    // The newest one stays.
    let overtaken = "DELETE FROM __diesel_schema_migrations WHERE version = '20261124000012'";
    assert_eq!(world.sql().await.execute(overtaken, &[]).await.expect("gone"), 1);
    let ready = send(world.client.bare(Method::GET, "/readyz")).await;
    assert_eq!((ready.status.as_u16(), &ready.body["status"]), (503, &json!("unavailable")), "{}", ready.text);
    let schema = ready.body["schema"].as_str().expect("a word on the schema");
    assert!(schema.ends_with("missing 20261124000012; run `metriqlab migrate`"), "{schema}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_route() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    world.client.get(&format!("/api/v1/creators/{creator}/profile")).await.data(200);
    let text = send(world.client.bare(Method::GET, "/metrics")).await.text;
    let route = r#"metriqlab_http_requests_total{method="GET",route="/api/v1/creators/{id}/profile",status="200"}"#;
    assert!(text.contains(route), "{text}");
    assert!(text.contains("metriqlab_http_request_duration_seconds_bucket"), "{text}");
    assert!(!text.contains(&creator.to_string()), "no id is a label");
}
