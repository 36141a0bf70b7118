//! How tokens live and die: lifetimes, rotation, grace, revocation, restarts.

use crate::support::{Tester, body, quick, with};
use futures::future::join_all;
use reqwest::Method;
use sandbox::SandboxConfig;
use serde_json::{Value, json};

async fn pair(tester: &Tester) -> (String, Value) {
    let users = tester.control(Method::GET, "/users", Value::Null).await;
    let open_id = users["users"][0]["open_id"].as_str().unwrap().to_owned();
    let pair = tester.control(Method::POST, "/grants", json!({"open_id": open_id, "tokens": true})).await;
    (open_id, pair)
}

fn text<'a>(pair: &'a Value, field: &str) -> &'a str {
    pair[field].as_str().unwrap_or_else(|| panic!("no {field} in {pair}"))
}

async fn works(tester: &Tester, pair: &Value) -> bool {
    let response = tester.user_info(text(pair, "access_token"), "open_id").await;
    match response.status().as_u16() {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_refresh_rotates_and_the_old_token_dies() {
    let tester = quick();
    let (_, first) = pair(&tester).await;
    let second = tester.refresh(text(&first, "refresh_token")).await;
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let dead = tester.refresh(text(&first, "refresh_token")).await;
    assert_eq!(
        (&dead["error"], &dead["error_description"]),
        (&json!("invalid_grant"), &json!("Refresh token is invalid or expired."))
    );
    let third = tester.refresh(text(&second, "refresh_token")).await;
    assert!(works(&tester, &first).await && works(&tester, &second).await && works(&tester, &third).await);
    assert_eq!(tester.refresh(text(&third, "access_token")).await["error"], "invalid_grant");
    assert_eq!(tester.user_info(text(&third, "refresh_token"), "open_id").await.status(), 401);

    tester.control(Method::PATCH, "/settings", json!({"refresh_ends_access": true})).await;
    let fourth = tester.refresh(text(&third, "refresh_token")).await;
    assert!(!works(&tester, &third).await && works(&tester, &fourth).await);
}

#[tokio::test]
async fn of_two_refreshes_at_once_one_wins() {
    let tester = quick();
    let (_, pair) = pair(&tester).await;
    let answers = join_all((0..8).map(|_| tester.refresh(text(&pair, "refresh_token")))).await;
    assert_eq!(answers.iter().filter(|answer| answer["access_token"].is_string()).count(), 1);
}

#[tokio::test]
async fn rotation_and_grace_can_be_switched() {
    let tester = quick();
    let (_, first) = pair(&tester).await;
    let refresh = async |pair: &Value| tester.refresh(text(pair, "refresh_token")).await;
    tester.control(Method::PATCH, "/settings", json!({"rotation": "never"})).await;
    let same = refresh(&first).await;
    assert_eq!(first["refresh_token"], same["refresh_token"]);

    tester.control(Method::PATCH, "/settings", json!({"rotation": "sometimes"})).await;
    let second = refresh(&first).await;
    let third = refresh(&second).await;
    let changed = [&first, &second, &third]
        .windows(2)
        .filter(|pair| pair[0]["refresh_token"] != pair[1]["refresh_token"])
        .count();
    assert_eq!(changed, 1);

    tester.control(Method::PATCH, "/settings", json!({"rotation": "always", "grace": 60})).await;
    let fourth = refresh(&third).await;
    let again = refresh(&third).await;
    assert!(again["access_token"].is_string());
    assert!(refresh(&fourth).await["access_token"].is_string());
    tester.control(Method::POST, "/clock", json!({"advance_seconds": 61})).await;
    assert_eq!(refresh(&fourth).await["error"], "invalid_grant");
}

#[tokio::test]
async fn lifetimes_are_those_of_the_settings() {
    let tester = quick();
    tester.control(Method::PATCH, "/settings", json!({"lifetimes": "classic", "refresh_expiry": "absolute"})).await;
    tester.control(Method::POST, "/clock", json!({"frozen": true})).await;
    let (_, first) = pair(&tester).await;
    assert_eq!((&first["expires_in"], &first["refresh_expires_in"]), (&json!(86_400), &json!(31_536_000)));
    tester.control(Method::POST, "/clock", json!({"advance_seconds": 86_400})).await;
    assert!(!works(&tester, &first).await);
    let second = tester.refresh(text(&first, "refresh_token")).await;
    assert_eq!(second["refresh_expires_in"], json!(31_536_000 - 86_400));
    tester.control(Method::PATCH, "/settings", json!({"refresh_expiry": "sliding"})).await;
    let third = tester.refresh(text(&second, "refresh_token")).await;
    assert_eq!(third["refresh_expires_in"], json!(31_536_000));
    tester.control(Method::POST, "/clock", json!({"advance_seconds": 31_536_000})).await;
    assert_eq!(tester.refresh(text(&third, "refresh_token")).await["error"], "invalid_grant");
    for wrong in [
        json!({"access_lifetime": 0}),
        json!({"oauth_error_status": 500}),
        json!({"unknown": 1}),
        json!({"lifetimes": "x"}),
    ] {
        assert_eq!(tester.control_raw(Method::PATCH, "/settings", wrong).await.status(), 400);
    }
}

#[tokio::test]
async fn revoking_takes_an_access_token_that_lives() {
    let tester = quick();
    let (open_id, first) = pair(&tester).await;
    let other = tester.grant(&open_id, &["user.info.basic"]).await;
    assert_eq!(body(tester.revoke(text(&first, "refresh_token")).await).await["error"], "invalid_request");
    tester.control(Method::POST, &format!("/users/{open_id}/expire"), json!({"access": true})).await;
    assert!(!works(&tester, &first).await);
    assert_eq!(body(tester.revoke(text(&first, "access_token")).await).await["error"], "invalid_request");

    // The grant lives on: a fresh token revokes it, and all others of the account.
    let fresh = tester.refresh(text(&first, "refresh_token")).await;
    tester.control(Method::PATCH, "/settings", json!({"revoke_answers_object": false})).await;
    let revoked = tester.revoke(text(&fresh, "access_token")).await;
    assert_eq!((revoked.status().as_u16(), revoked.text().await.unwrap().as_str()), (200, ""));
    assert!(!works(&tester, &fresh).await);
    assert_eq!(tester.refresh(text(&other, "refresh_token")).await["error"], "invalid_grant");
    assert_eq!(body(tester.revoke(text(&fresh, "access_token")).await).await["error"], "invalid_request");

    // Connecting again starts anew.
    let again = tester.grant(&open_id, &["user.info.basic"]).await;
    assert!(works(&tester, &again).await);
    assert_eq!(tester.refresh(text(&fresh, "refresh_token")).await["error"], "invalid_grant");
}

#[tokio::test]
async fn scopes_can_be_withdrawn_and_a_banned_creator_is_out() {
    let tester = quick();
    let (open_id, first) = pair(&tester).await;
    tester.control(Method::PUT, &format!("/users/{open_id}/scopes"), json!({"scopes": ["user.info.stats"]})).await;
    assert_eq!(tester.user_info(text(&first, "access_token"), "open_id").await.status(), 401);
    let second = tester.refresh(text(&first, "refresh_token")).await;
    assert_eq!(second["scope"], "user.info.stats");
    assert_eq!(tester.user_info(text(&second, "access_token"), "follower_count").await.status(), 200);
    tester.control(Method::PATCH, &format!("/users/{open_id}"), json!({"banned": true})).await;
    assert_eq!(tester.user_info(text(&second, "access_token"), "follower_count").await.status(), 401);
    assert_eq!(tester.refresh(text(&second, "refresh_token")).await["error"], "invalid_grant");
}

#[tokio::test]
async fn tokens_outlive_a_restart_but_not_another_secret() {
    let tester = quick();
    let (_, first) = pair(&tester).await;
    let second = tester.refresh(text(&first, "refresh_token")).await;
    tester.sandbox.stop().await;

    let restarted = quick();
    assert!(works(&restarted, &second).await);
    let third = restarted.refresh(text(&second, "refresh_token")).await;
    assert_ne!(third["refresh_token"], second["refresh_token"]);
    assert_eq!(restarted.refresh(text(&second, "refresh_token")).await["error"], "invalid_grant");

    let other = with(SandboxConfig { client_secret: "another".to_owned(), ..SandboxConfig::default() });
    assert!(!works(&other, &third).await);
}
