//! The past of the counters through the front door: TikTok's numbers grow, syncs see it, a client reads it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{System, within};

async fn history(system: &System, path: &str) -> Vec<Value> {
    let answer = system.client.get(&format!("/api/v1/creators/{path}/history?interval=raw")).await;
    answer.data(200)["items"].as_array().expect("items").clone()
}

fn all<'a>(items: &'a [Value], field: &str) -> Vec<&'a Value> {
    items.iter().map(|item| &item[field]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_grow_leave_a_past_and_a_disconnect_takes_it_along() {
    let system = System::start().await;
    let open_id = system.sandbox.user(3).await;
    let user = format!("/users/{open_id}");
    system.sandbox.control("PATCH", &user, Some(json!({"follower_count": 100}))).await;
    let listed = system.sandbox.control("GET", &format!("{user}/videos"), None).await;
    let videos: Vec<String> =
        listed["videos"].as_array().expect("videos").iter().map(|video| video["id"].to_string()).collect();
    let videos: Vec<&str> = videos.iter().map(|id| id.trim_matches('"')).collect();
    let counted = |views: i64| json!({"view_count": views, "like_count": 1, "comment_count": 2, "share_count": 3});
    for video in &videos {
        system.sandbox.change_video(&open_id, video, counted(10)).await;
    }
    let id = system.connect(&open_id).await;
    system.settled().await;
    assert_eq!(all(&history(&system, &id).await, "views"), [30], "the sync of the connection");
    system.client.sync(&id).await;
    assert_eq!(history(&system, &id).await.len(), 1, "nothing grew");

    for (followers, views) in [(101, 20), (150, 50)] {
        system.sandbox.control("PATCH", &user, Some(json!({"follower_count": followers}))).await;
        system.sandbox.change_video(&open_id, videos[0], counted(views)).await;
        system.client.sync(&id).await;
    }
    let points = history(&system, &id).await;
    assert_eq!(all(&points, "followers"), [100, 101, 150]);
    assert_eq!(all(&points, "views"), [30, 40, 70]);
    let profile = system.client.get(&format!("/api/v1/creators/{id}/profile")).await;
    assert_eq!(points[2]["at"], profile.data(200)["lastSyncedAt"]);
    assert_eq!(points[2]["likes"], profile.data(200)["stats"]["likes"]);
    let today = system.client.get(&format!("/api/v1/creators/{id}/history")).await;
    assert_eq!(today.data(200)["items"].as_array().expect("items").last(), points.last(), "the last value of the day");

    let ours = system.client.all_videos(&id).await;
    let ours =
        |external: &str| ours.iter().find(|video| video["externalId"] == external).expect("a video")["id"].clone();
    let path = |external: &str| format!("{id}/videos/{}", ours(external).as_str().expect("an id"));
    let first = history(&system, &path(videos[0])).await;
    assert_eq!(all(&first, "views"), [10, 20, 50]);
    assert_eq!(all(&first, "shares"), [3, 3, 3]);
    assert_eq!(history(&system, &path(videos[1])).await.len(), 1, "its counters never changed");
    // One that TikTok does not list any more counts no more, and keeps its past.
    system.sandbox.hide_video(&open_id, videos[0], true).await;
    system.client.sync(&id).await;
    assert_eq!(history(&system, &id).await.last().expect("a point")["views"], 20);
    assert_eq!(history(&system, &path(videos[0])).await.len(), 3);

    let video = path(videos[1]);
    system.client.delete(&format!("/api/v1/creators/{id}")).await.data(200);
    for path in [&id, &video] {
        assert_eq!(system.client.get(&format!("/api/v1/creators/{path}/history")).await.error(404), "not_found");
    }
    let rows = "SELECT (SELECT count(*) FROM creator_history) + (SELECT count(*) FROM video_history)";
    let left: i64 = system.sql().await.query_one(rows, &[]).await.expect("a count").get(0);
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_makes_the_coming_months_and_drops_what_is_older_than_it_is_kept() {
    let mut system = System::builder().workers(0).set("METRIQLAB_HISTORY_KEEP", "90days").start().await;
    let sql = system.sql().await;
    let old = "SELECT make_history_partitions(now() - interval '200 days', now());
        INSERT INTO creator_history (creator_id, at) SELECT gen_random_uuid(), now() - make_interval(days => n * 10 + 5)
        FROM generate_series(0, 19) AS n;
        DO $$ BEGIN EXECUTE 'DROP TABLE creator_history' || to_char(now() AT TIME ZONE 'UTC' + interval '1 month', '_YYYY_MM');
        END $$";
    sql.batch_execute(old).await.expect("partitions");
    system.add_worker();
    within(Duration::from_secs(200), "what is older than 90 days is gone, by whole months", async || {
        let row = sql
            .query_one(
                "SELECT (SELECT count(*) FROM creator_history WHERE at < now() - interval '122 days'),
                    (SELECT count(*) FROM creator_history WHERE at > now() - interval '90 days')",
                &[],
            )
            .await
            .expect("counts");
        let (old, kept): (i64, i64) = (row.get(0), row.get(1));
        // None is near to 90 days, where the time that passes here could decide.
        assert_eq!(kept, 9, "what is kept stays");
        (old == 0).then_some(())
    })
    .await;
    let next = "SELECT to_regclass('creator_history' || to_char(now() AT TIME ZONE 'UTC' + interval '1 month', '_YYYY_MM')) IS NOT NULL";
    assert!(sql.query_one(next, &[]).await.expect("a look").get::<_, bool>(0), "it is made before anything is dropped");
}
