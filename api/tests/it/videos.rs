//! Pages of videos.

use std::collections::HashSet;

use chrono::{TimeZone as _, Utc};
use serde_json::{Value, json};

use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_video_is_the_contracts() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let empty = world.client.get(&format!("/api/v1/creators/{creator}/videos")).await;
    assert_eq!(empty.data(200), &json!({"items": [], "nextCursor": null}));
    world.add_videos(creator, 1, Utc.with_ymd_and_hms(2026, 5, 1, 0, 0, 0).unwrap()).await;
    let update = "UPDATE videos SET views = 12400, likes = 890, comments = 34, shares = 12, duration = 30, url = 'u'";
    world.sql().await.batch_execute(update).await.expect("updated");
    let page = world.client.get(&format!("/api/v1/creators/{creator}/videos?limit=20&cursor=")).await;
    let item = page.data(200)["items"][0].clone();
    let expected = json!({
        "id": item["id"], "externalId": "v0", "title": "A title", "views": 12400, "likes": 890, "comments": 34,
        "shares": 12, "duration": 30, "publishedAt": "2026-05-01T00:00:00.000Z", "url": "u", "coverUrl": null,
        "description": null,
    });
    assert_eq!(item, expected);
    assert!(page.data(200)["nextCursor"].is_null());
    assert!(page.text.contains(r#""externalId":"v0","title":"A title","views":12400,"likes":890,"comments":34,"shares":12,"duration":30,"publishedAt":"#));
}

async fn walk(world: &World, creator: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.client.get(&format!("/api/v1/creators/{creator}/videos?limit={limit}&cursor={cursor}")).await;
        let data = page.data(200);
        let part = data["items"].as_array().expect("items").clone();
        assert!(part.len() <= limit && !part.is_empty());
        items.extend(part);
        match data["nextCursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return items,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_every_video_once_newest_first() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 205, Utc::now()).await;
    // Half of them in one second: only the id tells them apart.
    let update = "UPDATE videos SET published_at = date_trunc('second', now()) WHERE views % 2 = 0";
    world.sql().await.batch_execute(update).await.expect("updated");
    let default = world.client.get(&format!("/api/v1/creators/{creator}/videos")).await;
    assert_eq!(default.data(200)["items"].as_array().expect("items").len(), 20);
    for limit in [1, 20, 41, 100] {
        let items = walk(&world, &creator.to_string(), limit).await;
        assert_eq!(items.len(), 205, "limit {limit}");
        let ids: HashSet<_> = items.iter().map(|item| item["id"].as_str()).collect();
        assert_eq!(ids.len(), 205);
        assert!(items.is_sorted_by(|a, b| a["publishedAt"].as_str() >= b["publishedAt"].as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_during_a_sync_shows_what_was_there_once() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 60, Utc::now() - chrono::TimeDelta::hours(1)).await;
    let first = world.client.get(&format!("/api/v1/creators/{creator}/videos?limit=30")).await;
    let cursor = first.data(200)["nextCursor"].as_str().expect("a cursor").to_owned();
    // A sync brings new videos, newer counts, and hides one of the first page.
    let change = format!(
        "INSERT INTO videos (id, creator_id, external_id, published_at)
            SELECT gen_random_uuid(), '{creator}', 'new' || n, now() FROM generate_series(1, 10) AS n;
        UPDATE videos SET views = views + 1000;
        UPDATE videos SET listed = false WHERE external_id = 'v3'"
    );
    world.sql().await.batch_execute(&change).await.expect("changed");
    let second = world.client.get(&format!("/api/v1/creators/{creator}/videos?limit=100&cursor={cursor}")).await;
    let external = |answer: &Value| -> HashSet<String> {
        answer["items"].as_array().expect("items").iter().map(|item| item["externalId"].to_string()).collect()
    };
    let (first, second) = (external(first.data(200)), external(second.data(200)));
    assert!(first.is_disjoint(&second));
    assert_eq!(first.len() + second.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_pages_the_creator_that_it_is_of() {
    let world = World::start().await;
    let (one, other) = (world.creator("open-1").await, world.creator("open-2").await);
    world.add_videos(one, 3, Utc::now()).await;
    let page = world.client.get(&format!("/api/v1/creators/{one}/videos?limit=1")).await;
    let videos = page.data(200)["nextCursor"].as_str().expect("a cursor").to_owned();
    let page = world.client.get("/api/v1/creators?limit=1").await;
    let creators = page.body["nextCursor"].as_str().expect("a cursor").to_owned();
    for path in [
        format!("/api/v1/creators/{other}/videos?cursor={videos}"),
        format!("/api/v1/creators/{one}/videos?cursor={creators}"),
        format!("/api/v1/creators?limit=1&cursor={videos}"),
    ] {
        let answer = world.client.get(&path).await;
        assert_eq!(answer.error(400), "invalid_request", "{path}");
        assert!(answer.message().starts_with("cursor: "));
    }
}
