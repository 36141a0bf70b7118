//! Which creators, and which videos in which order.

use std::collections::HashSet;

use chrono::{TimeDelta, TimeZone as _, Utc};
use serde_json::Value;
use shared::platforms::Profile;

use crate::harness::World;

fn ids(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn creators_are_filtered_by_status_and_change() {
    let world = World::start().await;
    let mut all = Vec::new();
    for number in 0..4 {
        all.push(world.creator(&format!("open-{number}")).await);
    }
    let refuse = format!("UPDATE creators SET status = 'REAUTHORIZATION_REQUIRED' WHERE id = '{}'", all[1]);
    world.sql().await.batch_execute(&refuse).await.expect("refused");
    // Whatever the clock of this machine says: one instant before and one after.
    let instant = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let before: String = world.sql().await.query_one(instant, &[]).await.expect("a time").get(0);
    let profile = Profile { followers: Some(5), ..Profile::default() };
    world.store.save_first_profile(all[2], &profile).await.expect("saved");
    let after: String = world.sql().await.query_one(instant, &[]).await.expect("a time").get(0);
    // A change that no client sees is none.
    world.sql().await.batch_execute("UPDATE creators SET next_sync_at = now()").await.expect("changed");
    for (query, expected) in [
        ("status=ACTIVE".to_owned(), vec![0, 2, 3]),
        ("status=REAUTHORIZATION_REQUIRED".to_owned(), vec![1]),
        (format!("updatedSince={before}"), vec![2]),
        (format!("updatedSince={after}"), vec![]),
        ("updatedSince=2020-01-01".to_owned(), vec![0, 1, 2, 3]),
        (format!("updatedSince={before}&status=REAUTHORIZATION_REQUIRED"), vec![]),
        (format!("updatedSince={before}&status=ACTIVE&platform=TIKTOK"), vec![2]),
    ] {
        let expected: Vec<String> = expected.into_iter().map(|at: usize| all[at].to_string()).collect();
        let whole = world.client.get(&format!("/api/v1/creators?{query}")).await;
        assert_eq!(ids(whole.data(200)), expected, "{query}");
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.client.get(&format!("/api/v1/creators?{query}&limit=1&cursor={cursor}")).await;
            walked.extend(ids(page.data(200)));
            match page.body["nextCursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        assert_eq!(walked, expected, "{query}, page by page");
    }
}

/// Videos whose counters are equal, unknown and different, in every mixture.
async fn videos(world: &World) -> String {
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 40, Utc.with_ymd_and_hms(2026, 5, 1, 0, 0, 0).unwrap()).await;
    let counters = "UPDATE videos SET likes = CASE WHEN views % 3 = 0 THEN NULL ELSE views % 5 END,
        comments = CASE WHEN views % 4 = 0 THEN NULL ELSE 7 END, shares = NULL,
        views = CASE WHEN views = 11 THEN 9223372036854775807 ELSE views END";
    world.sql().await.batch_execute(counters).await.expect("counters");
    format!("/api/v1/creators/{creator}/videos")
}

#[tokio::test(flavor = "multi_thread")]
async fn videos_are_walked_in_every_order() {
    let world = World::start().await;
    let path = videos(&world).await;
    for sort in ["publishedAt", "views", "likes", "comments", "shares"] {
        for order in ["asc", "desc"] {
            for limit in [1, 7, 100] {
                let (mut items, mut cursor) = (Vec::new(), String::new());
                loop {
                    let query = format!("{path}?sort={sort}&order={order}&limit={limit}&cursor={cursor}");
                    let page = world.client.get(&query).await;
                    items.extend(page.data(200)["items"].as_array().expect("items").clone());
                    match page.data(200)["nextCursor"].as_str() {
                        Some(next) => next.clone_into(&mut cursor),
                        None => break,
                    }
                }
                let seen: HashSet<_> = items.iter().map(|item| item["id"].to_string()).collect();
                assert_eq!((items.len(), seen.len()), (40, 40), "{sort} {order} {limit}");
                let known = items.iter().position(|item| item[sort].is_null()).unwrap_or(items.len());
                assert!(
                    items[known..].iter().all(|item| item[sort].is_null()),
                    "{sort} {order}: unknown ones come last"
                );
                let values =
                    items[..known].iter().map(|item| (item[sort].as_i64(), item[sort].as_str().map(str::to_owned)));
                let mut values: Vec<_> = values.collect();
                if order == "desc" {
                    values.reverse();
                }
                assert!(values.is_sorted(), "{sort} {order}: {values:?}");
            }
        }
    }
    let newest = world.client.get(&path).await;
    let named = world.client.get(&format!("{path}?sort=publishedAt&order=desc")).await;
    assert_eq!(newest.data(200), named.data(200), "the default");
}

#[tokio::test(flavor = "multi_thread")]
async fn videos_are_filtered_by_their_time() {
    let world = World::start().await;
    let path = videos(&world).await;
    let newest = Utc.with_ymd_and_hms(2026, 5, 1, 0, 0, 0).unwrap();
    let at = |seconds| (newest - TimeDelta::seconds(seconds)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    for (query, expected) in [
        (format!("from={}", at(9)), 10),
        (format!("to={}", at(9)), 30),
        (format!("from={}&to={}", at(9), at(4)), 5),
        ("from=2026-05-01".to_owned(), 1),
        ("to=2026-05-01".to_owned(), 39),
        ("from=2026-05-02".to_owned(), 0),
        (format!("from={}&to={}", at(5), at(5)), 0),
    ] {
        for sort in ["publishedAt", "likes"] {
            let page = world.client.get(&format!("{path}?{query}&sort={sort}&limit=100")).await;
            assert_eq!(page.data(200)["items"].as_array().expect("items").len(), expected, "{query} {sort}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_of_its_sort_and_order_and_wrong_words_are_named() {
    let world = World::start().await;
    let path = videos(&world).await;
    let page = world.client.get(&format!("{path}?sort=views&limit=1")).await;
    let cursor = page.data(200)["nextCursor"].as_str().expect("a cursor").to_owned();
    world.client.get(&format!("{path}?sort=views&order=desc&cursor={cursor}")).await.data(200);
    for (query, field) in [
        (format!("{path}?cursor={cursor}"), "cursor"),
        (format!("{path}?sort=views&order=asc&cursor={cursor}"), "cursor"),
        (format!("{path}?sort=likes&cursor={cursor}"), "cursor"),
        (format!("{path}?sort=title"), "sort"),
        (format!("{path}?sort="), "sort"),
        (format!("{path}?order=up"), "order"),
        (format!("{path}?from=soon"), "from"),
        (format!("{path}?from=2026-05-02&to=2026-05-01"), "from"),
        (format!("{path}?to=%00"), "to"),
        ("/api/v1/creators?status=GONE".to_owned(), "status"),
        ("/api/v1/creators?status=active&limit=1".to_owned(), "status"),
        ("/api/v1/creators?updatedSince=x".to_owned(), "updatedSince"),
        ("/api/v1/creators?updatedSince=2026-01-01&updatedSince=2026-01-01".to_owned(), "updatedSince"),
        ("/api/v1/creators?externalRef=a%00b".to_owned(), "externalRef"),
    ] {
        let answer = world.client.get(&query).await;
        assert_eq!(answer.error(400), "invalid_request", "{query}");
        assert!(answer.message().starts_with(&format!("{field}: ")), "{query}: {}", answer.message());
    }
}
