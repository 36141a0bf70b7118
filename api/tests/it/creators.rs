//! The list of creators, one creator, the profile.

use std::collections::HashSet;

use serde_json::{Value, json};
use shared::platforms::Profile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::World;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// The names of the fields of the first object in `text` behind `start`, in the order in which they are written.
fn order(text: &str, names: &[&str]) {
    let places: Vec<_> = names.iter().map(|name| text.find(&format!("\"{name}\":")).expect(name)).collect();
    assert!(places.is_sorted(), "{names:?} in {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_did_not_say_is_null() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let list = world.client.get("/api/v1/creators").await;
    let one = &list.data(200)[0];
    assert_eq!(one["id"], creator.to_string());
    assert_eq!(one["platform"], "TIKTOK");
    assert_eq!(one["externalId"], "open-1");
    assert_eq!(one["status"], "ACTIVE");
    for name in ["username", "statusReason", "lastSyncedAt"] {
        assert!(one[name].is_null() && keys(one).contains(&name), "{name}");
    }
    let stats = &one["stats"];
    assert_eq!(keys(stats), ["avatarUrl", "bio", "followers", "following", "likes", "videoCount"]);
    assert!(stats.as_object().expect("an object").values().all(Value::is_null));
    let at = one["connectedAt"].as_str().expect("a time");
    assert!(at.len() == 24 && at.ends_with('Z') && &at[19..20] == ".", "{at}");
    let names = ["id", "platform", "username", "externalId", "stats", "status", "connectedAt", "lastSyncedAt"];
    order(&list.text, &names);
    assert!(list.body.get("nextCursor").is_none());
    assert_eq!(world.client.get(&format!("/api/v1/creators/{creator}")).await.data(200), one, "as in the list");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_the_contracts() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let profile = Profile {
        external_id: None,
        username: Some("Spikewmu".into()),
        display_name: Some("Spike".into()),
        bio: Some("It's \"me\" \u{1f600}\n".into()),
        avatar_url: Some("https://a.example/1".into()),
        profile_url: Some("https://t.example/@s".into()),
        verified: Some(false),
        followers: Some(9_007_199_254_740_993),
        following: Some(0),
        likes: None,
        video_count: Some(11),
    };
    world.store.save_first_profile(creator, &profile).await.expect("saved");
    let update =
        "UPDATE creators SET connected_at = '2026-06-13 01:50:23.1029+00', last_synced_at = '2026-06-14 00:00:00+00',
        missing_scopes = 'user.info.stats,video.list', status = 'REAUTHORIZATION_REQUIRED', status_reason = 'why'";
    world.sql().await.batch_execute(update).await.expect("updated");
    let answer = world.client.get(&format!("/api/v1/creators/{creator}/profile")).await;
    let expected = json!({
        "id": creator.to_string(), "platform": "TIKTOK", "username": "Spikewmu",
        "stats": {"followers": 9_007_199_254_740_993_i64, "following": 0, "likes": null, "videoCount": 11,
            "bio": "It's \"me\" \u{1f600}\n", "avatarUrl": "https://a.example/1"},
        "connectedAt": "2026-06-13T01:50:23.102Z", "lastSyncedAt": "2026-06-14T00:00:00.000Z",
        "status": "REAUTHORIZATION_REQUIRED", "statusReason": "why", "displayName": "Spike", "verified": false,
        "profileUrl": "https://t.example/@s", "missingScopes": ["user.info.stats", "video.list"],
        "externalRef": null,
    });
    assert_eq!(answer.data(200), &expected);
    assert!(answer.text.contains("9007199254740993"), "beyond 2^53, and still a whole number");
    let names = ["id", "platform", "username", "stats", "connectedAt", "lastSyncedAt", "status"];
    order(&answer.text, &names);
    order(&answer.text, &["followers", "following", "likes", "videoCount", "bio", "avatarUrl"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_oldest_first_and_without_who_is_leaving() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(world.creator(&format!("open-{number}")).await.to_string());
    }
    let listed = |answer: &Value| -> Vec<String> {
        answer.as_array().expect("a list").iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(listed(world.client.get("/api/v1/creators").await.data(200)), ids);
    assert_eq!(listed(world.client.get("/api/v1/creators?platform=TIKTOK").await.data(200)), ids);
    assert!(listed(world.client.get("/api/v1/creators?platform=YOUTUBE").await.data(200)).is_empty());
    assert_eq!(listed(world.client.get("/api/v1/creators?externalId=open-2").await.data(200)), ids[2..3]);
    assert!(listed(world.client.get("/api/v1/creators?externalId=").await.data(200)).is_empty());
    world.store.disconnect(world.project, ids[0].parse().expect("an id"), None).await.expect("disconnected");
    assert_eq!(listed(world.client.get("/api/v1/creators").await.data(200)), ids[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_every_creator_once() {
    let world = World::start().await;
    world.add_creators(101).await;
    for limit in [1, 7, 100, 101, 500] {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = world.client.get(&format!("/api/v1/creators?limit={limit}&cursor={cursor}")).await;
            let data = page.data(200).as_array().expect("a list").clone();
            assert!(data.len() <= limit);
            seen.extend(data.iter().map(|one| one["id"].as_str().expect("an id").to_owned()));
            pages += 1;
            match &page.body["nextCursor"] {
                Value::String(next) => cursor.clone_from(next),
                Value::Null => break,
                other => panic!("{other}"),
            }
        }
        assert_eq!((seen.len(), pages), (101, 101_usize.div_ceil(limit)), "limit {limit}");
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 101);
    }
    let page = world.client.get("/api/v1/creators?limit=1").await;
    let cursor = page.body["nextCursor"].as_str().expect("a cursor");
    let stranger = world.stranger().await;
    assert_eq!(stranger.get(&format!("/api/v1/creators?limit=1&cursor={cursor}")).await.error(400), "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_list_is_streamed_and_is_one_json() {
    let world = World::start().await;
    for number in [1_i64, 499, 1, 1500] {
        // 1, then 500, 501 and 2,001 creators: below, at and above the size of a chunk.
        if number == 1 && world.client.get("/api/v1/creators").await.data(200) == &json!([]) {
            world.add_creators(1).await;
        } else {
            let insert = format!(
                "INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at)
                SELECT gen_random_uuid(), project_id, credential_id, platform, gen_random_uuid()::text, now()
                FROM (SELECT * FROM creators LIMIT 1) AS first, generate_series(1, {number})"
            );
            world.sql().await.batch_execute(&insert).await.expect("creators");
        }
        let count: i64 = world.sql().await.query_one("SELECT count(*) FROM creators", &[]).await.expect("a row").get(0);
        let answer = world.client.get("/api/v1/creators").await;
        let ids: HashSet<_> =
            answer.data(200).as_array().expect("a list").iter().map(|one| one["id"].to_string()).collect();
        assert_eq!(i64::try_from(ids.len()), Ok(count));
        assert_eq!(answer.body.as_object().expect("an object").len(), 2, "success and data alone");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_cut_short_does_not_look_whole() {
    let world = World::start().await;
    world.add_creators(50_000).await;
    let address = world.base.trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connected");
    let request =
        format!("GET /api/v1/creators HTTP/1.1\r\nhost: {address}\r\nx-api-key: {}\r\n\r\n", world.client.key);
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = vec![0; 1000];
    stream.read_exact(&mut text).await.expect("the beginning");
    assert!(String::from_utf8_lossy(&text).starts_with("HTTP/1.1 200"));
    // The table is gone in the middle of the list.
    world.sql().await.batch_execute("ALTER TABLE creators RENAME TO gone").await.expect("renamed");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the last chunk says that all is well");
    assert!(!String::from_utf8_lossy(&rest).contains("]}"), "the JSON is closed");
}
