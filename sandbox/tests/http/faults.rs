//! Every fault that can be asked for.

use std::time::{Duration, Instant};

use crate::support::{Tester, body, quick};
use reqwest::Method;
use serde_json::{Value, json};

async fn fault(tester: &Tester, fault: Value) -> Value {
    tester.control(Method::POST, "/faults", fault).await["id"].clone()
}

#[tokio::test]
async fn answers_of_gateways_and_broken_servers() {
    let tester = quick();
    let (_, access) = tester.creator(json!({"videos": 5})).await;
    for (kind, status, starts) in [
        ("internal_error", 500, "{\"data\":{},\"error\":{\"code\":\"internal_error\""),
        ("bad_gateway", 502, "<html>"),
        ("empty_body", 200, ""),
        ("truncated", 200, "{\"data\""),
    ] {
        fault(&tester, json!({"endpoint": "user_info", "kind": kind, "times": 1})).await;
        let response = tester.user_info(&access, "open_id").await;
        assert_eq!(response.status(), status, "{kind}");
        let text = response.text().await.unwrap();
        assert!(text.starts_with(starts), "{kind}: {text}");
        assert!(kind == "internal_error" || serde_json::from_str::<Value>(&text).is_err(), "{kind}: {text}");
        assert_eq!(tester.user_info(&access, "open_id").await.status(), 200, "{kind} hits once");
    }
    let error = json!({"endpoint": "video_list", "kind": "error", "code": "spam_risk", "times": 1});
    fault(&tester, error).await;
    let response = tester.list(&access, "id", json!({})).await;
    assert_eq!((response.status().as_u16(), &body(response).await["error"]["code"]), (200, &json!("spam_risk")));
}

#[tokio::test]
async fn a_fault_is_limited_to_a_creator_a_number_and_until_it_is_cleared() {
    let tester = quick();
    let (open_id, a) = tester.creator(json!({})).await;
    let (_, b) = tester.creator(json!({})).await;
    let id = fault(&tester, json!({"endpoint": "user_info", "kind": "internal_error", "open_id": open_id})).await;
    for _ in 0..3 {
        assert_eq!(tester.user_info(&a, "open_id").await.status(), 500);
        assert_eq!(tester.user_info(&b, "open_id").await.status(), 200);
    }
    let faults = tester.control(Method::GET, "/faults", Value::Null).await;
    assert_eq!(faults["faults"][0]["hits"], 3);
    tester.control(Method::DELETE, &format!("/faults/{id}"), Value::Null).await;
    assert_eq!(tester.user_info(&a, "open_id").await.status(), 200);

    fault(&tester, json!({"endpoint": "user_info", "kind": "bad_gateway", "times": 2, "after": 1})).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(tester.user_info(&b, "open_id").await.status().as_u16());
    }
    assert_eq!(seen, [200, 502, 502, 200]);
    let id = fault(&tester, json!({"endpoint": "user_info", "kind": "bad_gateway", "after": 1, "every": 3})).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(tester.user_info(&b, "open_id").await.status().as_u16());
    }
    assert_eq!(seen, [200, 502, 200, 200, 502, 200]);
    tester.control(Method::DELETE, &format!("/faults/{id}"), Value::Null).await;
    for wrong in [json!({"endpoint": "x", "kind": "slow"}), json!({"endpoint": "token", "kind": "x"}), json!({})] {
        assert_eq!(tester.control_raw(Method::POST, "/faults", wrong).await.status(), 400);
    }
}

#[tokio::test]
async fn a_reset_and_a_lost_answer_differ_in_what_was_done() {
    let tester = quick();
    let (open_id, _) = tester.creator(json!({})).await;
    let pair = tester.grant(&open_id, &["user.info.basic"]).await;
    let refresh = pair["refresh_token"].as_str().unwrap();
    let form = [
        ("client_key", "sandbox-client-key"),
        ("client_secret", "sandbox-client-secret"),
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh),
    ];
    let call = || tester.http.post(tester.url("/v2/oauth/token/")).form(&form).send();
    fault(&tester, json!({"endpoint": "token", "kind": "reset", "times": 1})).await;
    assert!(call().await.is_err());
    let rotated = body(call().await.unwrap()).await;
    assert!(rotated["access_token"].is_string());

    let refresh = rotated["refresh_token"].as_str().unwrap();
    let form = [form[0], form[1], form[2], ("refresh_token", refresh)];
    let call = || tester.http.post(tester.url("/v2/oauth/token/")).form(&form).send();
    fault(&tester, json!({"endpoint": "token", "kind": "lost_answer", "times": 1, "open_id": open_id})).await;
    assert!(call().await.is_err());
    assert_eq!(body(call().await.unwrap()).await["error"], "invalid_grant");

    let log = tester.control(Method::GET, "/requests?grant_type=refresh_token", Value::Null).await;
    let statuses: Vec<_> = log["requests"].as_array().unwrap().iter().map(|entry| entry["status"].clone()).collect();
    assert_eq!(statuses, [0, 200, 0, 200]);
}

#[tokio::test]
async fn oauth_fails_flat() {
    let tester = quick();
    let (open_id, _) = tester.creator(json!({})).await;
    fault(&tester, json!({"endpoint": "token", "kind": "internal_error", "times": 1})).await;
    let response = tester.token(&[]).await;
    assert_eq!((response.status().as_u16(), &body(response).await["error"]), (500, &json!("server_error")));
    let pair = tester.grant(&open_id, &["user.info.basic"]).await;
    let refused =
        json!({"endpoint": "token", "kind": "error", "code": "invalid_grant", "open_id": open_id, "times": 1});
    fault(&tester, refused).await;
    assert_eq!(tester.refresh(pair["refresh_token"].as_str().unwrap()).await["error"], "invalid_grant");
    assert!(tester.refresh(pair["refresh_token"].as_str().unwrap()).await["access_token"].is_string());
}

#[tokio::test]
async fn a_fresh_grant_may_fail_for_a_while() {
    let tester = quick();
    let (_, access) = tester.creator(json!({})).await;
    fault(&tester, json!({"endpoint": "user_info", "kind": "fresh_grant", "within_seconds": 60})).await;
    assert_eq!(tester.user_info(&access, "open_id").await.status(), 500);
    tester.control(Method::POST, "/clock", json!({"advance_seconds": 60})).await;
    assert_eq!(tester.user_info(&access, "open_id").await.status(), 200);
}

#[tokio::test]
async fn odd_pages_of_videos() {
    let tester = quick();
    let (_, access) = tester.creator(json!({"videos": 25})).await;
    let list = async |paging: Value| body(tester.list(&access, "id,view_count", paging).await).await["data"].clone();
    let count = |page: &Value| page["videos"].as_array().unwrap().len();

    fault(&tester, json!({"endpoint": "video_list", "kind": "short_page"})).await;
    let page = list(json!({"max_count": 20})).await;
    assert_eq!((count(&page), &page["has_more"]), (10, &json!(true)));
    tester.control(Method::DELETE, "/faults", Value::Null).await;

    fault(&tester, json!({"endpoint": "video_list", "kind": "empty_page", "times": 2})).await;
    let first = list(json!({"max_count": 20})).await;
    let second = list(json!({"cursor": first["cursor"]})).await;
    assert_eq!((count(&first), count(&second), &second["has_more"]), (0, 0, &json!(true)));
    assert_ne!(first["cursor"], second["cursor"]);
    assert_eq!(count(&list(json!({"cursor": second["cursor"], "max_count": 20})).await), 20);

    fault(&tester, json!({"endpoint": "video_list", "kind": "repeated_cursor"})).await;
    let first = list(json!({"max_count": 20})).await;
    let second = list(json!({"cursor": first["cursor"]})).await;
    assert_eq!((&first["cursor"], &second["has_more"]), (&second["cursor"], &json!(true)));
    tester.control(Method::DELETE, "/faults", Value::Null).await;

    fault(&tester, json!({"endpoint": "video_list", "kind": "numeric_strings", "times": 1})).await;
    assert!(list(json!({})).await["videos"][0]["view_count"].is_string());
    fault(&tester, json!({"endpoint": "user_info", "kind": "numeric_strings", "times": 1})).await;
    assert!(tester.user(&access, "follower_count").await["follower_count"].is_string());
}

#[tokio::test]
async fn a_slow_answer_has_done_its_work_before() {
    let tester = quick();
    let (open_id, _) = tester.creator(json!({})).await;
    let pair = tester.grant(&open_id, &["user.info.basic"]).await;
    fault(&tester, json!({"endpoint": "revoke", "kind": "slow", "delay_ms": 30_000, "times": 1})).await;
    let form = [
        ("client_key", "sandbox-client-key"),
        ("client_secret", "sandbox-client-secret"),
        ("token", pair["access_token"].as_str().unwrap()),
    ];
    let call = tokio::spawn(tester.http.post(tester.url("/v2/oauth/revoke/")).form(&form).send());
    let start = Instant::now();
    while tester.control(Method::GET, "/requests?path=/v2/oauth/revoke/", Value::Null).await["matched"] != 1 {
        assert!(start.elapsed() < Duration::from_secs(20), "the call did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(tester.user_info(pair["access_token"].as_str().unwrap(), "open_id").await.status(), 401);
    assert!(!call.is_finished(), "the answer comes later");
    call.abort();
    let start = Instant::now();
    tester.sandbox.stop().await;
    assert!(start.elapsed() < Duration::from_secs(20), "a slow answer holds up the stop");
}

#[tokio::test]
async fn requests_are_logged() {
    let tester = quick();
    let (open_id, access) = tester.creator(json!({})).await;
    tester.control(Method::DELETE, "/requests", Value::Null).await;
    tester.user_info(&access, "open_id").await;
    tester.user_info(&access, "email").await;
    tester.user_info("act.x", "open_id").await;
    let log = async |query: &str| tester.control(Method::GET, &format!("/requests{query}"), Value::Null).await;
    let all = log("?path=/v2/user/info/").await;
    assert_eq!(all["matched"], 3);
    assert_eq!(all["requests"][1]["error"], "invalid_params");
    assert_eq!(log(&format!("?open_id={open_id}")).await["matched"], 2);
    assert_eq!(log("?status=401").await["matched"], 1);
    assert_eq!(log("?error=invalid_params&limit=5").await["matched"], 1);
    let last = all["requests"][2]["seq"].as_u64().unwrap();
    assert_eq!(log(&format!("?after={}", last - 1)).await["matched"], 1);
}
