//! TikTok as it comes: its failures and its data.

use serde_json::json;

use crate::support::System;

#[tokio::test(flavor = "multi_thread")]
async fn every_passing_failure_is_a_success_to_the_caller() {
    let system = System::start().await;
    let open_id = system.sandbox.user(25).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    for endpoint in ["user_info", "video_list"] {
        for kind in ["internal_error", "bad_gateway", "empty_body", "truncated", "reset", "lost_answer", "error"] {
            system.sandbox.fault(json!({"endpoint": endpoint, "kind": kind, "times": 1})).await;
            let answer = system.client.post(&format!("/api/v1/creators/{id}/sync")).await;
            assert_eq!(answer.status, 200, "{endpoint} {kind}: {}", answer.body);
            let faults = system.sandbox.control("GET", "/faults", None).await;
            assert_eq!(faults["faults"][0]["hits"], 1, "{endpoint} {kind}");
            system.sandbox.clear_faults().await;
        }
    }
}

/// TikTok has made a new pair and forgotten the old one, and nobody knows the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_whose_answer_was_lost_asks_for_a_new_connection_which_heals_it() {
    let system = System::start().await;
    let open_id = system.sandbox.user(5).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    let expire = "UPDATE credentials SET issued_at = now() - interval '2h', access_expires_at = now()";
    system.sql().await.execute(expire, &[]).await.unwrap();
    system.sandbox.fault(json!({"endpoint": "token", "kind": "lost_answer", "times": 1})).await;
    let path = format!("/api/v1/creators/{id}");
    let answer = system.client.post(&format!("{path}/sync")).await;
    assert_eq!(answer.error(409), "reauthorization_required");
    assert_eq!(system.client.get(&path).await.data(200)["status"], "REAUTHORIZATION_REQUIRED");
    assert_eq!(system.connect(&open_id).await, id);
    system.client.sync(&id).await;
    assert_eq!(system.client.get(&path).await.data(200)["status"], "ACTIVE");
    assert_eq!(system.client.all_videos(&id).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_lasts_is_a_platform_error_and_marks_nobody() {
    let system = System::start().await;
    let open_id = system.sandbox.user(5).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    system.sandbox.fault(json!({"endpoint": "video_list", "kind": "internal_error"})).await;
    let start = std::time::Instant::now();
    let answer = system.client.post(&format!("/api/v1/creators/{id}/sync")).await;
    assert_eq!(answer.error(502), "platform_error");
    // All its tries take 15 s at most, as `worker/src/jobs/policy.rs` shows; the rest is a busy machine's.
    assert!(start.elapsed().as_secs() <= 45, "{:?}", start.elapsed());
    let creator = system.client.get(&format!("/api/v1/creators/{id}")).await;
    assert_eq!(creator.data(200)["status"], "ACTIVE");
    system.sandbox.clear_faults().await;
    system.client.sync(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_that_is_not_listed_any_more_is_not_listed_here_and_returns_under_its_id() {
    let system = System::start().await;
    let open_id = system.sandbox.user(30).await;
    let id = system.connect(&open_id).await;
    system.client.sync(&id).await;
    let before = system.client.all_videos(&id).await;
    let hidden = before[7].clone();
    let external = hidden["externalId"].as_str().unwrap().to_owned();
    system.sandbox.hide_video(&open_id, &external, true).await;
    system.client.sync(&id).await;
    let without = system.client.all_videos(&id).await;
    assert_eq!(without.len(), 29);
    assert!(!without.iter().any(|video| video["externalId"] == external.as_str()));
    // A listing that breaks off removes nothing.
    system.sandbox.fault(json!({"endpoint": "video_list", "kind": "repeated_cursor"})).await;
    system.client.post(&format!("/api/v1/creators/{id}/sync")).await;
    assert_eq!(system.client.all_videos(&id).await.len(), 29);
    system.sandbox.clear_faults().await;
    system.sandbox.hide_video(&open_id, &external, false).await;
    system.client.sync(&id).await;
    let after = system.client.all_videos(&id).await;
    assert_eq!(after.len(), 30);
    assert!(after.iter().any(|video| video["id"] == hidden["id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_scopes_sync_what_is_allowed_and_say_what_is_missing() {
    let system = System::start().await;
    let open_id = system.sandbox.user(5).await;
    let id = system.sandbox.connect_with(&system.client, &open_id, &["user.info.basic", "user.info.profile"]).await;
    system.client.sync(&id).await;
    let profile = system.client.get(&format!("/api/v1/creators/{id}/profile")).await;
    let profile = profile.data(200);
    assert_eq!(profile["missingScopes"], json!(["user.info.stats", "video.list"]));
    assert!(profile["stats"]["followers"].is_null(), "{profile}");
    assert!(profile["displayName"].is_string() && profile["username"].is_string());
    assert!(profile["lastSyncedAt"].is_string());
    assert_eq!(system.client.all_videos(&id).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_removal_asks_for_a_new_connection_and_stale_or_forged_ones_do_no_harm() {
    let system = System::start().await;
    let target = format!("{}/webhooks/tiktok", system.client.base);
    system.sandbox.settings(json!({"webhook_url": target})).await;
    let open_id = system.sandbox.user(3).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    let status = async || {
        let creator = system.client.get(&format!("/api/v1/creators/{id}")).await;
        creator.data(200)["status"].as_str().unwrap().to_owned()
    };
    let now = chrono::Utc::now().timestamp();
    for wrong in [
        json!({"event": "authorization.removed", "open_id": open_id, "reason": 1, "bad_signature": true}),
        json!({"event": "authorization.removed", "open_id": open_id, "reason": 1, "create_time": now - 3600}),
        json!({"event": "video.publish.completed", "open_id": open_id}),
    ] {
        system.sandbox.webhook(wrong).await;
        assert_eq!(status().await, "ACTIVE");
    }
    let removed = json!({"event": "authorization.removed", "open_id": open_id, "reason": 1, "create_time": now + 2});
    system.sandbox.webhook(removed.clone()).await;
    assert_eq!(status().await, "REAUTHORIZATION_REQUIRED");
    system.sandbox.webhook(removed).await;
    let creator = system.client.get(&format!("/api/v1/creators/{id}")).await;
    assert!(creator.data(200)["statusReason"].is_string(), "{}", creator.body);
    assert_eq!(system.client.post(&format!("/api/v1/creators/{id}/sync")).await.error(409), "reauthorization_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_data_arrives_as_it_was_said() {
    let system = System::start().await;
    let large = 9_007_199_254_740_993_i64;
    let open_id = system
        .sandbox
        .make_user(json!({
            "videos": 50,
            "per_second": 7,
            "profile": {"follower_count": large, "likes_count": null, "bio_description": "a\u{0}b<script>\u{1F600}"},
        }))
        .await;
    system.sandbox.fault(json!({"endpoint": "video_list", "kind": "numeric_strings", "times": 1})).await;
    let id = system.connect(&open_id).await;
    system.client.sync(&id).await;
    let profile = system.client.get(&format!("/api/v1/creators/{id}/profile")).await;
    let stats = profile.data(200)["stats"].clone();
    assert_eq!(stats["followers"].as_i64(), Some(large), "no float on the way");
    assert!(stats["likes"].is_null(), "absent is not zero");
    assert_eq!(stats["bio"], "ab<script>\u{1F600}");
    let videos = system.client.all_videos(&id).await;
    let distinct: std::collections::HashSet<&str> =
        videos.iter().map(|video| video["externalId"].as_str().unwrap()).collect();
    assert_eq!((videos.len(), distinct.len()), (50, 50), "videos of one second, each once");
    assert!(videos.iter().all(|video| video["views"].is_i64() || video["views"].is_u64()));
    let first = videos[0]["externalId"].as_str().unwrap();
    system.sandbox.change_video(&open_id, first, json!({"view_count": null, "like_count": 3})).await;
    system.client.sync(&id).await;
    let changed = system.client.all_videos(&id).await;
    let changed = changed.iter().find(|video| video["externalId"] == first).unwrap();
    assert!(changed["views"].is_null() && changed["likes"] == 3, "{changed}");
}
