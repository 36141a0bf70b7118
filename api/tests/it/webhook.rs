//! TikTok's webhook.

use chrono::{TimeDelta, Utc};
use hmac::{Hmac, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::{Answer, CLIENT_KEY, CLIENT_SECRET, Options, World, send, until_refused};

fn signature(secret: &str, t: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(format!("{t}.{body}").as_bytes());
    format!("t={t},s={}", hex::encode(mac.finalize().into_bytes()))
}

fn removal(open_id: &str, at: i64, reason: i64) -> String {
    let content = json!({ "reason": reason }).to_string();
    json!({"client_key": CLIENT_KEY, "event": "authorization.removed", "create_time": at, "user_openid": open_id,
        "content": content})
    .to_string()
}

async fn deliver(world: &World, body: &str, signature: &str) -> Answer {
    let request = world.client.bare(Method::POST, "/webhooks/tiktok").header("TikTok-Signature", signature);
    send(request.header("content-type", "application/json").body(body.to_owned())).await
}

async fn status(world: &World, path: &str) -> (Value, Value) {
    let answer = world.client.get(path).await;
    let data = answer.data(200);
    (data["status"].clone(), data["statusReason"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_authorization_marks_the_creator_and_repeats_do_no_harm() {
    let world = World::start().await;
    let path = format!("/api/v1/creators/{}", world.creator("open-1").await);
    let now = Utc::now().timestamp() + 1;
    let body = removal("open-1", now, 1);
    for _ in 0..3 {
        let answer = deliver(&world, &body, &signature(CLIENT_SECRET, now, &body)).await;
        assert_eq!(answer.data(200), &json!({"received": true}));
        let (status, reason) = status(&world, &path).await;
        assert_eq!(status, "REAUTHORIZATION_REQUIRED");
        assert!(reason.as_str().is_some_and(|reason| !reason.is_empty()), "{reason}");
    }
    assert_eq!(world.client.post(&format!("{path}/sync")).await.error(409), "reauthorization_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_older_than_the_connection_is_none_of_its_business() {
    let world = World::start().await;
    let path = format!("/api/v1/creators/{}", world.creator("open-1").await);
    let before = (Utc::now() - TimeDelta::hours(1)).timestamp();
    let body = removal("open-1", before, 1);
    deliver(&world, &body, &signature(CLIENT_SECRET, before, &body)).await.data(200);
    assert_eq!(status(&world, &path).await.0, "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_in_the_second_of_the_connection_counts_unless_it_was_ours() {
    let world = World::start().await;
    let path = format!("/api/v1/creators/{}", world.creator("open-1").await);
    // TikTok names the whole second in which it was removed.
    let second = Utc::now().timestamp();
    let granted = format!("UPDATE credentials SET granted_at = to_timestamp({second}) + interval '0.7 seconds'");
    world.sql().await.batch_execute(&granted).await.expect("granted");
    for (reason, expected) in [(5, "ACTIVE"), (1, "REAUTHORIZATION_REQUIRED")] {
        let body = removal("open-1", second, reason);
        deliver(&world, &body, &signature(CLIENT_SECRET, second, &body)).await.data(200);
        assert_eq!(status(&world, &path).await.0, expected, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_nothing_is_acknowledged() {
    let world = World::start().await;
    let now = Utc::now().timestamp();
    let unknown = removal("nobody", now, 2);
    let other = json!({"client_key": CLIENT_KEY, "event": "video.publish.completed", "create_time": now,
        "user_openid": "open-1", "content": "{}"})
    .to_string();
    for body in [unknown, other] {
        deliver(&world, &body, &signature(CLIENT_SECRET, now, &body)).await.data(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tiktoks_own_signature_counts() {
    let world = World::start().await;
    let path = format!("/api/v1/creators/{}", world.creator("open-1").await);
    let now = Utc::now().timestamp() + 1;
    let body = removal("open-1", now, 1);
    let good = signature(CLIENT_SECRET, now, &body);
    for wrong in
        ["", "t=1,s=00", "nonsense", "t=,s=", &signature("another secret", now, &body), &good[..good.len() - 2]]
    {
        assert_eq!(deliver(&world, &body, wrong).await.error(400), "invalid_request", "{wrong}");
    }
    let request = world.client.bare(Method::POST, "/webhooks/tiktok").body(body.clone());
    assert_eq!(send(request).await.error(400), "invalid_request");
    let changed = body.replace("open-1", "open-2");
    assert_eq!(deliver(&world, &changed, &good).await.error(400), "invalid_request");
    let foreign = body.replace(CLIENT_KEY, "another-app");
    let answer = deliver(&world, &foreign, &signature(CLIENT_SECRET, now, &foreign)).await;
    assert_eq!(answer.error(400), "invalid_request");
    let long = " ".repeat(70_000);
    assert_eq!(deliver(&world, &long, &good).await.error(413), "payload_too_large");
    assert_eq!(status(&world, &path).await.0, "ACTIVE");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_signatures_are_limited_and_a_good_one_gets_through() {
    let world = World::start().await;
    let now = Utc::now().timestamp();
    let body = removal("nobody", now, 1);
    let refused = until_refused(400, async |_| deliver(&world, &body, "t=1,s=00").await).await;
    assert_eq!(refused.error(429), "rate_limited");
    deliver(&world, &body, &signature(CLIENT_SECRET, now, &body)).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vector_holds() {
    let world = World::with(Options { app: ("aw1demo", "demo-secret"), ..Options::default() }).await;
    let body = r#"{"client_key":"aw1demo","event":"authorization.removed","create_time":1764000000,"user_openid":"demo-open-id-1","content":"{\"reason\":1}"}"#;
    let good = "t=1764000005,s=0cf8c2f22ba14fb87cb5308f5db8c4547e32890e7d347ae6997128b358e0a856";
    deliver(&world, body, good).await.data(200);
    assert_eq!(deliver(&world, &format!("{body}\n"), good).await.error(400), "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_tiktok_is_to_try_again() {
    let away = "postgres://nobody@127.0.0.1:1/none".to_owned();
    let world = World::with(Options { database: Some(away), ..Options::default() }).await;
    let now = Utc::now().timestamp();
    let body = removal("open-1", now, 1);
    assert_eq!(deliver(&world, &body, &signature(CLIENT_SECRET, now, &body)).await.error(503), "unavailable");
}
