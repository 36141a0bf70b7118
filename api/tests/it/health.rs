//! What operators ask.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Options, World, database, eventually, send};

async fn ask(world: &World) -> Answer {
    send(world.client.bare(Method::GET, "/readyz")).await
}

/// Asks until it says so in these words: a look at a busy machine may end before it has found anything.
async fn says(world: &World, status: u16, words: &Value) {
    eventually("these words", || async {
        let ready = ask(world).await;
        (ready.status == status && ready.body == *words).then_some(())
    })
    .await;
}

/// Asks until it says what is wrong with the schema, and that it is not ready.
async fn word_on_the_schema(world: &World) -> String {
    eventually("a word on the schema", || async {
        let ready = ask(world).await;
        assert_eq!((ready.status.as_u16(), &ready.body["status"]), (503, &json!("unavailable")), "{}", ready.text);
        ready.body["schema"].as_str().map(str::to_owned)
    })
    .await
}

/// Asks until this status comes; when that one was asked for.
async fn asked_until(world: &World, status: StatusCode) -> Instant {
    eventually("another status", || async {
        let asked = Instant::now();
        (ask(world).await.status == status).then_some(asked)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_is_ok() {
    let world = World::start().await;
    let alive = send(world.client.bare(Method::GET, "/healthz")).await;
    assert_eq!((alive.status.as_u16(), alive.text.as_str()), (200, "ok\n"));
    says(&world, 200, &json!({"status": "ok"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_often_is_told_what_is_known() {
    let world = World::start().await;
    let sql = world.sql().await;
    let rename = async |from: &str, to: &str| {
        sql.batch_execute(&format!("ALTER TABLE {from} RENAME TO {to}")).await.expect("renamed");
    };
    for _ in 0..10 {
        // Nothing was known before this question, or another status: so it has looked for itself.
        let looked = asked_until(&world, StatusCode::OK).await;
        rename("__diesel_schema_migrations", "away").await;
        let renamed = Instant::now();
        let told = ask(&world).await;
        let within_the_second = looked.elapsed() < Duration::from_secs(1);
        asked_until(&world, StatusCode::SERVICE_UNAVAILABLE).await;
        assert!(renamed.elapsed() < Duration::from_secs(20), "what was found out a second ago is not true any more");
        if within_the_second {
            assert_eq!(told.status, 200, "nobody has looked again: {}", told.text);
            return;
        }
        rename("away", "__diesel_schema_migrations").await;
    }
    panic!("two questions, and a table that goes between them, take longer than a second, ten times");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_it_is_degraded() {
    let world = World::with(Options { redis: Some("redis://127.0.0.1:1".into()), ..Options::default() }).await;
    says(&world, 200, &json!({"status": "degraded", "redis": "down"})).await;
    assert_eq!(send(world.client.bare(Method::GET, "/healthz")).await.status, 200, "a restart would not help");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_or_its_schema_it_is_not_ready_and_says_why() {
    let away = "postgres://nobody@127.0.0.1:1/none".to_owned();
    let world = World::with(Options { database: Some(away), ..Options::default() }).await;
    says(&world, 503, &json!({"status": "unavailable", "postgres": "down"})).await;
    assert_eq!(send(world.client.bare(Method::GET, "/healthz")).await.status, 200, "it lives");

    let world = World::with(Options { database: Some(database().await), ..Options::default() }).await;
    let schema = word_on_the_schema(&world).await;
    assert!(schema.starts_with("found none, expected 2"), "{schema}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_schema_of_a_later_version_it_stays_ready() {
    let world = World::start().await;
    let later = "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231000000')";
    world.sql().await.batch_execute(later).await.expect("a later migration");
    says(&world, 200, &json!({"status": "ok"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_migration_that_a_newer_one_has_overtaken_it_is_not_ready_and_names_it() {
    let world = World::start().await;
    // The newest one stays.
    let overtaken = "DELETE FROM __diesel_schema_migrations WHERE version = '20261124000012'";
    assert_eq!(world.sql().await.execute(overtaken, &[]).await.expect("gone"), 1);
    let schema = word_on_the_schema(&world).await;
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
