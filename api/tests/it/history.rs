//! The past of the counters, as a client reads it.

use chrono::{SecondsFormat, TimeDelta, TimeZone as _, Utc};
use serde_json::{Value, json};
use shared::ids::CreatorId;

use crate::harness::World;

/// Points of a creator and of its video `v0` at these times; the video's id.
pub async fn write(world: &World, creator: CreatorId, times: &[&str]) -> String {
    let sql = world.sql().await;
    for (followers, at) in times.iter().enumerate() {
        let add = format!(
            "SELECT make_history_partitions('{at}', '{at}');
            INSERT INTO creator_history (creator_id, at, followers, likes, video_count, views)
            VALUES ('{creator}', '{at}', {followers}, 3, 1, 12400);
            INSERT INTO video_history (video_id, at, views, likes, comments)
            SELECT id, '{at}', {followers}, 890, 34 FROM videos WHERE creator_id = '{creator}' AND external_id = 'v0'"
        );
        sql.batch_execute(&add).await.expect("a point");
    }
    let query = format!("SELECT id::text FROM videos WHERE creator_id = '{creator}' AND external_id = 'v0'");
    sql.query_one(&query, &[]).await.expect("the video").get(0)
}

fn times(data: &Value) -> Vec<&str> {
    data["items"].as_array().expect("items").iter().map(|item| item["at"].as_str().expect("a time")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_is_the_contracts() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 1, Utc::now()).await;
    let path = format!("/api/v1/creators/{creator}");
    let empty = world.client.get(&format!("{path}/history")).await;
    assert_eq!(empty.data(200), &json!({"items": [], "nextCursor": null}));
    let video = write(&world, creator, &["2026-05-01T10:00:00.125Z"]).await;
    let range = "from=2026-05-01&to=2026-05-02";
    let history = world.client.get(&format!("{path}/history?{range}")).await;
    let item = json!({"at": "2026-05-01T10:00:00.125Z", "followers": 0, "following": null, "likes": 3, "videoCount": 1, "views": 12400});
    assert_eq!(history.data(200), &json!({"items": [item], "nextCursor": null}));
    let history = world.client.get(&format!("{path}/videos/{video}/history?{range}")).await;
    let item = json!({"at": "2026-05-01T10:00:00.125Z", "views": 0, "likes": 890, "comments": 34, "shares": null});
    assert_eq!(history.data(200), &json!({"items": [item], "nextCursor": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn intervals_ranges_and_pages_are_as_asked() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 1, Utc::now()).await;
    // A Sunday, the Monday after it, the last day of a month and the first of the next.
    let written = [
        "2026-05-24T23:59:59.999Z",
        "2026-05-25T00:00:00.000Z",
        "2026-05-25T23:00:00.000Z",
        "2026-05-31T23:59:59.999Z",
        "2026-06-01T00:00:00.000Z",
    ];
    let video = write(&world, creator, &written).await;
    let all = "from=2026-05-01&to=2026-07-01T00:00:00%2B02:00";
    for owner in [format!("/api/v1/creators/{creator}"), format!("/api/v1/creators/{creator}/videos/{video}")] {
        for (interval, expected) in
            [("raw", vec![0, 1, 2, 3, 4]), ("day", vec![0, 2, 3, 4]), ("week", vec![0, 3, 4]), ("month", vec![3, 4])]
        {
            let expected: Vec<&str> = expected.into_iter().map(|place: usize| written[place]).collect();
            let answer = world.client.get(&format!("{owner}/history?{all}&interval={interval}")).await;
            assert_eq!(times(answer.data(200)), expected, "{interval}");
            let (mut walked, mut cursor) = (Vec::new(), String::new());
            loop {
                let path = format!("{owner}/history?{all}&interval={interval}&limit=1&cursor={cursor}");
                let page = world.client.get(&path).await;
                assert_eq!(times(page.data(200)).len(), 1, "{interval}");
                walked.push(times(page.data(200))[0].to_owned());
                match page.data(200)["nextCursor"].as_str() {
                    Some(next) => next.clone_into(&mut cursor),
                    None => break,
                }
            }
            assert_eq!(walked, expected, "{interval}, page by page");
        }
        // From an instant on, up to and without another.
        let part = "interval=raw&from=2026-05-25&to=2026-06-01";
        let answer = world.client.get(&format!("{owner}/history?{part}")).await;
        assert_eq!(times(answer.data(200)), written[1..4]);
        // Thirty days before `to`.
        let answer = world.client.get(&format!("{owner}/history?interval=raw&to=2026-06-24")).await;
        assert_eq!(times(answer.data(200)), written[1..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_range_it_is_the_last_thirty_days() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 1, Utc::now()).await;
    let ago = |hours| (Utc::now() - TimeDelta::hours(hours)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let (old, new) = (ago(30 * 24 + 1), ago(30 * 24 - 1));
    write(&world, creator, &[&old, &new]).await;
    let answer = world.client.get(&format!("/api/v1/creators/{creator}/history")).await;
    assert_eq!(times(answer.data(200)), [new.as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_theirs_or_unknown_is_404_and_what_is_malformed_400() {
    let world = World::start().await;
    let (creator, other) = (world.creator("open-1").await, world.creator("open-2").await);
    world.add_videos(creator, 1, Utc.with_ymd_and_hms(2026, 5, 1, 0, 0, 0).unwrap()).await;
    let video = write(&world, creator, &["2026-05-01T10:00:00Z", "2026-05-02T10:00:00Z"]).await;
    let path = format!("/api/v1/creators/{creator}");
    world.client.get(&format!("{path}/videos/{video}/history")).await.data(200);
    let stranger = world.stranger().await;
    for path in [format!("{path}/history"), format!("{path}/videos/{video}/history")] {
        assert_eq!(stranger.get(&path).await.error(404), "not_found");
    }
    let unknown = uuid::Uuid::now_v7();
    for path in [
        format!("/api/v1/creators/{unknown}/history"),
        "/api/v1/creators/x/history".to_owned(),
        format!("{path}/videos/{unknown}/history"),
        format!("{path}/videos/x/history"),
        format!("{path}/videos/{}/history", video.to_uppercase()),
        format!("/api/v1/creators/{other}/videos/{video}/history"),
        format!("/api/v1/creators/x/videos/{video}/history"),
    ] {
        assert_eq!(world.client.get(&path).await.error(404), "not_found", "{path}");
    }
    let page = world.client.get(&format!("{path}/history?from=2026-05-01&limit=1")).await;
    let cursor = page.data(200)["nextCursor"].as_str().expect("a cursor").to_owned();
    for (owner, query, field) in [
        (&path, "interval=year".to_owned(), "interval"),
        (&path, "interval=".to_owned(), "interval"),
        (&path, "from=yesterday".to_owned(), "from"),
        (&path, "to=2026-02-30".to_owned(), "to"),
        (&path, "from=2026-05-02&to=2026-05-01".to_owned(), "from"),
        (&path, "limit=0".to_owned(), "limit"),
        (&path, "limit=1001".to_owned(), "limit"),
        (&path, "cursor=x".to_owned(), "cursor"),
        (&path, format!("interval=raw&cursor={cursor}"), "cursor"),
        (&format!("/api/v1/creators/{other}"), format!("cursor={cursor}"), "cursor"),
        (&format!("{path}/videos/{video}"), format!("cursor={cursor}"), "cursor"),
    ] {
        let answer = world.client.get(&format!("{owner}/history?{query}")).await;
        assert_eq!(answer.error(400), "invalid_request", "{query}");
        assert!(answer.message().starts_with(&format!("{field}: ")), "{query}: {}", answer.message());
    }
}
