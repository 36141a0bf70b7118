//! The schedule and the batches on a real Postgres.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use shared::budget::Quota;
use shared::cadence::{Cadence, RECENT, ResyncEvery};
use shared::ids::{BatchId, CreatorId, JobId, ProjectId, WorkerId};
use shared::platforms::{Platform, Profile};
use shared::store::audit::By;
use shared::store::batches::{Batch, BatchFilter, ChosenBatch, NewBatch};
use shared::store::disconnects::Disconnect;
use shared::store::jobs::{Failure, Start};
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
    while database.store.grow_batches(chunk).await.expect("grown").is_some() {}
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
async fn a_batch_is_accepted_as_one_row_and_its_counts_are_true_to_the_end() {
    let (database, project) = with_creators(50).await;
    let ids = creator_ids(&database, project).await;
    // One has an open job, one must connect again, one is disconnected before its job is made and one after it.
    let OpenSync::New(open) = database.store.open_sync(project, ids[0], None).await.unwrap() else { panic!("new") };
    execute(&database, &format!("UPDATE creators SET status = 'REAUTHORIZATION_REQUIRED' WHERE id = '{}'", ids[1]))
        .await;
    let NewBatch { id, total } = database.store.open_batch(project, &ALL).await.unwrap();
    assert_eq!((total, database.count("SELECT count(*) FROM jobs").await), (50, 1));
    assert_eq!(counts(&database, project, id).await, [50, 0, 0, 0, 0]);
    assert!(matches!(database.store.disconnect(project, ids[2], None).await.unwrap(), Disconnect::New { .. }));
    database.connect(project, "later").await;
    grow_all(&database, 7).await;
    assert_eq!(counts(&database, project, id).await, [48, 0, 0, 1, 1]);
    assert!(matches!(database.store.disconnect(project, ids[3], None).await.unwrap(), Disconnect::New { .. }));
    assert_eq!(counts(&database, project, id).await, [47, 0, 0, 1, 2]);
    let batched = "SELECT count(*) FROM jobs WHERE batched AND finished_at IS NULL";
    assert_eq!(database.count(batched).await, 47);
    // A second batch is counted by the same jobs.
    let again = database.store.open_batch(project, &ALL).await.unwrap();
    assert_eq!(again.total, 49);
    grow_all(&database, 1000).await;
    assert_eq!(database.count(batched).await, 48, "the one that connected later");
    let running = database.start(open).await;
    assert_eq!(counts(&database, project, id).await, [46, 1, 0, 1, 2]);
    assert!(
        database.store.retry_job(running.fence(), running.lane, Duration::ZERO, &Failure::internal("x")).await.unwrap()
    );
    assert_eq!(counts(&database, project, id).await, [47, 0, 0, 1, 2]);
    let running = database.start(open).await;
    assert!(database.store.fail_job(running.fence(), &Failure::internal("x")).await.unwrap());
    let rest: Vec<JobId> = jobs_of(&database).await;
    for job in rest {
        if let Start::Claimed(job) = database.store.start_job(job).await.unwrap()
            && job.kind == shared::store::jobs::JobKind::Sync
        {
            database.store.finish_sync(job.fence(), &nothing()).await.unwrap();
        }
    }
    assert_eq!(counts(&database, project, id).await, [0, 0, 46, 2, 2]);
    assert_eq!(counts(&database, project, again.id).await, [0, 0, 47, 2, 0]);
    let ended = batch(&database, project, id).await;
    assert!(ended.finished_at.is_some_and(|at| at >= ended.created_at));
    assert_eq!(batch(&database, project, id).await, ended, "it ended once");
    // Old jobs go; what became of them stays.
    execute(&database, "UPDATE jobs SET finished_at = now() - interval '8 days' WHERE finished_at IS NOT NULL").await;
    while database.store.prune_jobs(10).await.unwrap() > 0 {}
    assert_eq!(database.count("SELECT count(*) FROM batch_jobs").await, 0);
    assert_eq!(counts(&database, project, id).await, [0, 0, 46, 2, 2]);
    assert_eq!(database.store.batch(ProjectId::new(), id).await.unwrap(), None, "another project's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_was_done_since_the_request_counts() {
    let (database, project) = with_creators(3).await;
    let ids = creator_ids(&database, project).await;
    execute(&database, "UPDATE creators SET last_synced_at = now() - interval '2 s'").await;
    let OpenSync::New(open) = database.store.open_sync(project, ids[1], None).await.unwrap() else { panic!("new") };
    let new = database.store.open_batch(project, &ALL).await.unwrap();
    finish(&database, open).await;
    grow_all(&database, 2).await;
    assert_eq!(counts(&database, project, new.id).await, [2, 0, 1, 0, 0]);
    assert_eq!(database.count("SELECT count(*) FROM jobs").await, 3, "and no second one is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_tried_again_opens_its_batch_again() {
    let (database, project) = with_creators(1).await;
    let ids = creator_ids(&database, project).await;
    let ChosenBatch::New(new) = database.store.open_batch_of(project, By::CommandLine, &ids, &ALL, None).await.unwrap()
    else {
        panic!("new")
    };
    let job = database.start(jobs_of(&database).await[0]).await;
    assert!(database.store.fail_job(job.fence(), &Failure::internal("x")).await.unwrap());
    assert!(batch(&database, project, new.id).await.finished_at.is_some());
    execute(&database, "UPDATE jobs SET state = 'enqueued', finished_at = NULL").await;
    assert_eq!(counts(&database, project, new.id).await, [1, 0, 0, 0, 0]);
    assert_eq!(batch(&database, project, new.id).await.finished_at, None);
    finish(&database, job.id).await;
    assert_eq!(counts(&database, project, new.id).await, [0, 0, 1, 0, 0]);
    assert_eq!(database.store.close_batches().await.unwrap(), 0, "the read has closed it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_chosen_creators_names_the_first_unknown_one() {
    let (database, project) = with_creators(5).await;
    let ids = creator_ids(&database, project).await;
    let unknown = CreatorId::new();
    let asked = [ids[0], unknown, CreatorId::new()];
    assert_eq!(
        database.store.open_batch_of(project, By::CommandLine, &asked, &ALL, None).await.unwrap(),
        ChosenBatch::Unknown(unknown)
    );
    assert_eq!(
        database.count("SELECT count(*) FROM batches").await + database.count("SELECT count(*) FROM jobs").await,
        0
    );
    let theirs = ProjectId::new();
    assert_eq!(
        database.store.open_batch_of(theirs, By::CommandLine, &ids, &ALL, None).await.unwrap(),
        ChosenBatch::Unknown(ids[0])
    );
    execute(&database, &format!("UPDATE creators SET last_synced_at = now() WHERE id = '{}'", ids[0])).await;
    let old = BatchFilter { platform: Some(Platform::Tiktok), older_than: Some(DAY) };
    let ChosenBatch::New(new) =
        database.store.open_batch_of(project, By::CommandLine, &ids[..3], &old, None).await.unwrap()
    else {
        panic!("new")
    };
    assert_eq!(new.total, 2);
    let theirs = BatchFilter { platform: Some(Platform::Youtube), older_than: None };
    let none = database.store.open_batch(project, &theirs).await.unwrap();
    grow_all(&database, 10).await;
    assert_eq!((none.total, batch(&database, project, none.id).await.finished_at.is_some()), (0, true));
    let stale = database.store.open_batch(project, &old).await.unwrap();
    grow_all(&database, 10).await;
    assert_eq!((stale.total, counts(&database, project, stale.id).await), (4, [4, 0, 0, 0, 0]));
    assert_eq!(database.store.ahead(project).await.unwrap().syncs, 4, "batches share their jobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batchs_jobs_are_of_its_request_also_those_of_the_schedule() {
    let (database, project) = with_creators(3).await;
    let ids = creator_ids(&database, project).await;
    let traced = async |trace: &str| {
        database.count(&format!("SELECT count(*) FROM jobs WHERE trace = '{trace}' AND state = 'waiting'")).await
    };
    // One waits for the schedule, and one for a request before.
    execute(&database, &format!("UPDATE creators SET next_sync_at = now() WHERE id = '{}'", ids[0])).await;
    assert_eq!(database.store.claim_due(Some(DAY), 10).await.unwrap(), Some(Claimed { looked_at: 1, made: 1 }));
    let named = database.store.open_batch_of(project, By::CommandLine, &ids[1..2], &ALL, Some("before")).await.unwrap();
    assert!(matches!(named, ChosenBatch::New(NewBatch { total: 1, .. })));
    database.store.open_traced_batch(project, &ALL, Some("asked")).await.unwrap();
    grow_all(&database, 10).await;
    assert_eq!((traced("before").await, traced("asked").await), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ahead_is_counted_by_project_and_each_job_once() {
    let (database, project) = with_creators(30).await;
    let others = [(database.project("large").await, 3000), (database.project("small").await, 20)];
    for (other, number) in others {
        add_creators(&database, other, &format!("{number}"), number).await;
    }
    // Three batches are about the same thirty.
    execute(&database, "UPDATE creators SET video_count = 50 WHERE external_id LIKE '20%'").await;
    for owner in [project, project, project, others[0].0, others[1].0] {
        database.store.open_batch(owner, &ALL).await.unwrap();
    }
    let before = database.store.ahead(project).await.unwrap();
    assert_eq!((before.syncs, before.pages), (30, 1.0), "also while a batch has no jobs yet");
    grow_all(&database, 1000).await;
    database.store.feed(None, 10, 15).await.unwrap();
    let mut ahead = database.store.ahead(project).await.unwrap();
    ahead.others.sort_unstable_by(f64::total_cmp);
    assert_eq!((ahead.syncs, ahead.pages, ahead.others), (30, 1.0, vec![60.0, 3000.0]));
    assert_eq!(database.store.ahead(ProjectId::new()).await.unwrap().syncs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_finish_jobs_of_one_batch_at_once_lose_no_count() {
    let (database, project) = with_creators(40).await;
    let new = database.store.open_batch(project, &ALL).await.unwrap();
    grow_all(&database, 100).await;
    let jobs = jobs_of(&database).await;
    join_all(jobs.into_iter().map(|job| finish(&database, job))).await;
    assert_eq!(counts(&database, project, new.id).await, [0, 0, 40, 0, 0]);
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
