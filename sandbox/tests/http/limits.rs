//! The rate limit as a client meets it.

use std::time::{Duration, Instant};

use crate::support::{body, with};
use reqwest::Method;
use sandbox::{Latency, SandboxConfig};
use serde_json::{Value, json};

#[tokio::test]
async fn the_window_is_shared_by_all_tokens_of_the_client_and_slides() {
    let window = Duration::from_secs(3);
    let tester = with(SandboxConfig { rate_limit: 3, rate_window: window, ..SandboxConfig::default() });
    let (_, a) = tester.creator(json!({})).await;
    let (_, b) = tester.creator(json!({})).await;
    let start = Instant::now();
    for access in [&a, &b, &a] {
        assert_eq!(tester.user_info(access, "open_id").await.status(), 200);
    }
    let refused = tester.user_info(&b, "open_id").await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().get("retry-after").is_none());
    assert_eq!(body(refused).await["error"]["code"], "rate_limit_exceeded");
    assert_eq!(tester.list(&a, "id", json!({})).await.status(), 200);
    assert_eq!(tester.user_info("act.unknown", "open_id").await.status(), 401);

    tester.control(Method::PATCH, "/settings", json!({"retry_after": true})).await;
    let mut refusals = 1;
    loop {
        let answer = tester.user_info(&b, "open_id").await;
        if answer.status() == 200 {
            break;
        }
        let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=window.as_secs()).contains(&seconds), "{seconds}");
        refusals += 1;
        assert!(start.elapsed() < Duration::from_secs(30), "the window never slides");
    }
    assert!(start.elapsed() >= window);
    let limits = tester.control(Method::GET, "/limits", Value::Null).await;
    assert_eq!(limits["user_info"]["passed"], 4);
    assert_eq!(limits["user_info"]["refused"], json!(refusals));
    assert_eq!(limits["user_info"]["most_passed"], 3);
    assert_eq!(limits["video_list"]["passed"], 1);
    tester.control(Method::DELETE, "/limits", Value::Null).await;
    let limits = tester.control(Method::GET, "/limits", Value::Null).await;
    assert_eq!(limits["user_info"]["passed"], 0);
}

#[tokio::test]
async fn the_limit_can_count_tokens_or_nothing() {
    let tester = with(SandboxConfig { rate_limit: 1, ..SandboxConfig::default() });
    tester.control(Method::PATCH, "/settings", json!({"rate_key": "token"})).await;
    let (_, a) = tester.creator(json!({})).await;
    let (_, b) = tester.creator(json!({})).await;
    assert_eq!(tester.user_info(&a, "open_id").await.status(), 200);
    assert_eq!(tester.user_info(&b, "open_id").await.status(), 200);
    assert_eq!(tester.user_info(&b, "open_id").await.status(), 429);
    tester.control(Method::PATCH, "/settings", json!({"rate_limit": 0})).await;
    assert_eq!(tester.user_info(&b, "open_id").await.status(), 200);
}

#[tokio::test]
async fn latency_is_what_was_asked_for() {
    let latency = Latency::Between { min_ms: 30, max_ms: 40 };
    let tester = with(SandboxConfig { latency, ..SandboxConfig::default() });
    let (_, access) = tester.creator(json!({})).await;
    let start = Instant::now();
    assert_eq!(tester.user_info(&access, "open_id").await.status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(30));
    tester.control(Method::PATCH, "/settings", json!({"latency": {"profile": "tail"}})).await;
    let start = Instant::now();
    assert_eq!(tester.user_info(&access, "open_id").await.status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(10));
}
