//! Bulk resync, its batches, and how often a creator is synced.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Options, World, send};

const BULK: &str = "/api/v1/creators/sync";

async fn grown(world: &World) {
    while world.store.grow_batches(None, 100).await.expect("grown").is_some() {}
}

async fn batch(world: &World, asked: &Answer) -> Value {
    let id = asked.data(202)["batchId"].as_str().expect("a batch");
    assert_eq!(asked.header("location"), Some(format!("/api/v1/batches/{id}").as_str()));
    world.client.get(&format!("/api/v1/batches/{id}")).await.data(200).clone()
}

fn counts(batch: &Value) -> [i64; 6] {
    ["total", "queued", "running", "done", "failed", "skipped"].map(|name| batch[name].as_i64().expect("a number"))
}

async fn patch(world: &World, path: &str, body: &Value) -> Answer {
    send(world.client.request(Method::PATCH, path).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_resync_is_accepted_at_once_and_counted() {
    let world = World::start().await;
    world.add_creators(300).await;
    let asked = world.client.post(BULK).await;
    assert_eq!(asked.data(202)["total"], 300);
    let before = batch(&world, &asked).await;
    assert_eq!(counts(&before), [300, 300, 0, 0, 0, 0]);
    grown(&world).await;
    let after = batch(&world, &asked).await;
    assert_eq!(counts(&after), [300, 300, 0, 0, 0, 0]);
    assert!(after["createdAt"].is_string() && after["finishedAt"].is_null() && after["estimatedFinishAt"].is_string());
    let seconds = estimate(&after);
    assert!((10.0..=31.0).contains(&seconds), "300 calls at 600 a minute: {seconds} s");
    let id = asked.data(202)["batchId"].as_str().unwrap();
    assert_eq!(world.stranger().await.get(&format!("/api/v1/batches/{id}")).await.error(404), "not_found");
    assert_eq!(world.client.get("/api/v1/batches/nothing").await.error(404), "not_found");
}

/// The seconds that are left by the estimate, at the moment of its answer or a little later.
fn estimate(batch: &Value) -> f64 {
    let text = batch["estimatedFinishAt"].as_str().expect("an estimate");
    let at: chrono::DateTime<chrono::Utc> = text.parse().expect("an instant");
    (at - chrono::Utc::now()).as_seconds_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_knows_that_projects_take_turns_and_that_batches_share_their_jobs() {
    let world = World::start().await;
    world.add_creators(60).await;
    let stranger = world.stranger().await;
    let theirs = "INSERT INTO creators (id, project_id, credential_id, platform, external_id)
        SELECT uuid_v7(), projects.id, credential_id, platform, 'their-' || n
        FROM projects, creators, generate_series(1, 3000) AS n
        WHERE projects.name = 'another' AND creators.external_id = 'first'";
    world.sql().await.batch_execute(theirs).await.expect("their creators");
    stranger.post(BULK).await.data(202);
    let asked = world.client.post(BULK).await;
    grown(&world).await;
    // Sixty calls of our own and as many of theirs, at 600 a minute; theirs alone take 300 s.
    let seconds = estimate(&batch(&world, &asked).await);
    assert!(seconds <= 13.0, "{seconds} s");
    for _ in 0..3 {
        world.client.post(BULK).await.data(202);
    }
    grown(&world).await;
    let seconds = estimate(&batch(&world, &asked).await);
    assert!(seconds <= 13.0, "four batches have the same sixty jobs: {seconds} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_counts_the_open_the_disconnected_and_the_finished() {
    let world = World::start().await;
    let [open, gone, other] = [world.connect("a").await, world.connect("b").await, world.connect("c").await];
    let ids = json!({"ids": [open.creator.to_string(), gone.creator.to_string(), other.creator.to_string()]});
    let asked = world.client.post_json(BULK, &ids).await;
    assert_eq!(counts(&batch(&world, &asked).await), [3, 3, 0, 0, 0, 0]);
    world.store.disconnect(world.project, gone.creator, None).await.expect("disconnected");
    world.store.start_job(open.sync.expect("a job")).await.expect("started");
    assert_eq!(counts(&batch(&world, &asked).await), [3, 1, 1, 0, 0, 1]);
    let end = "UPDATE jobs SET state = CASE WHEN state = 'running' THEN 'done' ELSE 'failed' END, finished_at = now() \
               WHERE kind = 'sync' AND finished_at IS NULL; DELETE FROM jobs";
    world.sql().await.batch_execute(end).await.expect("ended");
    let ended = batch(&world, &asked).await;
    assert_eq!(counts(&ended), [3, 0, 0, 1, 1, 1], "also without the jobs' rows");
    assert!(ended["finishedAt"].is_string() && ended["estimatedFinishAt"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_ids_may_be_named_and_each_must_be_known() {
    // What a busy machine takes for so many is not Postgres's to end.
    let world = World::with(Options { statement_timeout: Duration::from_secs(60), ..Options::default() }).await;
    world.add_creators(10_000).await;
    let rows = world.sql().await.query("SELECT id::text FROM creators", &[]).await.expect("ids");
    let ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let asked = world.client.post_json(BULK, &json!({"ids": ids})).await;
    assert_eq!(counts(&batch(&world, &asked).await), [10_000, 10_000, 0, 0, 0, 0]);
    let mut many = ids.clone();
    many.push(ids[0].clone());
    let refused = world.client.post_json(BULK, &json!({"ids": many})).await;
    assert_eq!(refused.error(400), "invalid_request");
    let stranger = world.stranger().await;
    let refused = stranger.post_json(BULK, &json!({"ids": [ids[5], ids[6]]})).await;
    assert_eq!(refused.error(400), "invalid_request");
    assert!(refused.message().starts_with("ids: ") && refused.message().contains(&ids[5]), "{}", refused.text);
    // The first of both kinds: an id of nobody, and what is none at all.
    let refused = stranger.post_json(BULK, &json!({"ids": [ids[7], "x", "y"]})).await;
    assert!(refused.error(400) == "invalid_request" && refused.message().contains(&ids[7]), "{}", refused.text);
    let refused = world.client.post_json(BULK, &json!({"ids": [ids[7], "x", "y"]})).await;
    assert!(refused.message().contains("`x`"), "{}", refused.text);
    let twice = world.client.post_json(BULK, &json!({"ids": [ids[0], ids[0]]})).await;
    assert_eq!(twice.data(202)["total"], 1);
    let none = world.client.post_json(BULK, &json!({"ids": []})).await;
    assert_eq!(none.data(202)["total"], 0);
    assert!(batch(&world, &none).await["finishedAt"].is_string(), "nothing to do is done");
    assert_eq!(stranger.post(BULK).await.data(202)["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_bulk_request_is_named() {
    let world = World::start().await;
    world.add_creators(2).await;
    for (body, field) in [
        (json!({"ids": "x"}), "ids: "),
        (json!({"ids": [1]}), "ids: "),
        (json!({"ids": ["x"]}), "ids: there is no creator `x`"),
        (json!({"platform": "MYSPACE"}), "platform: "),
        (json!({"platform": 1}), "platform: "),
        (json!({"olderThan": "soon"}), "olderThan: "),
        (json!({"olderThan": 24}), "olderThan: "),
        (json!({"olderThan": "9999999999h"}), "olderThan: "),
    ] {
        let refused = world.client.post_json(BULK, &body).await;
        assert_eq!(refused.error(400), "invalid_request", "{body}");
        assert!(refused.message().starts_with(field), "{body}: {}", refused.text);
    }
    assert_eq!(world.client.post_json(BULK, &json!({"platform": "YOUTUBE"})).await.data(202)["total"], 0);
    assert_eq!(world.client.post_json(BULK, &json!({"olderThan": "24h", "more": 1})).await.data(202)["total"], 2);
    world.sql().await.batch_execute("UPDATE creators SET last_synced_at = now()").await.expect("synced");
    assert_eq!(world.client.post_json(BULK, &json!({"olderThan": "24h"})).await.data(202)["total"], 0);
    let long = json!({"ids": ["x".repeat(513 * 1024)]});
    let refused = world.client.post_json(BULK, &long).await;
    assert_eq!(refused.error(413), "payload_too_large");
    assert!(refused.message().contains("512 KiB"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_is_synced_as_often_as_it_is_told() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let path = format!("/api/v1/creators/{creator}");
    assert_eq!(world.client.get(&path).await.data(200)["resyncEvery"], Value::Null);
    for (wanted, shown) in [
        (json!("6h"), json!("6h")),
        (json!("1day"), json!("24h")),
        (json!("off"), json!("off")),
        (Value::Null, Value::Null),
    ] {
        let answer = patch(&world, &path, &json!({"resyncEvery": wanted})).await;
        assert_eq!(answer.data(200)["resyncEvery"], shown);
        assert_eq!(answer.data(200), world.client.get(&path).await.data(200), "answers as GET");
    }
    patch(&world, &path, &json!({"resyncEvery": "90m"})).await.data(200);
    let same = patch(&world, &path, &json!({"other": 1})).await;
    assert_eq!(same.data(200)["resyncEvery"], "90m", "what is absent stays");
    for wrong in [json!("soon"), json!("0s"), json!(6), json!(["6h"]), json!("")] {
        let refused = patch(&world, &path, &json!({"resyncEvery": wrong})).await;
        assert_eq!(refused.error(400), "invalid_request", "{wrong}");
        assert!(refused.message().starts_with("resyncEvery: "), "{}", refused.text);
    }
    let theirs = send(world.stranger().await.request(Method::PATCH, &path).json(&json!({"resyncEvery": "6h"}))).await;
    assert_eq!(theirs.error(404), "not_found");
    assert_eq!(world.client.get(&path).await.data(200)["resyncEvery"], "90m");
}
