//! How far a sync has come: kept for the job's next start, and for nobody else, on a real Postgres.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test says by a panic what is wrong"
)]

mod support;

use std::time::Duration;

use shared::cadence::RECENT;
use shared::ids::{CreatorId, JobId, ProjectId};
use shared::platforms::{PageCursor, Profile, Scopes};
use shared::store::checkpoints::Checkpoint;
use shared::store::jobs::{Failure, Fence};
use shared::store::single_flight::OpenSync;
use shared::store::syncs::{Listed, SyncResult, WriteError};
use shared::store::videos::VideoQuery;
use support::{Database, start, video};

fn result(listing: Option<Listed<'_>>, checkpoints: i32) -> SyncResult<'_> {
    SyncResult {
        profile: None,
        videos: &[],
        listing,
        missing_scopes: "",
        checkpoints,
        changed: false,
        stale: false,
        resync_every: None,
        recent: RECENT,
    }
}

fn part(part: i32) -> Checkpoint {
    Checkpoint { part, ..start() }
}

struct Creator {
    project: ProjectId,
    id: CreatorId,
    sync: JobId,
}

async fn connected(database: &Database) -> Creator {
    let project = database.project("one").await;
    let connected = database.connect(project, "account").await;
    Creator { project, id: connected.creator, sync: connected.sync.expect("a first sync") }
}

async fn another_sync(database: &Database, creator: &Creator) -> Fence {
    match database.store.open_sync(creator.project, creator.id, None).await.unwrap() {
        OpenSync::New(id) => database.start(id).await.fence(),
        other => panic!("no new sync: {other:?}"),
    }
}

async fn listed(database: &Database, creator: &Creator) -> Vec<String> {
    let page = database
        .store
        .videos(creator.project, creator.id, &VideoQuery::default(), 100)
        .await
        .unwrap()
        .expect("a creator");
    page.into_iter().map(|video| video.external_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_start_finds_the_newest_checkpoint_and_an_earlier_one_writes_none() {
    let database = Database::create().await;
    let creator = connected(&database).await;
    let old = database.start(creator.sync).await.fence();
    assert_eq!(database.store.checkpoint(old).await.unwrap(), None);
    let profile = Profile { followers: Some(7), ..Profile::default() };
    let written = database.store.save_videos(old, &[video("a", 1)], Some(&profile), &start()).await.unwrap();
    assert_eq!(written, 2, "the video and the profile");
    let second = Checkpoint {
        part: 1,
        granted_at: chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        scopes: Scopes::parse("a,b"),
        refused: Scopes::parse("c"),
        age: Duration::from_secs(40),
        waited_for: true,
        cursor: Some(PageCursor("next".into())),
        oldest: chrono::DateTime::from_timestamp(1_600_000_000, 0),
        disordered: true,
        changed: false,
    };
    assert_eq!(database.store.save_videos(old, &[], Some(&profile), &second).await.unwrap(), 0);
    let new = database.start(creator.sync).await.fence();
    let found = database.store.checkpoint(new).await.unwrap().expect("it is there");
    assert!((40..60).contains(&found.age.as_secs()), "{:?}", found.age);
    assert_eq!(Checkpoint { age: second.age, ..found }, second);
    let creator_row = database.store.creator(creator.project, creator.id).await.unwrap().unwrap();
    assert_eq!(creator_row.followers, Some(7), "the profile need not be read again");
    let late = database.store.save_videos(old, &[video("b", 1)], None, &part(2)).await;
    assert!(matches!(late, Err(WriteError::Superseded)), "{late:?}");
    // Links to an avatar expire: another one is no news, and is kept all the same.
    let moved = Profile { avatar_url: Some("https://example.org/new".into()), ..profile };
    assert_eq!(database.store.save_videos(new, &[], Some(&moved), &part(0)).await.unwrap(), 0);
    let creator_row = database.store.creator(creator.project, creator.id).await.unwrap().unwrap();
    assert_eq!(creator_row.avatar_url, moved.avatar_url);
    // An hour later nobody trusts the cursor.
    database.client().await.batch_execute("UPDATE checkpoints SET saved_at = now() - interval '61 min'").await.unwrap();
    assert_eq!(database.store.checkpoint(new).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_any_part_has_listed_stays_and_what_none_has_goes() {
    let database = Database::create().await;
    let creator = connected(&database).await;
    let fence = database.start(creator.sync).await.fence();
    let all: Vec<String> = ["a", "b", "c", "gone"].map(str::to_owned).into();
    let videos: Vec<_> = all.iter().zip(1..).map(|(id, place)| video(id, place)).collect();
    let everything = SyncResult { videos: &videos, ..result(Some(Listed { ids: &all, down_to: None }), 0) };
    database.store.finish_sync(fence, &everything).await.unwrap();
    let rest = ["c".to_owned()];
    let whole = Some(Listed { ids: &rest, down_to: None });

    let fence = another_sync(&database, &creator).await;
    database.store.save_videos(fence, &videos[..1], None, &part(0)).await.unwrap();
    database.store.save_videos(fence, &videos[1..2], None, &part(1)).await.unwrap();
    database.store.finish_sync(fence, &result(whole, 2)).await.unwrap();
    assert_eq!(listed(&database, &creator).await, ["a", "b", "c"]);
    assert_eq!(database.count("SELECT count(*) FROM checkpoints").await, 0);

    // Lost parts: nobody knows what they listed, so nothing is hidden.
    let fence = another_sync(&database, &creator).await;
    database.store.save_videos(fence, &videos[..1], None, &part(0)).await.unwrap();
    database.client().await.batch_execute("DELETE FROM checkpoints").await.unwrap();
    database.store.finish_sync(fence, &result(whole, 1)).await.unwrap();
    assert_eq!(listed(&database, &creator).await, ["a", "b", "c"]);

    // A walk that begins anew, also in the same job, does not count what the one before has listed.
    let fence = another_sync(&database, &creator).await;
    database.store.save_videos(fence, &videos[..2], None, &part(0)).await.unwrap();
    database.store.finish_sync(fence, &result(whole, 0)).await.unwrap();
    assert_eq!(listed(&database, &creator).await, ["c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_beginning_is_enough_for_the_schedule_and_for_nobody_who_waits() {
    let database = Database::create().await;
    let creator = connected(&database).await;
    let fence = database.start(creator.sync).await.fence();
    let stale = SyncResult { stale: true, ..result(None, 0) };
    let refused = database.store.finish_sync(fence, &stale).await;
    assert!(matches!(refused, Err(WriteError::MoreWanted)), "{refused:?}");
    database.client().await.batch_execute("UPDATE jobs SET lane = 'bulk'").await.unwrap();
    database.store.finish_sync(fence, &stale).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_ends_with_its_job_and_its_creator_and_serves_no_other_job() {
    let database = Database::create().await;
    let creator = connected(&database).await;
    let fence = database.start(creator.sync).await.fence();
    database.store.save_videos(fence, &[], None, &start()).await.unwrap();
    assert_eq!(database.store.prune_checkpoints(10).await.unwrap(), 0, "its job is open");
    database.store.fail_job(fence, &Failure::internal("no")).await.unwrap();
    let other = another_sync(&database, &creator).await;
    assert_eq!(database.store.checkpoint(other).await.unwrap(), None);
    assert_eq!(database.store.prune_checkpoints(10).await.unwrap(), 1);
    database.store.save_videos(other, &[], None, &start()).await.unwrap();
    database.client().await.batch_execute("DELETE FROM creators").await.unwrap();
    assert_eq!(database.count("SELECT count(*) FROM checkpoints").await, 0);
}
