//! The creators: deterministic, growing, and changed by tests.

use crate::support::{PROFILE_FIELDS, Tester, body, quick, with};
use reqwest::Method;
use sandbox::SandboxConfig;
use serde_json::{Value, json};

const VIDEO_FIELDS: &str =
    "id,create_time,title,video_description,duration,view_count,like_count,comment_count,share_count";

async fn demo_access(tester: &Tester, index: usize) -> String {
    let users = tester.control(Method::GET, &format!("/users?offset={index}&limit=1"), Value::Null).await;
    let grant = json!({"open_id": users["users"][0]["open_id"], "tokens": true});
    tester.control(Method::POST, "/grants", grant).await["access_token"].as_str().unwrap().to_owned()
}

async fn at(tester: &Tester, seconds: i64) {
    let clock = json!({"frozen": true, "set_ms": seconds * 1000});
    tester.control(Method::POST, "/clock", clock).await;
}

#[tokio::test]
async fn one_seed_makes_one_world() {
    let (a, b) = (quick(), quick());
    let other = with(SandboxConfig { seed: 2, ..SandboxConfig::default() });
    let mut seen = Vec::new();
    for tester in [&a, &b, &other] {
        at(tester, 1_790_000_000).await;
        let access = demo_access(tester, 5).await;
        let profile = tester.user(&access, PROFILE_FIELDS).await;
        let (made, _) = tester.creator(json!({"videos": 3})).await;
        seen.push((profile, tester.walk(&access, VIDEO_FIELDS, 20).await, made));
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0].0, seen[2].0);
}

#[tokio::test]
async fn numbers_grow_and_videos_appear() {
    let tester = quick();
    at(&tester, 1_790_000_000).await;
    let access = demo_access(&tester, 0).await;
    let before = (tester.user(&access, PROFILE_FIELDS).await, tester.walk(&access, VIDEO_FIELDS, 20).await);
    tester.control(Method::POST, "/clock", json!({"advance_seconds": 60 * 86_400})).await;
    let access = demo_access(&tester, 0).await;
    let after = (tester.user(&access, PROFILE_FIELDS).await, tester.walk(&access, VIDEO_FIELDS, 20).await);
    for counter in ["follower_count", "likes_count", "video_count"] {
        assert!(after.0[counter].as_i64() > before.0[counter].as_i64(), "{counter}");
    }
    assert_eq!(after.0["video_count"], json!(after.1.len()));
    let newest = before.1[0]["id"].as_str().unwrap();
    let later = after.1.iter().find(|video| video["id"] == newest).unwrap();
    assert!(later["view_count"].as_i64() >= before.1[0]["view_count"].as_i64());
}

#[tokio::test]
async fn a_hundred_thousand_creators_and_twenty_thousand_videos_cost_nothing() {
    let tester = with(SandboxConfig { demo_creators: 100_000, rate_limit: 0, ..SandboxConfig::default() });
    let access = demo_access(&tester, 99_999).await;
    assert!(tester.user(&access, "open_id").await["open_id"].is_string());
    let (_, access) = tester.creator(json!({"videos": 20_000, "spacing_seconds": 600})).await;
    assert_eq!(tester.user(&access, "video_count").await["video_count"], json!(20_000));
    assert_eq!(tester.walk(&access, "id", 20).await.len(), 20_000);
}

#[tokio::test]
async fn a_profile_can_be_changed_and_fields_can_be_absent() {
    let tester = quick();
    let (open_id, access) = tester.creator(json!({"profile": {"display_name": "A"}})).await;
    let path = format!("/users/{open_id}");
    let nasty = "x\u{0}<script>alert(1)</script>";
    let changes = json!({"display_name": nasty, "username": "new.name", "follower_count": 9_007_199_254_740_993_i64,
        "following_count": 1, "likes_count": null, "bio_description": null});
    tester.control(Method::PATCH, &path, changes).await;
    let fields = "display_name,username,follower_count,following_count,likes_count,bio_description,profile_deep_link";
    let user = tester.user(&access, fields).await;
    assert_eq!(user["display_name"], nasty);
    assert_eq!(user["follower_count"], json!(9_007_199_254_740_993_i64));
    assert!(user["profile_deep_link"].as_str().unwrap().contains("@new.name"));
    assert!(user.get("likes_count").is_none() && user.get("bio_description").is_none());
    tester.control(Method::PATCH, &path, json!({"follower_count": 3})).await;
    let user = tester.user(&access, fields).await;
    assert_eq!((&user["follower_count"], &user["username"]), (&json!(3), &json!("new.name")));

    // The consent page shows the text, and never as markup.
    let page = tester.http.get(tester.authorize_url(&[])).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("alert(1)") && !page.contains("<script>"));

    tester.control(Method::DELETE, &format!("{path}/changes"), Value::Null).await;
    assert_ne!(tester.user(&access, "display_name").await["display_name"], nasty);
    for wrong in [json!({"follower_count": "3"}), json!({"unknown": 1}), json!([])] {
        assert_eq!(tester.control_raw(Method::PATCH, &path, wrong).await.status(), 400);
    }
    assert_eq!(tester.control_raw(Method::PATCH, "/users/nobody", json!({})).await.status(), 404);
}

#[tokio::test]
async fn videos_can_be_added_changed_hidden_and_deleted() {
    let tester = quick();
    let (open_id, access) = tester.creator(json!({"videos": 3})).await;
    let path = format!("/users/{open_id}/videos");
    let likes = tester.user(&access, "likes_count").await["likes_count"].as_i64().unwrap();
    let old = tester.walk(&access, "id,create_time", 20).await;
    let between = old[1]["create_time"].as_i64().unwrap() + 1;
    let added = json!({"count": 2, "create_time": between, "changes": {"title": "T", "view_count": null}});
    let added = tester.control(Method::POST, &path, added).await;
    let ids = async || -> Vec<Value> {
        tester.walk(&access, "id", 20).await.iter().map(|video| video["id"].clone()).collect()
    };
    let all = ids().await;
    assert_eq!((all.len(), &all[0], &all[3]), (5, &old[0]["id"], &old[1]["id"]));
    assert_eq!(tester.user(&access, "video_count").await["video_count"], json!(5));
    let added_id = added["videos"][0]["id"].as_str().unwrap();
    let found = body(tester.query(&access, "title,view_count,like_count", &[added_id]).await).await;
    assert_eq!(found["data"]["videos"][0]["title"], "T");
    assert!(found["data"]["videos"][0].get("view_count").is_none());
    assert!(found["data"]["videos"][0]["like_count"].is_i64());

    let one = |id: &Value| format!("{path}/{}", id.as_str().unwrap());
    tester.control(Method::PATCH, &one(&all[0]), json!({"hidden": true})).await;
    tester.control(Method::DELETE, &one(&all[1]), Value::Null).await;
    tester.control(Method::DELETE, &one(&all[4]), Value::Null).await;
    assert_eq!(ids().await, all[2..4]);
    let user = tester.user(&access, "video_count,likes_count").await;
    assert_eq!(user["video_count"], json!(2));
    assert!(user["likes_count"].as_i64().unwrap() < likes);
    tester.control(Method::PATCH, &one(&all[0]), json!({"hidden": false})).await;
    assert_eq!(ids().await.len(), 3);
    assert_eq!(tester.control_raw(Method::DELETE, &one(&all[1]), Value::Null).await.status(), 404);

    tester.control(Method::PATCH, &format!("/users/{open_id}"), json!({"private": true})).await;
    assert!(ids().await.is_empty());
    let found = body(tester.query(&access, "id", &[added_id]).await).await;
    assert_eq!(found["data"]["videos"], json!([]));
}
