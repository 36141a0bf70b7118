//! Syncs: what TikTok said is what is read, whatever it said and however it said it.

use std::collections::HashSet;
use std::time::Duration;

use futures::FutureExt as _;
use serde_json::{Value, json};
use shared::ids::CreatorId;
use shared::queue::{Final, Lane, Sweep, Waiter};
use shared::store::creators::Status;
use shared::store::jobs::JobState;
use tokio::time::Instant;

use crate::support::{SCOPES, System, wait_for};

fn id_of(video: &Value) -> String {
    video["id"].as_str().expect("an id").to_owned()
}

async fn ids(system: &System, creator: CreatorId) -> HashSet<String> {
    system.videos(creator).await.into_iter().map(|video| video.external_id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_shows_what_the_platform_said() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(45).await;
    // Counters grow with time, but not with this clock.
    system.control("POST", "/clock", json!({ "frozen": true })).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);

    let said = system.control("GET", &format!("/users/{open_id}"), Value::Null).await;
    let creator = system.creator(connected.creator).await;
    assert_eq!(creator.username.as_deref(), said["username"].as_str());
    assert_eq!(creator.display_name.as_deref(), said["display_name"].as_str());
    assert_eq!(creator.followers, said["follower_count"].as_i64());
    assert_eq!(creator.following, said["following_count"].as_i64());
    assert_eq!(creator.likes, said["likes_count"].as_i64());
    assert_eq!(creator.video_count, Some(45));
    assert_eq!(creator.missing_scopes, "");
    assert!(creator.last_synced_at.is_some());

    let (said, read) = (system.listed(&open_id).await, system.videos(connected.creator).await);
    assert_eq!(read.len(), 45);
    for (said, read) in said.iter().zip(&read) {
        assert_eq!(read.external_id, id_of(said));
        assert_eq!(read.title.as_deref(), said["title"].as_str());
        assert_eq!(read.published_at.timestamp(), said["create_time"].as_i64().expect("a time"));
        let counters = [read.views, read.likes, read.comments, read.shares];
        let said = ["view_count", "like_count", "comment_count", "share_count"].map(|name| said[name].as_i64());
        assert_eq!(counters, said);
    }
    let job = system.job(connected.sync.expect("a first sync")).await;
    assert_eq!((job.state, job.attempts, job.error), (JobState::Done, 1, None));
    // One request for the profile, three for the videos.
    assert_eq!(system.requests(&open_id, "path=/v2/user/info/").await, 1);
    assert_eq!(system.requests(&open_id, "path=/v2/video/list/").await, 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_come_as_they_are_absent_huge_or_in_quotes() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(3).await;
    let listed = system.listed(&open_id).await;
    let change = async |number: usize, changes: Value| {
        let path = format!("/users/{open_id}/videos/{}", id_of(&listed[number]));
        system.control("PATCH", &path, changes).await;
    };
    let huge = 9_007_199_254_740_993_i64;
    change(0, json!({ "view_count": huge, "like_count": null, "title": null })).await;
    change(1, json!({ "view_count": null, "title": "a\u{0}b", "video_description": "\u{0}" })).await;
    system.control("PATCH", &format!("/users/{open_id}"), json!({ "follower_count": null, "likes_count": huge })).await;
    system.fault(json!({ "endpoint": "video_list", "kind": "numeric_strings" })).await;
    system.fault(json!({ "endpoint": "user_info", "kind": "numeric_strings" })).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    let read = system.videos(connected.creator).await;
    assert_eq!((read[0].views, read[0].likes, read[0].title.as_deref()), (Some(huge), None, None));
    assert_eq!(read[1].views, None);
    let title = read[1].title.as_deref().expect("a title");
    assert!(title.contains('a') && title.contains('b') && !title.contains('\0'), "{title:?}");
    assert!(read[2].views.is_some());
    let creator = system.creator(connected.creator).await;
    assert_eq!((creator.followers, creator.likes), (None, Some(huge)));
    // What became unknown is null again, not the last known number.
    change(2, json!({ "view_count": null })).await;
    assert_eq!(system.sync(connected.creator).await, Final::Done);
    assert_eq!(system.videos(connected.creator).await[2].views, None);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_video_is_read_though_pages_are_short_or_empty_and_seconds_are_shared() {
    let system = System::start().await;
    let worker = system.worker();
    let made = system.control("POST", "/users", json!({ "videos": 70, "per_second": 5 })).await;
    let open_id = made["users"][0]["open_id"].as_str().expect("an open_id").to_owned();
    for (kind, after, times) in [("short_page", 0, 2), ("empty_page", 1, 3)] {
        system.fault(json!({ "endpoint": "video_list", "kind": kind, "after": after, "times": times })).await;
    }
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    let listed: HashSet<String> = system.listed(&open_id).await.iter().map(id_of).collect();
    assert_eq!(listed.len(), 70);
    assert_eq!(ids(&system, connected.creator).await, listed);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_that_does_not_come_to_the_end_stops_and_hides_nothing() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(60).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    // From the second page on the cursor stands still; or it goes on for ever and shows nothing.
    for kind in ["repeated_cursor", "empty_page"] {
        system.fault(json!({ "endpoint": "video_list", "kind": kind, "after": 1 })).await;
        let before = system.requests(&open_id, "path=/v2/video/list/").await;
        assert_eq!(system.sync(connected.creator).await, Final::Done, "{kind}");
        assert!(system.requests(&open_id, "path=/v2/video/list/").await < before + 30, "{kind}");
        assert_eq!(system.videos(connected.creator).await.len(), 60, "{kind}");
        system.clear_faults().await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_listed_any_more_goes_and_returns_under_its_id() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(5).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    let before = system.videos(connected.creator).await;
    let path = format!("/users/{open_id}/videos/{}", before[1].external_id);
    system.control("PATCH", &path, json!({ "hidden": true })).await;
    assert_eq!(system.sync(connected.creator).await, Final::Done);
    let without: Vec<_> = system.videos(connected.creator).await.into_iter().map(|video| video.id).collect();
    assert_eq!(without, [before[0].id, before[2].id, before[3].id, before[4].id]);
    system.control("PATCH", &path, json!({ "hidden": false })).await;
    assert_eq!(system.sync(connected.creator).await, Final::Done);
    let again: Vec<_> = system.videos(connected.creator).await.into_iter().map(|video| video.id).collect();
    assert_eq!(again, before.iter().map(|video| video.id).collect::<Vec<_>>());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_granted_is_synced_and_what_was_not_is_said() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(5).await;
    let connected = system.connect_with(system.project, &open_id, "user.info.basic,user.info.profile").await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    let creator = system.creator(connected.creator).await;
    assert_eq!(creator.missing_scopes, "user.info.stats,video.list");
    assert!(creator.username.is_some());
    assert_eq!((creator.followers, creator.video_count), (None, None));
    assert_eq!(system.requests(&open_id, "path=/v2/video/list/").await, 0);
    assert_eq!(system.videos(connected.creator).await.len(), 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_that_was_withdrawn_is_missing_and_takes_no_videos_away() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(5).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    for mode in ["not_authorized", "permission_missed", "omit"] {
        system.control("PATCH", "/settings", json!({ "missing_scope": mode })).await;
        let left = json!({ "scopes": ["user.info.basic", "user.info.profile"] });
        system.control("PUT", &format!("/users/{open_id}/scopes"), left).await;
        assert_eq!(system.sync(connected.creator).await, Final::Done, "{mode}");
        let creator = system.creator(connected.creator).await;
        assert!(creator.username.is_some(), "{mode}");
        assert_eq!(creator.followers, None, "{mode}");
        assert!(creator.missing_scopes.contains("video.list"), "{mode}: {}", creator.missing_scopes);
        assert_eq!(creator.status, Status::Active);
        assert_eq!(system.videos(connected.creator).await.len(), 5, "{mode}");
    }
    let all: Vec<&str> = SCOPES.split(',').collect();
    system.control("PUT", &format!("/users/{open_id}/scopes"), json!({ "scopes": all })).await;
    assert_eq!(system.sync(connected.creator).await, Final::Done);
    let creator = system.creator(connected.creator).await;
    assert_eq!(creator.missing_scopes, "");
    assert!(creator.followers.is_some());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_ends_a_sync_that_is_under_way() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(30).await;
    system.fault(json!({ "endpoint": "video_list", "kind": "slow", "delay_ms": 3000 })).await;
    let connected = system.connect(&open_id).await;
    let sync = connected.sync.expect("a first sync");
    wait_for("the sync to be in the middle", async || {
        (system.requests(&open_id, "path=/v2/user/info/").await > 0).then_some(())
    })
    .await;
    let revoke = system.ask_for_disconnect(system.project, connected.creator).await;
    assert_eq!(system.last_word(sync).await, Final::Cancelled);
    assert_eq!(system.last_word(revoke).await, Final::Done);
    // If it has asked for a page by then, that comes in later: the stop waits for the sync's end. Nothing comes back.
    worker.stop().await;
    for table in ["creators", "videos", "credentials", "creator_history", "video_history"] {
        assert_eq!(system.count(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creator_with_many_videos_is_written_in_batches_and_again_without_a_change() {
    let system = System::start().await;
    system.control("POST", "/clock", json!({ "frozen": true })).await;
    let worker = system.worker();
    let open_id = system.account(1000).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    assert_eq!(system.videos(connected.creator).await.len(), 1000);
    // Rows that say the same are not written: their versions stay.
    let versions = "SELECT coalesce(sum(xmin::text::bigint), 0)::bigint FROM videos";
    let before = system.count(versions).await;
    assert_eq!(system.sync(connected.creator).await, Final::Done);
    assert_eq!(system.count(versions).await, before);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_over_is_told_again_and_dropped_by_whoever_claims_it() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(1).await;
    let id = system.connect(&open_id).await.sync.expect("a first sync");
    assert_eq!(system.last_word(id).await, Final::Done);
    wait_for("Redis has let it go", async || {
        (system.queue.unknown(&[id]).await.expect("Redis") == Sweep::Unknown(vec![id])).then_some(())
    })
    .await;
    let (claim, requests) = (system.job(id).await.claim, system.requests(&open_id, "").await);
    // A waiter that finds nothing in the rows: the notice alone tells it.
    let waiter = Waiter::start(&system.queue, |_| async { Ok::<_, String>(Vec::new()) }.boxed());
    let word = wait_for("the notice", async || {
        // As a process does whose push was on its way when the job ended; and again, for this ear may hear nothing yet.
        let watching = waiter.watch(id);
        system.push(Lane::Sync, "sync", id).await;
        watching.wait(Instant::now() + Duration::from_secs(2)).await
    })
    .await;
    assert_eq!(word, Final::Done);
    wait_for("nothing is left of it", async || {
        let depth = system.queue.depth(Lane::Sync).await.expect("a depth");
        (depth.ready + depth.delayed + depth.running == 0).then_some(())
    })
    .await;
    assert_eq!(system.job(id).await.claim, claim, "nobody started it");
    assert_eq!(system.requests(&open_id, "").await, requests, "nor called TikTok for it");
    worker.stop().await;
}
