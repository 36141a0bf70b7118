//! The five steps of the documentation, with the samples' shapes to the letter.

use serde_json::Value;

use shared::queue::Lane;

use crate::support::redis::contents;
use crate::support::{System, eventually};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn has_all(value: &Value, names: &[&str]) {
    let keys = keys(value);
    for name in names {
        assert!(keys.contains(name), "{name} is missing in {value}");
    }
}

fn is_timestamp(value: &Value) -> bool {
    let text = value.as_str().expect("a timestamp");
    text.len() == 24 && text.ends_with('Z') && text.as_bytes()[19] == b'.' && text.as_bytes()[10] == b'T'
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_list_sync_read_disconnect() {
    let system = System::start().await;
    let client = &system.client;
    let open_id = system.sandbox.user(45).await;

    let started = client.post("/api/v1/connect/tiktok").await;
    let data = started.data(200);
    assert!(data["authUrl"].as_str().unwrap().contains("/v2/auth/authorize/?"), "{data}");
    assert!(data["authUrl"].as_str().unwrap().contains(data["state"].as_str().unwrap()));

    let id = system.connect(&open_id).await;
    let listed = client.get("/api/v1/creators").await;
    let creators = listed.data(200).as_array().unwrap().clone();
    assert_eq!(creators.len(), 1);
    has_all(
        &creators[0],
        &["id", "platform", "username", "externalId", "stats", "status", "connectedAt", "lastSyncedAt"],
    );
    assert_eq!(creators[0]["id"], id);
    assert_eq!(creators[0]["platform"], "TIKTOK");
    assert_eq!(creators[0]["externalId"], open_id);
    assert_eq!(creators[0]["status"], "ACTIVE");
    let filtered = client.get(&format!("/api/v1/creators?externalId={open_id}&platform=TIKTOK")).await;
    assert_eq!(filtered.data(200).as_array().unwrap().len(), 1);

    client.sync(&id).await;

    let profile = client.get(&format!("/api/v1/creators/{id}/profile")).await;
    let profile = profile.data(200);
    has_all(
        profile,
        &[
            "id",
            "platform",
            "username",
            "stats",
            "connectedAt",
            "lastSyncedAt",
            "status",
            "displayName",
            "verified",
            "profileUrl",
            "missingScopes",
        ],
    );
    has_all(&profile["stats"], &["followers", "following", "likes", "videoCount", "bio", "avatarUrl"]);
    assert!(profile["stats"]["followers"].is_i64() || profile["stats"]["followers"].is_u64());
    assert_eq!(profile["missingScopes"], serde_json::json!([]));
    assert!(is_timestamp(&profile["connectedAt"]) && is_timestamp(&profile["lastSyncedAt"]));

    let page = client.get(&format!("/api/v1/creators/{id}/videos?limit=20&cursor=")).await;
    let page = page.data(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 20);
    has_all(
        &page["items"][0],
        &[
            "id",
            "externalId",
            "title",
            "views",
            "likes",
            "comments",
            "shares",
            "duration",
            "publishedAt",
            "url",
            "coverUrl",
            "description",
        ],
    );
    assert!(is_timestamp(&page["items"][0]["publishedAt"]));
    assert!(page["nextCursor"].is_string());
    let videos = client.all_videos(&id).await;
    assert_eq!(videos.len(), 45);
    assert!(videos.is_sorted_by(|one, next| one["publishedAt"].as_str() >= next["publishedAt"].as_str()));

    let gone = client.delete(&format!("/api/v1/creators/{id}")).await;
    assert_eq!(gone.data(200)["disconnected"], true);
    assert_eq!(client.get(&format!("/api/v1/creators/{id}")).await.error(404), "not_found");
    assert_eq!(client.delete(&format!("/api/v1/creators/{id}")).await.error(404), "not_found");
    assert_eq!(client.get("/api/v1/creators").await.data(200).as_array().unwrap().len(), 0);
    assert!(!system.sandbox.is_granted(&open_id).await, "TikTok has been told");
    nothing_is_left(&system).await;
}

/// Postgres holds nothing of a creator that was disconnected, and Redis nothing of jobs that are done.
async fn nothing_is_left(system: &System) {
    let sql = system.sql().await;
    for table in ["creators", "videos", "credentials", "creator_history", "video_history"] {
        let rows: i64 = sql.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0);
        assert_eq!(rows, 0, "{table}");
    }
    let jobs = sql.query("SELECT id::text FROM jobs", &[]).await.unwrap();
    let jobs: Vec<String> = jobs.iter().map(|row| row.get(0)).collect();
    assert!(jobs.len() >= 2, "a sync and a revocation: {jobs:?}");
    // Postgres has a job's last word a moment before Redis hears of it.
    let queue = system.queue();
    eventually("the lanes are empty", async || {
        for lane in Lane::ALL {
            let depth = queue.depth(lane).await.ok()?;
            if (depth.ready, depth.delayed, depth.running) != (0, 0, 0) {
                return None;
            }
        }
        Some(())
    })
    .await;
    for (key, text) in contents(&system.redis_url, &format!("*{}*", system.prefix())).await {
        let of_jobs = [":jobs", ":lines", ":solo", ":delayed", ":claims", ":crashes", ":waiting"];
        assert!(!of_jobs.iter().any(|name| key.ends_with(name)) && !key.contains(":inflight:"), "{key} holds {text}");
        let left = jobs.iter().find(|job| key.contains(job.as_str()) || text.contains(job.as_str()));
        assert_eq!(left, None, "{key} holds {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_projects_creator_is_not_found() {
    let system = System::start().await;
    let open_id = system.sandbox.user(3).await;
    let id = system.connect(&open_id).await;
    let stranger = system.client.with_key(&system.key("stranger").await);
    for path in ["", "/profile", "/videos"] {
        assert_eq!(stranger.get(&format!("/api/v1/creators/{id}{path}")).await.error(404), "not_found");
    }
    assert_eq!(stranger.post(&format!("/api/v1/creators/{id}/sync")).await.error(404), "not_found");
    assert_eq!(stranger.delete(&format!("/api/v1/creators/{id}")).await.error(404), "not_found");
    assert_eq!(stranger.get("/api/v1/creators").await.data(200).as_array().unwrap().len(), 0);
    assert_eq!(system.client.get(&format!("/api/v1/creators/{id}")).await.data(200)["id"], id);
}
