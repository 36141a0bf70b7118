//! Webhooks, against a receiver that records what comes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Tester, with};
use hmac::{Hmac, Mac};
use reqwest::Method;
use sandbox::SandboxConfig;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What came: the head, as it was spelled, and the body.
type Received = Arc<Mutex<Vec<(String, String)>>>;

/// Answers the first requests with 500, the others with 200, one connection each.
async fn receiver(failures: usize) -> (SocketAddr, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, received) = (listener.local_addr().unwrap(), Received::default());
    let seen = Arc::clone(&received);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let (head, body) = loop {
                let mut chunk = [0; 4_096];
                let n = stream.read(&mut chunk).await.unwrap();
                bytes.extend_from_slice(&chunk[..n]);
                let text = String::from_utf8(bytes.clone()).unwrap();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = header(head, "content-length").unwrap().parse::<usize>().unwrap();
                if body.len() == length {
                    break (head.to_owned(), body.to_owned());
                }
            };
            let count = {
                let mut seen = seen.lock().unwrap();
                seen.push((head, body));
                seen.len()
            };
            let status = if count <= failures { "500 No" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (addr, received)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn signature_of(head: &str) -> (i64, String) {
    let value = header(head, "tiktok-signature").unwrap();
    let (t, s) = value.split_once(',').unwrap();
    (t.strip_prefix("t=").unwrap().parse().unwrap(), s.strip_prefix("s=").unwrap().to_owned())
}

fn is_signed(head: &str, body: &str) -> bool {
    let (t, s) = signature_of(head);
    let mut mac = Hmac::<Sha256>::new_from_slice(b"sandbox-client-secret").unwrap();
    mac.update(format!("{t}.{body}").as_bytes());
    hex::encode(mac.finalize().into_bytes()) == s
}

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until(received: &Received, count: usize) -> Vec<(String, String)> {
    let start = Instant::now();
    loop {
        let seen = received.lock().unwrap().clone();
        if seen.len() >= count {
            return seen;
        }
        assert!(start.elapsed() < PATIENCE, "{} of {count} came", seen.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn states(tester: &Tester) -> Vec<Value> {
    let all = tester.control(Method::GET, "/webhooks", Value::Null).await;
    all["deliveries"].as_array().unwrap().iter().map(|delivery| delivery["state"].clone()).collect()
}

async fn until_states(tester: &Tester, expected: &[&str]) {
    let start = Instant::now();
    while states(tester).await != expected {
        assert!(start.elapsed() < PATIENCE, "{:?}", states(tester).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the n-th delivery was tried so often, and its next attempt is set.
async fn until_attempts(tester: &Tester, n: usize, attempts: u32) {
    let start = Instant::now();
    loop {
        let all = tester.control(Method::GET, "/webhooks", Value::Null).await;
        if all["deliveries"][n]["attempts"] == json!(attempts) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{all}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn to(addr: SocketAddr) -> Tester {
    with(SandboxConfig { webhook_url: Some(format!("http://{addr}/hook")), ..SandboxConfig::default() })
}

#[tokio::test]
async fn revoking_sends_a_signed_event() {
    let (addr, received) = receiver(0).await;
    let tester = to(addr);
    let (open_id, access) = tester.creator(json!({})).await;
    tester.revoke(&access).await;
    let (head, body) = until(&received, 1).await.remove(0);
    assert!(head.starts_with("POST /hook ") && head.contains("Tiktok-Signature: t="), "{head}");
    assert!(is_signed(&head, &body));
    let event: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(event["event"], "authorization.removed");
    assert_eq!((&event["client_key"], &event["user_openid"]), (&json!("sandbox-client-key"), &json!(open_id)));
    assert_eq!(event["content"], "{\"reason\":5}");
    assert!(event["create_time"].is_i64());

    tester.control(Method::PATCH, "/settings", json!({"webhook_header": "lower"})).await;
    tester.control(Method::POST, &format!("/users/{open_id}/revoke"), json!({"reason": 4})).await;
    let (head, body) = until(&received, 2).await.remove(1);
    assert!(head.contains("tiktok-signature: t="), "{head}");
    assert!(body.contains("{\\\"reason\\\":4}"));
    tester.control(Method::PATCH, "/settings", json!({"webhooks_auto": false})).await;
    let answer = tester.control(Method::POST, &format!("/users/{open_id}/revoke"), json!({})).await;
    assert_eq!(answer["webhook"], json!([]));
}

#[tokio::test]
async fn events_come_in_all_their_shapes() {
    let (addr, received) = receiver(0).await;
    let tester = to(addr);
    for event in [
        json!({"open_id": "x", "reason": 1, "spaced": true, "copies": 2, "create_time": 5}),
        json!({"open_id": "x", "bad_signature": true}),
        json!({"open_id": "x", "t_age_seconds": 1000}),
        json!({"event": "portability.download.ready", "content": "{\"request_id\":1}"}),
        json!({"open_id": "late", "delay_seconds": 100}),
        json!({"open_id": "early", "client_key": "other"}),
    ] {
        tester.control(Method::POST, "/webhooks", event).await;
    }
    let seen = until(&received, 6).await;
    assert_eq!(seen[0].1, seen[1].1);
    assert!(seen[0].1.contains("\"create_time\":5") && seen[0].1.contains("{\\\"reason\\\": 1 }"));
    assert!(!is_signed(&seen[2].0, &seen[2].1));
    assert!(is_signed(&seen[3].0, &seen[3].1));
    assert!(signature_of(&seen[0].0).0 - signature_of(&seen[3].0).0 >= 900);
    let download: Value = serde_json::from_str(&seen[4].1).unwrap();
    assert!(download.get("user_openid").is_none());
    assert!(seen[5].1.contains("\"client_key\":\"other\""));
    tester.control(Method::POST, "/clock", json!({"advance_seconds": 100})).await;
    assert!(until(&received, 7).await[6].1.contains("late"));
    let wrong = tester.control_raw(Method::POST, "/webhooks", json!({"reason": 6})).await;
    assert_eq!(wrong.status(), 400);
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_with_growing_pauses_for_72_hours() {
    let (addr, received) = receiver(3).await;
    let tester = to(addr);
    tester.control(Method::POST, "/clock", json!({"frozen": true})).await;
    tester.control(Method::PATCH, "/settings", json!({"webhook_fresh_t": false})).await;
    tester.control(Method::POST, "/webhooks", json!({"open_id": "x"})).await;
    for (attempts, pause) in [(1, 1), (2, 2), (3, 4)] {
        until_attempts(&tester, 0, attempts).await;
        tester.control(Method::POST, "/clock", json!({"advance_seconds": pause})).await;
    }
    let seen = until(&received, 4).await;
    until_states(&tester, &["delivered"]).await;
    assert_eq!(signature_of(&seen[0].0), signature_of(&seen[3].0));

    // Nobody listens at the other port.
    tester.control(Method::PATCH, "/settings", json!({"webhook_url": "http://127.0.0.1:9/"})).await;
    tester.control(Method::POST, "/webhooks", json!({"open_id": "x"})).await;
    until_attempts(&tester, 1, 1).await;
    tester.control(Method::POST, "/clock", json!({"advance_seconds": 73 * 3600})).await;
    until_states(&tester, &["delivered", "dropped"]).await;
}
