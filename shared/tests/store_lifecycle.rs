//! The store on a real Postgres: what the races in docs/internals.md rely on.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use shared::cadence::RECENT;
use shared::ids::{CreatorId, JobId, ProjectId};
use shared::platforms::{Platform, Profile, Scopes, Video};
use shared::queue::{Final, Lane};
use shared::store::checkpoints::Checkpoint;
use shared::store::connections::{Connected, NewConnection};
use shared::store::creators::{CreatorFilter, Status};
use shared::store::credentials::{Account, Lease, SealedPair};
use shared::store::disconnects::Disconnect;
use shared::store::jobs::{Failure, Fence, JobState, Start};
use shared::store::single_flight::OpenSync;
use shared::store::syncs::{Listed, SyncResult, WriteError};
use shared::store::videos::VideoQuery;
use shared::store::{Store, StoreError};
use uuid::Uuid;

/// A store on a database of its own, migrated, with one project.
async fn store() -> (Store, ProjectId, tokio_postgres::Client) {
    let server = std::env::var("METRIQLAB_TEST_DATABASE_URL")
        .expect("METRIQLAB_TEST_DATABASE_URL is not set: run the tests with `make test`");
    let name = format!("store_{}", Uuid::new_v4().simple());
    let (admin, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let store = Store::open(&SecretString::from(url.to_string()), 8).unwrap();
    store.migrate().await.unwrap();
    let project = store.add_key("p", &[7; 32], "mlk_abc").await.unwrap();
    let (client, connection) = tokio_postgres::connect(url.as_str(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    (store, project, client)
}

fn account() -> Account {
    Account { platform: Platform::Tiktok, app: "app".into(), external_id: "open-1".into() }
}

fn pair(access: &[u8]) -> SealedPair {
    SealedPair {
        access_token: access.to_vec(),
        refresh_token: Some(b"refresh".to_vec()),
        scopes: "user.info.basic,video.list".into(),
        access_expires_in: Duration::from_secs(7200),
        refresh_expires_in: Some(Duration::from_secs(15_552_000)),
    }
}

async fn connect(store: &Store, project: ProjectId, access: &[u8]) -> Connected {
    connect_at(store, project, access, Utc::now()).await
}

async fn connect_at(store: &Store, project: ProjectId, access: &[u8], granted_at: DateTime<Utc>) -> Connected {
    let new = NewConnection {
        project,
        account: account(),
        pair: pair(access),
        granted_at,
        missing_scopes: String::new(),
        external_ref: None,
        begun_by: None,
        lease_owner: Uuid::new_v4(),
    };
    store.connect(&new, None).await.unwrap()
}

fn video(external_id: &str, views: i64) -> Video {
    Video {
        external_id: external_id.into(),
        title: Some("t".into()),
        description: None,
        url: None,
        cover_url: None,
        duration: Some(3),
        views: Some(views),
        likes: None,
        comments: None,
        shares: None,
        published_at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
    }
}

/// Where a sync is that has read nothing yet.
fn start() -> Checkpoint {
    Checkpoint {
        part: 0,
        granted_at: DateTime::UNIX_EPOCH,
        scopes: Scopes::default(),
        refused: Scopes::default(),
        age: Duration::ZERO,
        waited_for: false,
        cursor: None,
        oldest: None,
        disordered: false,
        changed: false,
    }
}

async fn claim(store: &Store, job: JobId) -> Fence {
    match store.start_job(job).await.unwrap() {
        Start::Claimed(job) => job.fence(),
        other => panic!("not claimed: {other:?}"),
    }
}

fn failure() -> Failure {
    Failure { code: "platform_error", message: "it failed".into(), log_id: None }
}

fn result<'a>(profile: &'a Profile, videos: &'a [Video], listing: Option<&'a [String]>) -> SyncResult<'a> {
    let listing = listing.map(|ids| Listed { ids, down_to: None });
    SyncResult {
        profile: Some(profile),
        videos,
        listing,
        missing_scopes: "",
        checkpoints: 0,
        changed: false,
        stale: false,
        resync_every: None,
        recent: RECENT,
    }
}

async fn listed(store: &Store, project: ProjectId, creator: CreatorId) -> Vec<String> {
    let page = store.videos(project, creator, &VideoQuery::default(), 500).await.unwrap().expect("a creator");
    page.into_iter().map(|video| video.external_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_our_own_does_not_keep_the_id_of_an_exchange_that_it_does_not_tell_of() {
    let (store, project, _) = store().await;
    let id = connect(&store, project, b"access").await.sync.expect("a first sync");
    let log_id = async || store.any_job(id).await.unwrap().expect("a job").log_id;
    let started = async || match store.start_job(id).await.unwrap() {
        Start::Claimed(job) => job,
        other => panic!("not claimed: {other:?}"),
    };
    let told = Failure { log_id: Some("20261130A".into()), ..failure() };
    let own = Failure::internal("the job panicked");
    for is_final in [false, true] {
        let job = started().await;
        assert!(store.retry_job(job.fence(), job.lane, Duration::ZERO, &told).await.unwrap());
        assert_eq!(log_id().await, told.log_id);
        let job = started().await;
        assert_eq!((&job.log_id, job.error.as_deref()), (&told.log_id, Some("it failed")), "for who tells of it");
        let written = if is_final {
            store.fail_job(job.fence(), &own).await
        } else {
            store.retry_job(job.fence(), job.lane, Duration::ZERO, &own).await
        };
        assert!(written.unwrap());
        assert_eq!(log_id().await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_whose_connection_breaks_says_why() {
    let (store, _, mut client) = store().await;
    let holder = client.transaction().await.unwrap();
    holder.batch_execute("LOCK TABLE __diesel_schema_migrations IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let migrating = tokio::spawn(async move { store.migrate().await });
    let end_the_waiter = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    tokio::time::timeout(Duration::from_secs(60), async {
        while holder.query(end_the_waiter, &[]).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it waits for the lock");
    let error = migrating.await.unwrap().expect_err("its connection is gone");
    assert!(matches!(&error, StoreError::Migration(why) if why.contains("terminating connection")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_apply_once_and_undo() {
    use diesel_migrations::MigrationHarness;
    let (store, ..) = store().await;
    assert_eq!(store.migrate().await.unwrap(), Vec::<String>::new());
    let version = store.schema_version().await.unwrap();
    assert!(version.is_sufficient(), "{version:?}");
    let server = std::env::var("METRIQLAB_TEST_DATABASE_URL").unwrap();
    let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let name = format!("store_{}", Uuid::new_v4().simple());
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let empty = Store::open(&SecretString::from(url.to_string()), 2).unwrap();
    assert_eq!(empty.schema_version().await.unwrap().found, None);
    let (client, connection) = tokio_postgres::connect(url.as_str(), tokio_postgres::NoTls).await.unwrap();
    let connection = diesel_async::AsyncPgConnection::try_from_client_and_connection(client, connection).await.unwrap();
    let mut harness = diesel_async::AsyncMigrationHarness::new(connection);
    harness.run_pending_migrations(shared::store::MIGRATIONS).unwrap();
    harness.revert_all_migrations(shared::store::MIGRATIONS).unwrap();
    harness.run_pending_migrations(shared::store::MIGRATIONS).unwrap();
    assert!(empty.schema_version().await.unwrap().is_sufficient());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_has_one_open_sync_and_callers_share_it() {
    let (store, project, _) = store().await;
    let connected = connect(&store, project, b"a").await;
    let first = connected.sync.expect("a first sync");
    let shared = store.open_sync(project, connected.creator, None).await.unwrap();
    assert_eq!(shared, OpenSync::Shared { id: first, promoted: false });
    let fence = claim(&store, first).await;
    store.finish_sync(fence, &result(&Profile::default(), &[], None)).await.unwrap();
    assert_eq!(store.last_words(&[first]).await.unwrap(), vec![(first, Final::Done)]);
    let OpenSync::New(second) = store.open_sync(project, connected.creator, None).await.unwrap() else {
        panic!("asked after it was done: a new one")
    };
    assert_ne!(first, second);
    assert_eq!(store.open_sync(ProjectId::new(), connected.creator, None).await.unwrap(), OpenSync::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_callers_at_once_make_one_job() {
    let (store, project, _) = store().await;
    let connected = connect(&store, project, b"a").await;
    let fence = claim(&store, connected.sync.unwrap()).await;
    store.finish_sync(fence, &result(&Profile::default(), &[], None)).await.unwrap();
    let calls = (0..20).map(|_| store.open_sync(project, connected.creator, None));
    let answers = futures::future::join_all(calls).await;
    let mut new = 0;
    let mut ids = std::collections::HashSet::new();
    for answer in answers {
        match answer.unwrap() {
            OpenSync::New(id) => {
                new += 1;
                ids.insert(id);
            }
            OpenSync::Shared { id, .. } => {
                ids.insert(id);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((new, ids.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_job_in_the_way_becomes_interactive() {
    let (store, project, sql) = store().await;
    let connected = connect(&store, project, b"a").await;
    for state in ["waiting", "enqueued", "running", "retrying"] {
        sql.execute("UPDATE jobs SET lane = 'bulk', state = $1, finished_at = NULL, run_at = now() + '1h'", &[&state])
            .await
            .unwrap();
        let shared = store.open_sync(project, connected.creator, None).await.unwrap();
        assert_eq!(shared, OpenSync::Shared { id: connected.sync.unwrap(), promoted: true }, "{state}");
        let due = &store.jobs_in_redis(None, 10).await.unwrap()[0];
        assert_eq!((due.lane.as_ref(), due.delay), ("sync", Duration::ZERO), "{state}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_start_fences_the_earlier_one_out() {
    let (store, project, _) = store().await;
    let connected = connect(&store, project, b"a").await;
    let job = connected.sync.unwrap();
    let old = claim(&store, job).await;
    let new = claim(&store, job).await;
    assert!(new.claim > old.claim);
    let videos = [video("v1", 1)];
    assert!(matches!(store.save_videos(old, &videos, None, &start()).await, Err(WriteError::Superseded)));
    let profile = Profile::default();
    assert!(matches!(store.finish_sync(old, &result(&profile, &videos, None)).await, Err(WriteError::Superseded)));
    assert!(!store.retry_job(old, Lane::Sync, Duration::ZERO, &failure()).await.unwrap());
    assert!(!store.fail_job(old, &failure()).await.unwrap());
    assert!(!store.postpone_job(old, Duration::ZERO).await.unwrap());
    assert!(!store.cancel_job(old).await.unwrap());
    assert_eq!(listed(&store, project, connected.creator).await, Vec::<String>::new());
    store.finish_sync(new, &result(&profile, &videos, None)).await.unwrap();
    assert_eq!(listed(&store, project, connected.creator).await, vec!["v1"]);
    assert_eq!(store.start_job(job).await.unwrap(), Start::Finished(Final::Done));
    assert_eq!(store.start_job(JobId::new()).await.unwrap(), Start::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_no_attempt_and_neither_is_a_wait_for_budget() {
    let (store, project, _) = store().await;
    let job = connect(&store, project, b"a").await.sync.unwrap();
    let attempts = async || store.job(project, job).await.unwrap().unwrap().attempts;
    claim(&store, job).await;
    assert_eq!(attempts().await, 1);
    let fence = claim(&store, job).await;
    assert_eq!(attempts().await, 1, "found running: a crash");
    assert!(store.postpone_job(fence, Duration::from_secs(1)).await.unwrap());
    assert_eq!(attempts().await, 0);
    let fence = claim(&store, job).await;
    let elsewhere = store.retry_job(fence, Lane::Bulk, Duration::from_secs(1600), &failure()).await.unwrap();
    assert!(!elsewhere, "the delay of another lane is not written");
    assert!(store.retry_job(fence, Lane::Sync, Duration::from_secs(5), &failure()).await.unwrap());
    let open = &store.jobs_in_redis(None, 10).await.unwrap()[0];
    assert!(open.delay > Duration::from_secs(3) && open.delay <= Duration::from_secs(5), "{:?}", open.delay);
    let fence = claim(&store, job).await;
    assert_eq!(attempts().await, 2);
    assert!(store.fail_job(fence, &failure()).await.unwrap());
    let failed = store.job(project, job).await.unwrap().unwrap();
    assert_eq!((failed.state, failed.error_code.as_deref()), (JobState::Failed, Some("platform_error")));
    assert_eq!(failed.last_word(), Some(Final::Failed { code: "platform_error".into() }));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_changed_rows_are_written_and_the_unlisted_are_hidden() {
    let (store, project, sql) = store().await;
    let connected = connect(&store, project, b"a").await;
    let fence = claim(&store, connected.sync.unwrap()).await;
    let first = [video("v1", 1), video("v2", 2), video("v3", 3)];
    assert_eq!(store.save_videos(fence, &first, None, &start()).await.unwrap(), 3);
    assert_eq!(store.save_videos(fence, &first, None, &start()).await.unwrap(), 0, "nothing changed: nothing written");
    let twice = [video("v1", 5), video("v2", 2), video("v1", 6)];
    assert_eq!(
        store.save_videos(fence, &twice, None, &start()).await.unwrap(),
        1,
        "of two entries of one id the later counts"
    );
    let ids = ["v1".to_owned(), "v2".to_owned()];
    let profile = Profile { followers: Some(5), ..Profile::default() };
    store.finish_sync(fence, &result(&profile, &[], Some(&ids))).await.unwrap();
    let mut left = listed(&store, project, connected.creator).await;
    left.sort();
    assert_eq!(left, ids);
    let creator = store.creator(project, connected.creator).await.unwrap().unwrap();
    assert_eq!(creator.followers, Some(5));
    assert!(creator.last_synced_at.is_some());
    // It returns under its old id.
    let id_of = async || -> String {
        sql.query_one("SELECT id::text FROM videos WHERE external_id = 'v3'", &[]).await.unwrap().get(0)
    };
    let before = id_of().await;
    let OpenSync::New(job) = store.open_sync(project, connected.creator, None).await.unwrap() else { panic!() };
    let fence = claim(&store, job).await;
    store.finish_sync(fence, &result(&profile, &first, None)).await.unwrap();
    assert_eq!(listed(&store, project, connected.creator).await.len(), 3);
    assert_eq!(id_of().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_every_video_once_also_of_one_second() {
    let (store, project, _) = store().await;
    let connected = connect(&store, project, b"a").await;
    let fence = claim(&store, connected.sync.unwrap()).await;
    let videos: Vec<Video> = (0..57).map(|n| video(&format!("v{n}"), n)).collect();
    store.save_videos(fence, &videos, None, &start()).await.unwrap();
    let mut seen = Vec::new();
    let mut asked = VideoQuery::default();
    loop {
        let page = store.videos(project, connected.creator, &asked, 10).await.unwrap().unwrap();
        let Some(last) = page.last() else { break };
        asked.after = Some(last.position(asked.sort));
        seen.extend(page.into_iter().map(|video| video.external_id));
    }
    seen.sort();
    let mut all: Vec<String> = videos.into_iter().map(|video| video.external_id).collect();
    all.sort();
    assert_eq!(seen, all);
    assert_eq!(store.videos(project, CreatorId::new(), &VideoQuery::default(), 10).await.unwrap(), None);
    assert_eq!(store.videos(ProjectId::new(), connected.creator, &VideoQuery::default(), 10).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_again_keeps_the_id_and_takes_the_newest_tokens() {
    let (store, project, _) = store().await;
    let now = Utc::now();
    let first = connect_at(&store, project, b"new", now).await;
    let second = connect_at(&store, project, b"old", now - TimeDelta::seconds(5)).await;
    assert_eq!(first.creator, second.creator);
    let credential = store.creator(project, first.creator).await.unwrap().unwrap().credential_id;
    let stored = store.credential(credential).await.unwrap().unwrap();
    assert_eq!(stored.access_token, b"new", "the older consent's tokens are dropped");
    connect_at(&store, project, b"newer", now + TimeDelta::seconds(5)).await;
    let newer = store.credential(credential).await.unwrap().unwrap();
    assert_eq!(newer.access_token, b"newer");
    assert!(newer.version > stored.version);
    assert_eq!(store.creators(project, &CreatorFilter::default(), None, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_connects_of_one_account_at_once_make_one_creator() {
    let (store, project, _) = store().await;
    let connected = futures::future::join_all((0..8).map(|_| connect(&store, project, b"a"))).await;
    assert!(connected.iter().all(|one| one.creator == connected[0].creator));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_pair_that_was_tried_is_declared_dead() {
    let (store, project, _) = store().await;
    let creator = connect(&store, project, b"a").await.creator;
    let status = async || store.creator(project, creator).await.unwrap().unwrap().status;
    let id = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let old = store.credential(id).await.unwrap().unwrap().version;
    let new = store.save_pair(id, old, &pair(b"b")).await.unwrap().expect("the pair is the stored one");
    assert_eq!(store.save_pair(id, old, &pair(b"c")).await.unwrap(), None, "compare and set");
    assert!(!store.mark_dead(id, old, "refused").await.unwrap());
    assert_eq!(status().await, Status::Active);
    assert!(store.mark_dead(id, new, "refused").await.unwrap());
    assert_eq!(status().await, Status::ReauthorizationRequired);
    assert_eq!(store.open_sync(project, creator, None).await.unwrap(), OpenSync::ReauthorizationRequired);
    store.save_pair(id, new, &pair(b"d")).await.unwrap().expect("a later good pair");
    assert_eq!(status().await, Status::Active, "heals it");
}

/// The connection finds the job open and makes none of its own: so that one must not end with the tokens that it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_tokens_were_refused_goes_on_if_the_creator_connects_before_its_end() {
    let (store, project, _) = store().await;
    let Connected { creator, sync, .. } = connect(&store, project, b"a").await;
    let fence = claim(&store, sync.expect("the first sync")).await;
    let id = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let version = store.credential(id).await.unwrap().unwrap().version;
    assert!(store.mark_dead(id, version, "refused").await.unwrap());
    assert_eq!(connect(&store, project, b"b").await.sync, None, "the open one is shared");
    assert!(!store.fail_refused_job(fence, &failure()).await.unwrap());
    let version = store.credential(id).await.unwrap().unwrap().version;
    assert!(store.mark_dead(id, version, "refused").await.unwrap());
    assert!(store.fail_refused_job(fence, &failure()).await.unwrap(), "and ends if nobody does");
    assert!(connect(&store, project, b"c").await.sync.is_some(), "then a connection makes one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_refresh_token_never_overwrites_the_stored_one() {
    let (store, project, _) = store().await;
    let creator = connect(&store, project, b"a").await.creator;
    let id = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let stored = store.credential(id).await.unwrap().unwrap();
    let renewed = SealedPair { refresh_token: None, refresh_expires_in: None, ..pair(b"b") };
    store.save_pair(id, stored.version, &renewed).await.unwrap().unwrap();
    let after = store.credential(id).await.unwrap().unwrap();
    assert_eq!(after.refresh_token.as_deref(), Some(b"refresh".as_slice()));
    assert_eq!(after.refresh_expires_at, stored.refresh_expires_at);
    assert_eq!(after.access_token, b"b");
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_removals_do_no_harm() {
    let (store, project, _) = store().await;
    let granted = Utc::now();
    let creator = connect_at(&store, project, b"a", granted).await.creator;
    let status = async || store.creator(project, creator).await.unwrap().unwrap().status;
    assert!(!store.note_removal(&account(), granted - TimeDelta::seconds(60), "old").await.unwrap());
    assert_eq!(status().await, Status::Active);
    for _ in 0..2 {
        assert!(store.note_removal(&account(), granted + TimeDelta::seconds(1), "by the creator").await.unwrap());
        assert_eq!(status().await, Status::ReauthorizationRequired);
    }
    let other = Account { external_id: "nobody".into(), ..account() };
    assert!(!store.note_removal(&other, granted, "x").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_has_one_owner_and_an_end() {
    let (store, project, sql) = store().await;
    let creator = connect(&store, project, b"a").await.creator;
    let id = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let (mine, theirs) = (Uuid::new_v4(), Uuid::new_v4());
    let term = Duration::from_secs(30);
    assert!(matches!(store.lease_credential(id, mine, term).await.unwrap(), Lease::Taken(_)));
    assert!(matches!(store.lease_account(&account(), theirs, term).await.unwrap(), Lease::Held));
    assert!(matches!(store.lease_credential(id, mine, term).await.unwrap(), Lease::Taken(_)), "its own again");
    store.release_lease(id, theirs).await.unwrap();
    assert!(matches!(store.lease_credential(id, theirs, term).await.unwrap(), Lease::Held), "not theirs to give");
    sql.execute("UPDATE credentials SET lease_expires_at = now() - '1s'::interval", &[]).await.unwrap();
    assert!(matches!(store.lease_credential(id, theirs, term).await.unwrap(), Lease::Taken(_)), "it ran out");
    store.release_lease(id, theirs).await.unwrap();
    assert!(matches!(store.lease_account(&account(), mine, term).await.unwrap(), Lease::Taken(_)));
    let nobody = Account { external_id: "nobody".into(), ..account() };
    assert!(matches!(store.lease_account(&nobody, mine, term).await.unwrap(), Lease::NoCredential));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_hides_the_creator_cancels_its_sync_and_erases_it() {
    let (store, project, sql) = store().await;
    let connected = connect(&store, project, b"a").await;
    let creator = connected.creator;
    let sync = claim(&store, connected.sync.unwrap()).await;
    store.save_videos(sync, &[video("v1", 1)], None, &start()).await.unwrap();
    let credential = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let Disconnect::New { id, cancelled } = store.disconnect(project, creator, None).await.unwrap() else { panic!() };
    assert_eq!(cancelled, vec![connected.sync.unwrap()]);
    assert_eq!(store.disconnect(project, creator, None).await.unwrap(), Disconnect::Shared(id));
    assert_eq!(store.creator(project, creator).await.unwrap(), None);
    assert_eq!(store.videos(project, creator, &VideoQuery::default(), 10).await.unwrap(), None);
    assert_eq!(store.open_sync(project, creator, None).await.unwrap(), OpenSync::NotFound);
    assert!(matches!(store.save_videos(sync, &[video("v2", 1)], None, &start()).await, Err(WriteError::Disconnected)));
    assert!(store.sync_target(creator).await.unwrap().is_none());
    let fence = claim(&store, id).await;
    let leaving = store.leaving_creator(creator).await.unwrap().unwrap();
    assert_eq!(leaving.credential, credential);
    assert!(!store.is_held_by_others(credential, creator).await.unwrap());
    let owner = Uuid::new_v4();
    assert!(!store.finish_disconnect(fence, credential, owner).await.unwrap(), "no lease");
    store.lease_credential(credential, owner, Duration::from_secs(30)).await.unwrap();
    assert!(store.finish_disconnect(fence, credential, owner).await.unwrap());
    for table in ["creators", "videos", "credentials"] {
        let rows: i64 = sql.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0);
        assert_eq!(rows, 0, "{table}");
    }
    assert_eq!(store.last_words(&[id]).await.unwrap(), vec![(id, Final::Done)]);
    assert_eq!(store.disconnect(project, creator, None).await.unwrap(), Disconnect::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_another_project_holds_keeps_its_tokens() {
    let (store, project, _) = store().await;
    let other = store.add_key("other", &[8; 32], "mlk_def").await.unwrap();
    let creator = connect(&store, project, b"a").await.creator;
    let theirs = connect(&store, other, b"b").await.creator;
    assert_ne!(creator, theirs);
    let credential = store.creator(other, theirs).await.unwrap().unwrap().credential_id;
    let Disconnect::New { id, .. } = store.disconnect(project, creator, None).await.unwrap() else { panic!() };
    let fence = claim(&store, id).await;
    assert!(store.is_held_by_others(credential, creator).await.unwrap());
    let owner = Uuid::new_v4();
    store.lease_credential(credential, owner, Duration::from_secs(30)).await.unwrap();
    assert!(store.finish_disconnect(fence, credential, owner).await.unwrap());
    assert_eq!(store.credential(credential).await.unwrap().unwrap().access_token, b"b");
    assert!(store.creator(other, theirs).await.unwrap().is_some());
    let mine = Uuid::new_v4();
    let lease = store.lease_credential(credential, mine, Duration::from_secs(1)).await.unwrap();
    assert!(matches!(lease, Lease::Taken(_)), "the lease ended with the disconnect");
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_while_a_disconnect_is_under_way_is_a_fresh_creator() {
    let (store, project, sql) = store().await;
    let old = connect(&store, project, b"a").await.creator;
    let Disconnect::New { id, .. } = store.disconnect(project, old, None).await.unwrap() else { panic!() };
    let fence = claim(&store, id).await;
    let fresh = connect(&store, project, b"b").await;
    assert_ne!(fresh.creator, old);
    assert_eq!(fresh.completed_disconnects, vec![id]);
    assert_eq!(store.last_words(&[id]).await.unwrap(), vec![(id, Final::Done)]);
    let credential = store.creator(project, fresh.creator).await.unwrap().unwrap().credential_id;
    let owner = Uuid::new_v4();
    store.lease_credential(credential, owner, Duration::from_secs(30)).await.unwrap();
    assert!(!store.finish_disconnect(fence, credential, owner).await.unwrap(), "the old job writes nothing");
    let rows: i64 = sql.query_one("SELECT count(*) FROM creators", &[]).await.unwrap().get(0);
    assert_eq!(rows, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_creators_is_walked_in_order_by_keyset() {
    let (store, project, sql) = store().await;
    connect(&store, project, b"a").await;
    sql.execute(
        "INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at) \
         SELECT gen_random_uuid(), project_id, credential_id, 'TIKTOK', 'x' || n, '2026-01-01' FROM creators, generate_series(1, 41) n",
        &[],
    )
    .await
    .unwrap();
    let (mut seen, mut after) = (std::collections::HashSet::new(), None);
    loop {
        let page = store.creators(project, &CreatorFilter::default(), after, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.position());
        seen.extend(page.iter().map(|creator| creator.id));
    }
    assert_eq!(seen.len(), 42);
    let filter =
        CreatorFilter { external_id: Some("x7".into()), platform: Some(Platform::Tiktok), ..CreatorFilter::default() };
    assert_eq!(store.creators(project, &filter, None, 10).await.unwrap().len(), 1);
    let filter = CreatorFilter { platform: Some(Platform::Youtube), ..CreatorFilter::default() };
    assert_eq!(store.creators(project, &filter, None, 10).await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_work_until_they_are_revoked_by_a_prefix_that_names_one() {
    use shared::store::keys::Revocation;
    let (store, project, _) = store().await;
    store.add_key("p", &[9; 32], "mlk_abd").await.unwrap();
    assert_eq!(store.active_key(&[9; 32]).await.unwrap().map(|key| key.project), Some(project));
    assert_eq!(store.active_key(&[1; 32]).await.unwrap(), None);
    assert!(matches!(store.revoke_key("mlk_ab").await.unwrap(), Revocation::Ambiguous(two) if two.len() == 2));
    assert_eq!(store.revoke_key("mlkXab").await.unwrap(), Revocation::NotFound, "`_` matches only itself");
    assert_eq!(store.revoke_key("mlk_abd").await.unwrap(), Revocation::Revoked("mlk_abd".into()));
    assert_eq!(store.active_key(&[9; 32]).await.unwrap(), None);
    assert_eq!(store.revoke_key("mlk_abd").await.unwrap(), Revocation::NotFound);
    store.add_key("p", &[10; 32], "mlk_abd").await.unwrap();
    assert_eq!(store.revoke_key_by_hash(&[11; 32]).await.unwrap(), Revocation::NotFound);
    assert_eq!(store.revoke_key_by_hash(&[10; 32]).await.unwrap(), Revocation::Revoked("mlk_abd".into()));
    assert_eq!(store.active_key(&[10; 32]).await.unwrap(), None);
    assert_eq!(store.revoke_key_by_hash(&[10; 32]).await.unwrap(), Revocation::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_is_taken_once_and_in_time() {
    use shared::store::audit::By;
    use shared::store::states::PendingConsent;
    let (store, project, sql) = store().await;
    let pending = PendingConsent {
        project_id: project,
        platform: Platform::Tiktok,
        redirect_url: None,
        external_ref: None,
        pkce_sealed: Some(vec![7]),
        pkce_verifier: Some("in plain text".into()),
    };
    store.add_state(By::CommandLine, &[1; 32], &pending).await.unwrap();
    store.add_state(By::CommandLine, &[2; 32], &pending).await.unwrap();
    let answers = futures::future::join_all((0..5).map(|_| store.take_state(&[1; 32]))).await;
    let taken: Vec<_> = answers.into_iter().filter_map(|taken| taken.unwrap()).collect();
    let [(once, _)] = &taken[..] else { panic!("taken {} times", taken.len()) };
    assert_eq!((once.pkce_sealed.as_deref(), &once.pkce_verifier), (Some(&[7][..]), &None), "no plain text is written");
    sql.execute("UPDATE oauth_states SET expires_at = now()", &[]).await.unwrap();
    assert!(store.take_state(&[2; 32]).await.unwrap().is_none(), "too late");
    store.add_state(By::CommandLine, &[3; 32], &pending).await.unwrap();
    sql.execute("UPDATE oauth_states SET expires_at = now()", &[]).await.unwrap();
    assert_eq!(store.prune_states(10).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_are_pruned_after_a_week() {
    let (store, project, sql) = store().await;
    let job = connect(&store, project, b"a").await.sync.unwrap();
    let fence = claim(&store, job).await;
    assert!(store.fail_job(fence, &failure()).await.unwrap());
    assert_eq!(store.prune_jobs(10).await.unwrap(), 0);
    sql.execute("UPDATE jobs SET finished_at = now() - '8 days'::interval", &[]).await.unwrap();
    assert_eq!(store.prune_jobs(10).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budgets_last_use_is_known_by_its_age() {
    let (store, ..) = store().await;
    assert_eq!(store.budget_last_used("app", "video/list").await.unwrap(), None);
    store.note_budget_use("app", "video/list").await.unwrap();
    store.note_budget_use("app", "video/list").await.unwrap();
    let age = store.budget_last_used("app", "video/list").await.unwrap().unwrap();
    assert!(age < Duration::from_secs(5), "{age:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_out_of_reach_is_said_to_be() {
    let nobody = SecretString::from("postgres://nobody@127.0.0.1:1/none".to_owned());
    let error = Store::open(&nobody, 1).unwrap().ping().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let wrong = Store::open(&SecretString::from("not a url".to_owned()), 1).unwrap_err();
    assert!(!wrong.is_unavailable());
}

/// `schema.rs` says what the migrations made: every table, every column, its type and whether it may be null.
#[tokio::test(flavor = "multi_thread")]
async fn the_schema_in_code_is_the_one_in_the_database() {
    let (_, _, sql) = store().await;
    let rows = sql
        .query(
            "SELECT table_name::text, column_name::text, udt_name::text, is_nullable::text FROM information_schema.columns \
             WHERE table_schema = 'public' AND table_name NOT LIKE '\\_\\_%' \
             AND to_regclass(table_name) NOT IN (SELECT inhrelid FROM pg_inherits)",
            &[],
        )
        .await
        .unwrap();
    let mut found: Vec<String> = rows
        .iter()
        .map(|row| {
            let (table, column, udt, null): (&str, &str, &str, &str) = (row.get(0), row.get(1), row.get(2), row.get(3));
            let kind = match udt {
                "uuid" => "Uuid",
                "text" => "Text",
                "bytea" => "Bytea",
                "timestamptz" => "Timestamptz",
                "int8" => "Int8",
                "int4" => "Int4",
                "bool" => "Bool",
                "_text" => "Array<Text>",
                other => panic!("{table}.{column} is {other}"),
            };
            let kind = if null == "YES" { format!("Nullable<{kind}>") } else { kind.to_owned() };
            format!("{table}.{column} -> {kind}")
        })
        .collect();
    found.sort();
    let mut table = "";
    let mut declared = Vec::new();
    for line in include_str!("../src/store/schema.rs").lines().map(str::trim) {
        if let Some((name, _)) = line.split_once(" (") {
            table = name;
        } else if let Some((column, kind)) = line.trim_end_matches(',').split_once(" -> ") {
            declared.push(format!("{table}.{column} -> {kind}"));
        }
    }
    declared.sort();
    assert_eq!(found, declared);
}
