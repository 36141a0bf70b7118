//! The past of the counters: written once, read by intervals, kept in months, and gone with its creator; on a real Postgres.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test says by a panic what is wrong"
)]

mod intervals;
mod months;
#[path = "../support/mod.rs"]
mod support;

use chrono::{DateTime, Utc};
use shared::cadence::RECENT;
use shared::ids::{CreatorId, JobId, ProjectId, VideoId};
use shared::platforms::{Platform, Profile, Video};
use shared::store::Store;
use shared::store::checkpoints::Checkpoint;
use shared::store::credentials::Account;
use shared::store::disconnects::Disconnect;
use shared::store::history::{CreatorPoint, HistoryRange, Interval};
use shared::store::jobs::{Failure, Fence};
use shared::store::single_flight::OpenSync;
use shared::store::syncs::{Listed, SyncResult};
use support::{Database, start, video};

const ALL: i64 = 10_000;

fn raw() -> HistoryRange {
    HistoryRange { from: DateTime::UNIX_EPOCH, to: DateTime::<Utc>::MAX_UTC, interval: Interval::Raw }
}

struct World {
    database: Database,
    project: ProjectId,
    creator: CreatorId,
    first: JobId,
}

impl World {
    async fn start() -> Self {
        let database = Database::create().await;
        let project = database.project("one").await;
        let connected = database.connect(project, "account").await;
        Self { database, project, creator: connected.creator, first: connected.sync.expect("a first sync") }
    }

    fn store(&self) -> &Store {
        &self.database.store
    }

    async fn next_sync(&self) -> Fence {
        match self.store().open_sync(self.project, self.creator, None).await.unwrap() {
            OpenSync::New(id) => self.database.start(id).await.fence(),
            other => panic!("no new sync: {other:?}"),
        }
    }

    /// The last write of a sync that has listed these videos, all that there are.
    async fn finish(&self, fence: Fence, profile: &Profile, videos: &[Video], checkpoints: i32) {
        let ids: Vec<String> = videos.iter().map(|video| video.external_id.clone()).collect();
        let result = SyncResult {
            profile: Some(profile),
            videos,
            listing: Some(Listed { ids: &ids, down_to: None }),
            missing_scopes: "",
            checkpoints,
            changed: false,
            stale: false,
            resync_every: None,
            recent: RECENT,
        };
        self.store().finish_sync(fence, &result).await.unwrap();
    }

    async fn history(&self) -> Vec<CreatorPoint> {
        self.store().creator_history(self.project, self.creator, raw(), ALL).await.unwrap().expect("a creator")
    }

    async fn video_id(&self, external_id: &str) -> VideoId {
        let query = format!("SELECT id::text FROM videos WHERE external_id = '{external_id}'");
        let id: String = self.database.client().await.query_one(&query, &[]).await.unwrap().get(0);
        id.parse().unwrap()
    }

    async fn views(&self, external_id: &str) -> Vec<Option<i64>> {
        let id = self.video_id(external_id).await;
        let points = self.store().video_history(self.project, self.creator, id, raw(), ALL).await.unwrap();
        points.expect("a video").iter().map(|point| point.views).collect()
    }
}

fn followed_by(followers: i64) -> Profile {
    Profile { followers: Some(followers), likes: Some(9), ..Profile::default() }
}

fn viewed(external_id: &str, views: i64) -> Video {
    Video { views: Some(views), ..video(external_id, 1) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_changes_something_records_it_and_no_other_does() {
    let world = World::start().await;
    // The consent has brought the profile: the first sync is recorded all the same.
    world.store().save_first_profile(world.creator, &followed_by(1)).await.unwrap();
    let fence = world.database.start(world.first).await.fence();
    world.finish(fence, &followed_by(1), &[viewed("a", 10), viewed("b", 5)], 0).await;
    let first = world.history().await;
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].counters.followers, first[0].counters.likes, first[0].views), (Some(1), Some(9), Some(15)));
    assert_eq!(first[0].counters.following, None, "never 0 for unknown");
    let creator = world.store().creator(world.project, world.creator).await.unwrap().unwrap();
    assert_eq!(creator.last_synced_at, Some(first[0].at));

    let fence = world.next_sync().await;
    world.finish(fence, &followed_by(1), &[viewed("a", 10), viewed("b", 5)], 0).await;
    assert_eq!(world.history().await, first, "nothing changed");

    let fence = world.next_sync().await;
    let renamed = Video { title: Some("another".into()), ..viewed("b", 5) };
    world.finish(fence, &followed_by(2), &[viewed("a", 12), renamed], 0).await;
    // One that is not listed any more counts no more, and what the platform does not say is not 0.
    let fence = world.next_sync().await;
    world.finish(fence, &followed_by(2), &[Video { views: None, ..video("a", 1) }], 0).await;
    let fence = world.next_sync().await;
    world.finish(fence, &followed_by(2), &[], 0).await;
    let history = world.history().await;
    let views: Vec<_> = history.iter().map(|point| point.views).collect();
    assert_eq!(views, [Some(15), Some(17), None, Some(0)]);
    assert_eq!(history.iter().map(|point| point.counters.followers).collect::<Vec<_>>(), [1, 2, 2, 2].map(Some));
    assert!(history.is_sorted_by_key(|point| point.at));
    assert_eq!(world.views("a").await, [Some(10), Some(12), None]);
    assert_eq!(world.views("b").await, [Some(5)], "another title is no other counter");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_starts_again_and_goes_on_from_a_checkpoint_records_nothing_twice() {
    let world = World::start().await;
    let fence = world.database.start(world.first).await.fence();
    let batch = [viewed("a", 10), viewed("b", 5)];
    world.store().save_videos(fence, &batch, Some(&followed_by(1)), &start()).await.unwrap();
    assert!(world.history().await.is_empty(), "a creator's point is a whole sync's");
    // The batch was written, and its worker died before it knew.
    let again = world.database.start(world.first).await.fence();
    world.store().save_videos(again, &batch, Some(&followed_by(1)), &start()).await.unwrap();
    let late = Checkpoint { part: 1, ..start() };
    world.store().save_videos(fence, &[viewed("a", 99)], None, &late).await.unwrap_err();
    let result = SyncResult {
        profile: None,
        videos: &[viewed("c", 1)],
        listing: None,
        missing_scopes: "",
        checkpoints: 1,
        changed: true,
        stale: false,
        resync_every: None,
        recent: RECENT,
    };
    let resumed = world.database.start(world.first).await.fence();
    world.store().finish_sync(again, &result).await.unwrap_err();
    world.store().finish_sync(resumed, &result).await.unwrap();
    world.store().finish_sync(resumed, &result).await.unwrap_err();
    assert_eq!((world.views("a").await, world.views("c").await), (vec![Some(10)], vec![Some(1)]));
    let history = world.history().await;
    assert_eq!(history.len(), 1);
    // The profile was read by the start before, and is not in hand: the point has it all the same.
    assert_eq!((history[0].counters.followers, history[0].views), (Some(1), Some(16)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_checkpoint_has_written_is_recorded_by_the_next_sync_that_ends() {
    let world = World::start().await;
    let fence = world.database.start(world.first).await.fence();
    world.finish(fence, &followed_by(1), &[viewed("a", 10)], 0).await;
    let points = async || {
        let history = world.history().await;
        history.iter().map(|point| (point.counters.followers, point.views)).collect::<Vec<_>>()
    };
    let quiet = async |profile: &Profile, video: Video| {
        let fence = world.next_sync().await;
        world.finish(fence, profile, &[video], 0).await;
    };
    // The profile and a video, by a job that then dies for good.
    let fence = world.next_sync().await;
    world.store().save_videos(fence, &[viewed("a", 20)], Some(&followed_by(2)), &start()).await.unwrap();
    world.store().fail_job(fence, &Failure::internal("no")).await.unwrap();
    quiet(&followed_by(2), viewed("a", 20)).await;
    assert_eq!(points().await, [(Some(1), Some(10)), (Some(2), Some(20))]);
    quiet(&followed_by(2), viewed("a", 20)).await;
    assert_eq!(points().await.len(), 2, "nothing changed");
    // A video alone, by a start whose checkpoint the next start does not use.
    let fence = world.next_sync().await;
    world.store().save_videos(fence, &[viewed("a", 30)], Some(&followed_by(2)), &start()).await.unwrap();
    let again = world.database.start(fence.job).await.fence();
    world.finish(again, &followed_by(2), &[viewed("a", 30)], 0).await;
    assert_eq!(points().await[2..], [(Some(2), Some(30))]);
    // A checkpoint that says nothing new leaves nothing to record.
    let fence = world.next_sync().await;
    world.store().save_videos(fence, &[viewed("a", 30)], Some(&followed_by(2)), &start()).await.unwrap();
    world.store().fail_job(fence, &Failure::internal("no")).await.unwrap();
    quiet(&followed_by(2), viewed("a", 30)).await;
    assert_eq!(points().await.len(), 3);
    assert_eq!(world.views("a").await, [10, 20, 30].map(Some));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_older_than_history_begins_it_with_the_next_sync() {
    let world = World::start().await;
    let fence = world.database.start(world.first).await.fence();
    world.finish(fence, &followed_by(1), &[viewed("a", 10)], 0).await;
    let sql = world.database.client().await;
    // As a version without history has left them.
    let older = format!(
        "DELETE FROM video_history; DELETE FROM creator_history; DELETE FROM videos;
        INSERT INTO videos (id, creator_id, external_id, title, duration, views, likes, comments, published_at)
        SELECT gen_random_uuid(), id, 'a', 'title of a', 30, 10, 100, 10, '{}' FROM creators;
        CREATE TEMP TABLE old AS SELECT id, project_id, credential_id, platform, external_id, missing_scopes, status,
            followers, likes, last_synced_at FROM creators;
        CREATE TEMP TABLE old_videos AS SELECT id, creator_id, external_id, title, duration, views, likes, comments,
            published_at FROM videos;
        DELETE FROM creators;
        INSERT INTO creators (id, project_id, credential_id, platform, external_id, missing_scopes, status, followers,
            likes, last_synced_at) SELECT * FROM old;
        INSERT INTO videos (id, creator_id, external_id, title, duration, views, likes, comments, published_at)
            SELECT * FROM old_videos;",
        video("a", 1).published_at
    );
    sql.batch_execute(&older).await.unwrap();
    let cadence = "UPDATE projects SET resync_every = 86400; UPDATE creators SET resync_gap = 14400";
    sql.batch_execute(cadence).await.unwrap();
    let gap = async || world.database.count("SELECT resync_gap FROM creators").await;
    assert!(world.history().await.is_empty());
    for _ in 0..2 {
        let before = gap().await;
        let fence = world.next_sync().await;
        world.finish(fence, &followed_by(1), &[viewed("a", 10)], 0).await;
        assert!(gap().await >= before, "nothing has changed, so the next sync comes no sooner");
        let history = world.history().await;
        assert_eq!((history.len(), history[0].counters.followers, history[0].views), (1, Some(1), Some(10)));
        assert_eq!(world.views("a").await, [Some(10)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_what_is_not_theirs_finds_nothing() {
    let world = World::start().await;
    let fence = world.database.start(world.first).await.fence();
    world.finish(fence, &followed_by(1), &[viewed("a", 10)], 0).await;
    let stranger = world.database.project("two").await;
    let other = world.database.connect(world.project, "another").await.creator;
    let video = world.video_id("a").await;
    let store = world.store();
    assert_eq!(store.creator_history(stranger, world.creator, raw(), ALL).await.unwrap(), None);
    assert_eq!(store.creator_history(world.project, CreatorId::new(), raw(), ALL).await.unwrap(), None);
    assert_eq!(store.creator_history(world.project, other, raw(), ALL).await.unwrap(), Some(Vec::new()));
    assert_eq!(store.video_history(stranger, world.creator, video, raw(), ALL).await.unwrap(), None);
    assert_eq!(store.video_history(world.project, other, video, raw(), ALL).await.unwrap(), None);
    assert_eq!(store.video_history(world.project, world.creator, VideoId::new(), raw(), ALL).await.unwrap(), None);
    assert_eq!(store.video_history(world.project, world.creator, video, raw(), ALL).await.unwrap().unwrap().len(), 1);
    store.disconnect(world.project, world.creator, None).await.unwrap();
    assert_eq!(store.creator_history(world.project, world.creator, raw(), ALL).await.unwrap(), None);
    assert_eq!(store.video_history(world.project, world.creator, video, raw(), ALL).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creators_history_goes_in_the_transaction_that_deletes_it_and_no_others_does() {
    let world = World::start().await;
    let fence = world.database.start(world.first).await.fence();
    world.finish(fence, &followed_by(1), &[viewed("a", 10), viewed("b", 10)], 0).await;
    let other = world.database.connect(world.project, "another").await;
    let fence = world.database.start(other.sync.unwrap()).await.fence();
    let other = World { creator: other.creator, ..world };
    other.finish(fence, &followed_by(7), &[viewed("c", 10)], 0).await;
    let mut sql = other.database.client().await;
    let add = "INSERT INTO video_history (video_id, at) SELECT id, now() + interval '40 days' FROM videos";
    sql.batch_execute(add).await.unwrap();
    let gone = format!("DELETE FROM creators WHERE id <> '{}'", other.creator);
    let undone = sql.transaction().await.unwrap();
    undone.batch_execute(&gone).await.unwrap();
    undone.rollback().await.unwrap();
    let rows = "SELECT (SELECT count(*) FROM creator_history) + (SELECT count(*) FROM video_history)";
    assert_eq!(other.database.count(rows).await, 2 + 6);
    sql.batch_execute(&gone).await.unwrap();
    assert_eq!(other.database.count(rows).await, 1 + 2);
    let first = other.store().erase_video_history(other.creator, None).await.unwrap();
    assert_eq!(first.as_deref(), Some("c"));
    assert_eq!(other.store().erase_video_history(other.creator, first.as_deref()).await.unwrap(), None);
    assert_eq!(other.database.count("SELECT count(*) FROM video_history").await, 0);
    assert_eq!(other.history().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_leaves_a_long_past_to_the_disconnect_under_way() {
    let world = World::start().await;
    let (sql, store) = (world.database.client().await, world.store());
    let past = format!(
        "INSERT INTO videos (id, creator_id, external_id, published_at)
            SELECT gen_random_uuid(), '{}', n::text, now() FROM generate_series(1, 60) AS n;
        SELECT make_history_partitions(now() - interval '2 months', now());
        INSERT INTO video_history (video_id, at) SELECT id, now() - n * interval '1 minute'
            FROM videos, generate_series(0, 999) AS n",
        world.creator
    );
    sql.batch_execute(&past).await.unwrap();
    let Disconnect::New { id: job, .. } = store.disconnect(world.project, world.creator, None).await.unwrap() else {
        panic!("a disconnect");
    };
    let again = world.database.connect(world.project, "account").await;
    assert_ne!(again.creator, world.creator);
    assert_eq!(again.completed_disconnects, [], "60,000 rows are too many for who waits");
    let rows = "SELECT count(*) FROM video_history";
    assert_eq!(world.database.count(rows).await, 60_000);
    let leaving = store.leaving_creator(world.creator).await.unwrap().expect("it is still on its way out");
    assert!(store.is_held_by_others(leaving.credential, leaving.id).await.unwrap(), "so nothing revokes the new grant");
    assert_eq!(store.creator(world.project, world.creator).await.unwrap(), None, "and nobody sees it");
    // With less of it left, another connection ends it.
    let account = Account { platform: Platform::Tiktok, app: "app".into(), external_id: "account".into() };
    assert_eq!(store.leaving_creators(world.project, &account).await.unwrap(), [world.creator]);
    store.erase_video_history(world.creator, None).await.unwrap();
    assert_eq!(world.database.count(rows).await, 40_000, "twenty videos at a time");
    let once_more = world.database.connect(world.project, "account").await;
    assert_eq!((once_more.creator, once_more.completed_disconnects), (again.creator, vec![job]));
    assert_eq!(world.database.count(rows).await, 0);
}
