//! The schedule and the batches on a real Postgres.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod batches;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use shared::budget::Quota;
use shared::cadence::{Cadence, RECENT, ResyncEvery};
use shared::ids::{BatchId, CreatorId, JobId, ProjectId, WorkerId};
use shared::platforms::Profile;
use shared::store::batches::{Batch, BatchFilter};
use shared::store::paces::Pace;
use shared::store::schedule::Claimed;
use shared::store::single_flight::OpenSync;
use shared::store::syncs::{Listed, SyncResult, WriteError};
use shared::store::videos::VideoQuery;
use support::{Database, video};

const DAY: Duration = Duration::from_secs(24 * 3600);
const ALL: BatchFilter = BatchFilter { platform: None, older_than: None };

/// A database with a project of so many creators, none of which has an open job; they were connected a second apart.
async fn with_creators(number: i64) -> (Database, ProjectId) {
    let database = Database::create().await;
    let project = database.project("project").await;
    add_creators(&database, project, "first", number).await;
    (database, project)
}

async fn add_creators(database: &Database, project: ProjectId, name: &str, number: i64) {
    let first = database.connect(project, name).await.creator;
    let client = database.client().await;
    client
        .batch_execute(&format!(
            "INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at, next_sync_at)
             SELECT uuid_v7(), project_id, credential_id, platform, '{name}-' || n, connected_at - n * interval '1 s',
                 now() + interval '1 day'
             FROM creators, generate_series(1, {number} - 1) AS n WHERE id = '{first}';
             UPDATE creators SET next_sync_at = now() + interval '1 day';
             DELETE FROM jobs;"
        ))
        .await
        .expect("creators");
}

async fn execute(database: &Database, statements: &str) {
    database.client().await.batch_execute(statements).await.expect("executed");
}

async fn creator_ids(database: &Database, project: ProjectId) -> Vec<CreatorId> {
    let all = database.store.creators(project, &shared::store::creators::CreatorFilter::default(), None, 100_000).await;
    all.expect("creators").into_iter().map(|creator| creator.id).collect()
}

async fn grow_all(database: &Database, chunk: i64) {
    while database.store.grow_batches(None, chunk).await.expect("grown").is_some() {}
}

async fn batch(database: &Database, project: ProjectId, id: BatchId) -> Batch {
    database.store.batch(project, id).await.expect("read").expect("a batch")
}

/// The counts, in the contract's order; they always make the total.
async fn counts(database: &Database, project: ProjectId, id: BatchId) -> [i64; 5] {
    let batch = batch(database, project, id).await;
    let counts = [batch.queued(), batch.running, batch.done, batch.failed, batch.skipped];
    assert_eq!(counts.iter().sum::<i64>(), batch.total, "{batch:?}");
    counts
}

async fn jobs_of(database: &Database) -> Vec<JobId> {
    let rows =
        database.client().await.query("SELECT id::text FROM jobs WHERE finished_at IS NULL ORDER BY id", &[]).await;
    rows.expect("jobs").iter().map(|row| row.get::<_, String>(0).parse().expect("an id")).collect()
}

fn nothing() -> SyncResult<'static> {
    SyncResult {
        profile: None,
        videos: &[],
        listing: None,
        missing_scopes: "",
        checkpoints: 0,
        changed: false,
        stale: false,
        resync_every: Some(DAY),
        recent: RECENT,
    }
}

async fn finish(database: &Database, job: JobId) {
    let job = database.start(job).await;
    database.store.finish_sync(job.fence(), &nothing()).await.expect("done");
}

#[tokio::test(flavor = "multi_thread")]
async fn due_creators_get_one_job_each_and_their_next_time_whoever_claims() {
    let (database, project) = with_creators(60).await;
    execute(&database, "UPDATE creators SET next_sync_at = now() - interval '1 s'").await;
    // One is on its way out, one must connect again, one has an open job, one is paused, one is not due.
    let ids = creator_ids(&database, project).await;
    execute(
        &database,
        &format!(
            "UPDATE creators SET disconnecting_at = now() WHERE id = '{}';
             UPDATE creators SET status = 'REAUTHORIZATION_REQUIRED' WHERE id = '{}';
             UPDATE creators SET resync_every = 0 WHERE id = '{}';
             UPDATE creators SET next_sync_at = now() + interval '1 h' WHERE id = '{}';",
            ids[0], ids[1], ids[3], ids[4]
        ),
    )
    .await;
    let OpenSync::New(_) = database.store.open_sync(project, ids[2], None).await.unwrap() else { panic!("open") };
    let stores: Vec<_> = (0..4).map(|_| Database::open(&database.url, 2)).collect();
    let mut made = 0;
    loop {
        let claims = join_all(stores.iter().map(|store| store.claim_due(Some(DAY), 7))).await;
        let claims: Vec<Claimed> = claims.into_iter().filter_map(|claimed| claimed.expect("claimed")).collect();
        made += claims.iter().map(|claimed| claimed.made).sum::<i64>();
        if claims.iter().all(|claimed| claimed.looked_at == 0) {
            break;
        }
    }
    assert_eq!(made, 55);
    assert_eq!(database.count("SELECT count(*) FROM jobs WHERE state = 'waiting' AND lane = 'bulk'").await, 55);
    assert_eq!(database.count("SELECT count(DISTINCT creator_id) FROM jobs").await, 56);
    let due =
        "SELECT count(*) FROM creators WHERE next_sync_at <= now() AND status = 'ACTIVE' AND disconnecting_at IS NULL";
    assert_eq!(database.count(due).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interactive_caller_takes_a_waiting_job_out_of_the_feeders_hands() {
    let (database, project) = with_creators(2).await;
    execute(&database, "UPDATE creators SET next_sync_at = now()").await;
    database.store.claim_due(Some(DAY), 10).await.unwrap().expect("claimed");
    let creator = creator_ids(&database, project).await[0];
    let OpenSync::Shared { id, promoted: true } = database.store.open_sync(project, creator, None).await.unwrap()
    else {
        panic!("the waiting job is shared")
    };
    let fed = database.store.feed(None, 10, 10).await.unwrap();
    assert_eq!(fed.len(), 1);
    assert_ne!(fed[0].message.id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feeder_gives_each_project_its_part() {
    let (database, large) = with_creators(50).await;
    let small = database.project("small").await;
    add_creators(&database, small, "other", 3).await;
    execute(&database, "UPDATE creators SET next_sync_at = now()").await;
    database.store.claim_due(Some(DAY), 100).await.unwrap().expect("claimed");
    let part = |fed: &[shared::store::feeder::Fed], project| fed.iter().filter(|job| job.project == project).count();
    let fed = database.store.feed(None, 10, 10).await.unwrap();
    assert_eq!((part(&fed, large), part(&fed, small)), (5, 3));
    let fed = database.store.feed(None, 10, 10).await.unwrap();
    assert_eq!((part(&fed, large), part(&fed, small)), (10, 0));
    assert_eq!(database.count("SELECT count(*) FROM jobs WHERE state = 'enqueued'").await, 18);
    // Two feeders at once take no job twice.
    let feeds = join_all((0..4).map(|_| database.store.feed(None, 10, 12))).await;
    let fed: Vec<_> = feeds.into_iter().flat_map(Result::unwrap).map(|job| job.message.id).collect();
    assert_eq!(fed.iter().collect::<HashSet<_>>().len(), fed.len());
    assert!(
        database.store.feed(Some(large.max(small)), 10, 10).await.unwrap().is_empty(),
        "nothing after the last project"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syncs_end_says_when_the_next_one_is() {
    let (database, project) = with_creators(1).await;
    let creator = creator_ids(&database, project).await[0];
    let gap = async || database.count("SELECT COALESCE(resync_gap, 0) FROM creators").await;
    let sync = async |profile: &Profile, videos: &[shared::platforms::Video], every| {
        execute(&database, "UPDATE creators SET last_synced_at = last_synced_at - interval '2 days'").await;
        let OpenSync::New(id) = database.store.open_sync(project, creator, None).await.unwrap() else { panic!("new") };
        let job = database.start(id).await;
        let result = SyncResult { profile: Some(profile), videos, resync_every: every, ..nothing() };
        database.store.finish_sync(job.fence(), &result).await.unwrap();
    };
    let profile = Profile { followers: Some(1), ..Profile::default() };
    sync(&profile, &[video("v", 0)], Some(DAY)).await;
    assert_eq!(gap().await, 6 * 3600, "a new one starts at a quarter");
    sync(&profile, &[video("v", 0)], Some(DAY)).await;
    assert_eq!(gap().await, 12 * 3600, "nothing changed");
    let next = "SELECT extract(epoch FROM next_sync_at - now())::bigint FROM creators";
    assert!((6 * 3600 - 5..=12 * 3600).contains(&database.count(next).await));
    sync(&Profile { followers: Some(2), ..Profile::default() }, &[video("v", 0)], Some(DAY)).await;
    assert_eq!(gap().await, 6 * 3600, "the profile did");
    sync(&Profile { followers: Some(2), ..Profile::default() }, &[video("w", 0)], Some(DAY)).await;
    assert_eq!(gap().await, 3 * 3600, "a new video");
    // A client's own word goes before the default.
    let set = database
        .store
        .set_creator_resync(project, creator, ResyncEvery::Every(Duration::from_secs(3600)))
        .await
        .unwrap();
    assert_eq!(set.expect("a creator").resync_every, Some(3600));
    assert!(database.count(next).await <= 3600);
    sync(&Profile { followers: Some(2), ..Profile::default() }, &[], Some(DAY)).await;
    assert_eq!(gap().await, 3600);
    // And the project's before the default, after the creator's.
    assert_eq!(database.store.set_project_resync(project, ResyncEvery::Off).await.unwrap(), Some(0));
    assert_eq!(database.store.set_project_resync(ProjectId::new(), ResyncEvery::Default).await.unwrap(), None);
    database.store.set_creator_resync(project, creator, ResyncEvery::Default).await.unwrap();
    execute(&database, "UPDATE creators SET next_sync_at = now()").await;
    let claimed = database.store.claim_due(Some(DAY), 10).await.unwrap();
    assert_eq!(claimed, Some(Claimed { looked_at: 1, made: 0 }), "the project is paused");
    assert!(
        database.store.set_creator_resync(ProjectId::new(), creator, ResyncEvery::Default).await.unwrap().is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_default_pulls_in_whom_nobody_set_otherwise() {
    let (database, project) = with_creators(5).await;
    let creator = creator_ids(&database, project).await[0];
    execute(&database, "UPDATE creators SET next_sync_at = now() + interval '20 h'").await;
    execute(&database, &format!("UPDATE creators SET resync_every = 200000 WHERE id = '{creator}'")).await;
    let hour = Duration::from_secs(3600);
    assert_eq!(database.store.pull_in(hour, 3).await.unwrap(), 3);
    assert_eq!(database.store.pull_in(hour, 3).await.unwrap(), 1);
    assert_eq!(database.count("SELECT count(*) FROM creators WHERE next_sync_at <= now() + interval '1 h'").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_set_faster_has_its_turns_sooner() {
    let (database, project) = with_creators(2100).await;
    let ids = creator_ids(&database, project).await;
    let other = database.project("other").await;
    add_creators(&database, other, "theirs", 2).await;
    execute(
        &database,
        &format!(
            "UPDATE creators SET next_sync_at = now() + interval '25 days';
             UPDATE creators SET resync_every = 2592000 WHERE id = '{}';
             UPDATE creators SET disconnecting_at = now() WHERE id = '{}';
             UPDATE creators SET next_sync_at = now() WHERE id = '{}';",
            ids[0], ids[1], ids[2]
        ),
    )
    .await;
    let set = async |every| database.store.set_project_resync(project, every).await.unwrap();
    let within = async |hours: i64| {
        let count = format!("SELECT count(*) FROM creators WHERE next_sync_at <= now() + interval '{hours} h'");
        database.count(&count).await
    };
    assert_eq!(set(ResyncEvery::Every(30 * DAY)).await, Some(0), "25 days are inside 30");
    assert_eq!(set(ResyncEvery::Every(DAY / 24)).await, Some(2097));
    assert_eq!(within(1).await, 2098, "all but those with a word of their own, on their way out or of another project");
    let later = database.count("SELECT count(*) FROM creators WHERE next_sync_at > now() + interval '30 min'").await;
    assert!((900..=1210).contains(&later), "they are spread over the hour: {later}");
    assert_eq!(set(ResyncEvery::Every(DAY / 24)).await, Some(0), "whoever says it again moves nobody");
    // Who was off is looked at once a day.
    assert_eq!(set(ResyncEvery::Off).await, Some(0));
    execute(
        &database,
        "UPDATE creators SET next_sync_at = now() + interval '23 h' WHERE next_sync_at < now() + interval '2 h'",
    )
    .await;
    assert_eq!(set(ResyncEvery::Every(DAY / 24)).await, Some(2098));
    assert_eq!(set(ResyncEvery::Default).await, Some(0), "the default is a day");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_stopped_early_hides_only_what_is_newer_and_is_not_enough_for_who_waits() {
    let (database, project) = with_creators(1).await;
    let creator = creator_ids(&database, project).await[0];
    let OpenSync::New(id) = database.store.open_sync(project, creator, None).await.unwrap() else { panic!("new") };
    let videos = [video("new", 0), video("gone", 10), video("edge", 20), video("old", 30)];
    let ids: Vec<String> = videos.iter().map(|video| video.external_id.clone()).collect();
    let job = database.start(id).await;
    let all = Listed { ids: &ids, down_to: None };
    database
        .store
        .finish_sync(job.fence(), &SyncResult { videos: &videos, listing: Some(all), ..nothing() })
        .await
        .unwrap();
    assert_eq!(database.count("SELECT count(*) FROM creators WHERE deep_synced_at IS NOT NULL").await, 1);
    execute(&database, "UPDATE creators SET deep_synced_at = '2026-01-01', next_sync_at = now()").await;
    database.store.claim_due(Some(DAY), 1).await.unwrap().expect("claimed");
    let job = database.start(jobs_of(&database).await[0]).await;
    assert!(job.is_scheduled());
    let seen = ["new".to_owned(), "edge".to_owned()];
    let early = Listed { ids: &seen, down_to: Some(videos[2].published_at) };
    let result = SyncResult { listing: Some(early), ..nothing() };
    let shared = database.store.open_sync(project, creator, None).await.unwrap();
    assert_eq!(shared, OpenSync::Shared { id: job.id, promoted: true });
    let refused = database.store.finish_sync(job.fence(), &result).await;
    assert!(matches!(refused, Err(WriteError::MoreWanted)), "{refused:?}");
    execute(&database, "UPDATE jobs SET lane = 'bulk' WHERE finished_at IS NULL").await;
    database.store.finish_sync(job.fence(), &result).await.unwrap();
    let listed = database.store.videos(project, creator, &VideoQuery::default(), 10).await.unwrap().expect("a creator");
    assert_eq!(listed.iter().map(|video| video.external_id.as_str()).collect::<Vec<_>>(), ["new", "edge", "old"]);
    assert_eq!(database.count("SELECT count(*) FROM creators WHERE deep_synced_at = '2026-01-01'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_made_by_postgres_are_uuids_of_version_7_in_order() {
    let database = Database::create().await;
    let rows = database.client().await.query("SELECT uuid_v7()::text FROM generate_series(1, 3)", &[]).await.unwrap();
    let now = u64::try_from(chrono::Utc::now().timestamp()).unwrap();
    for row in rows {
        let id: uuid::Uuid = row.get::<_, String>(0).parse().unwrap();
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        assert!(id.get_timestamp().unwrap().to_unix().0.abs_diff(now) < 60);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forecast_adds_up_the_cadences() {
    let (database, _) = with_creators(4).await;
    execute(&database, "UPDATE creators SET resync_gap = 60, video_count = 41").await;
    let daily = Cadence { every: Some(DAY), ..Cadence::default() };
    let forecast = database.store.forecast(daily).await.unwrap();
    assert_eq!((forecast.creators, forecast.syncs_per_minute, forecast.pages_per_minute), (4, 4.0, 12.0));
    assert_eq!(database.store.forecast(Cadence { every: None, ..daily }).await.unwrap().creators, 0);
    // Five videos are young: one page at each turn, and the two others once a week.
    execute(&database, "UPDATE creators SET recent_videos = 5").await;
    let pages_at = async |cadence| database.store.forecast(cadence).await.unwrap().pages_per_minute;
    let pages = async || pages_at(daily).await;
    let expected = 4.0 * (1.0 + 2.0 / (7.0 * 24.0 * 60.0));
    assert!((pages().await - expected).abs() < 1e-6, "{}", pages().await);
    // And twice as often, where the older ones may not get older than so.
    let often = pages_at(Cadence { deep: DAY * 7 / 2, ..daily }).await;
    assert!((often - 4.0 * (1.0 + 4.0 / (7.0 * 24.0 * 60.0))).abs() < 1e-6, "{often}");
    // A slow creator's every turn reads all.
    execute(&database, "UPDATE creators SET resync_gap = NULL, resync_every = 2592000").await;
    let expected = 4.0 * 3.0 / (30.0 * 24.0 * 60.0);
    assert!((pages().await - expected).abs() < 1e-6, "{}", pages().await);
    // Of a lively one with the same longest age, the first turn after a week: here each second one.
    execute(&database, "UPDATE creators SET resync_gap = 5 * 86400").await;
    let expected = 4.0 * (1.0 / (5.0 * 24.0 * 60.0) + 2.0 / (10.0 * 24.0 * 60.0));
    assert!((pages().await - expected).abs() < 1e-6, "{}", pages().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_has_listed_the_videos_says_how_many_are_young() {
    let (database, project) = with_creators(1).await;
    let creator = creator_ids(&database, project).await[0];
    let aged = |name: &str, days| shared::platforms::Video {
        published_at: chrono::Utc::now() - chrono::TimeDelta::days(days),
        ..video(name, 0)
    };
    let videos = [aged("new", 1), aged("young", 89), aged("old", 91)];
    let ids = ["new", "young", "old"].map(str::to_owned);
    let recent = std::cell::Cell::new(RECENT);
    let sync = async |listing| {
        let OpenSync::New(id) = database.store.open_sync(project, creator, None).await.unwrap() else { panic!("new") };
        let job = database.start(id).await;
        let result = SyncResult { videos: &videos, listing, recent: recent.get(), ..nothing() };
        database.store.finish_sync(job.fence(), &result).await.unwrap();
        database.count("SELECT COALESCE(recent_videos, -1) FROM creators").await
    };
    assert_eq!(sync(None).await, -1, "it may read the profile alone");
    assert_eq!(sync(Some(Listed { ids: &ids, down_to: None })).await, 2);
    assert_eq!(sync(Some(Listed { ids: &ids[..1], down_to: None })).await, 1, "what is not listed is not read");
    recent.set(DAY * 92);
    assert_eq!(sync(Some(Listed { ids: &ids, down_to: None })).await, 3, "by the age that was set");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_workers_go_by_is_known_while_they_live_and_the_last_one_after() {
    let database = Database::create().await;
    let pace = |hours: u32, requests| Pace {
        cadence: Cadence {
            every: Some(DAY / 24 * hours).filter(|every| !every.is_zero()),
            recent: DAY * 30,
            deep: DAY,
        },
        quota: Quota { requests, window: Duration::from_millis(2500) },
    };
    let paces = async || database.store.paces().await.unwrap();
    assert_eq!(paces().await, []);
    let workers = [WorkerId::new(), WorkerId::new(), WorkerId::new()];
    for worker in workers {
        database.store.note_pace(worker, pace(24, 600)).await.unwrap();
    }
    assert_eq!(paces().await, [pace(24, 600)], "they agree");
    // A worker of the version before says nothing of what it has no setting for.
    execute(&database, "UPDATE worker_paces SET resync_recent = NULL, resync_deep = NULL").await;
    let plain = Cadence { every: Some(DAY), ..Cadence::default() };
    assert_eq!(paces().await, [Pace { cadence: plain, ..pace(24, 600) }]);
    for worker in workers {
        database.store.note_pace(worker, pace(24, 600)).await.unwrap();
    }
    database.store.note_pace(workers[1], pace(0, 600)).await.unwrap();
    assert_eq!(paces().await, [pace(24, 600), pace(0, 600)], "the one that was started last goes first");
    execute(&database, "UPDATE worker_paces SET seen_at = now() - interval '2 min'").await;
    database.store.note_pace(workers[0], pace(6, 60)).await.unwrap();
    assert_eq!(paces().await, [pace(6, 60)], "who lives goes first");
    execute(&database, "UPDATE worker_paces SET seen_at = now() - interval '23 h'").await;
    assert_eq!(paces().await, [pace(24, 600)]);
    assert_eq!(database.store.prune_paces().await.unwrap(), 0);
    execute(&database, "UPDATE worker_paces SET seen_at = now() - interval '25 h'").await;
    assert_eq!((database.store.prune_paces().await.unwrap(), paces().await), (3, Vec::new()));
}
