//! What is written, shared and swept while something else goes on, on a real Postgres.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test says by a panic what is wrong"
)]

mod support;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use shared::cadence::RECENT;
use shared::ids::JobId;
use shared::platforms::Video;
use shared::queue::{Final, Lane};
use shared::store::creators::{CreatorFilter, Status};
use shared::store::credentials::Lease;
use shared::store::disconnects::Disconnect;
use shared::store::jobs::{Failure, JobState};
use shared::store::single_flight::OpenSync;
use shared::store::syncs::{SyncResult, WriteError};
use shared::store::videos::VideoQuery;
use support::{Database, connection, start, video};
use uuid::Uuid;

const NOTHING_LEFT: SyncResult<'static> = SyncResult {
    profile: None,
    videos: &[],
    listing: None,
    missing_scopes: "",
    checkpoints: 0,
    changed: false,
    stale: false,
    resync_every: None,
    recent: RECENT,
};

fn failure() -> Failure {
    Failure { code: "platform_error", message: "it failed".to_owned(), log_id: None }
}

fn videos(count: usize) -> Vec<Video> {
    (0..count).map(|number| video(&number.to_string(), i64::try_from(number).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_of_another_project_is_not_found() {
    let database = Database::create().await;
    let (mine, other) = (database.project("mine").await, database.project("other").await);
    let creator = database.connect(mine, "a").await.creator;
    assert_eq!(database.store.open_sync(other, creator, None).await.expect("an answer"), OpenSync::NotFound);
    assert_eq!(database.store.disconnect(other, creator, None).await.expect("an answer"), Disconnect::NotFound);
    assert_eq!(database.store.videos(other, creator, &VideoQuery::default(), 10).await.expect("an answer"), None);
    assert_eq!(database.store.creator(other, creator).await.expect("an answer"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_bulk_job_becomes_interactive_with_all_its_tries() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let id = connected.sync.expect("a first sync");
    for state in ["waiting", "enqueued", "retrying"] {
        let set = format!(
            "UPDATE jobs SET lane = 'bulk', attempts = 6, run_at = now() + interval '1 hour', state = '{state}'"
        );
        database.client().await.batch_execute(&set).await.expect("a bulk job");
        let asked = database.store.open_sync(project, connected.creator, None).await.expect("an answer");
        assert_eq!(asked, OpenSync::Shared { id, promoted: true });
        let job = database.store.job(project, id).await.expect("read").expect("a job");
        assert!(job.lane.is_interactive());
        assert_eq!(job.attempts, 0);
        assert!(job.run_at <= Utc::now() + TimeDelta::seconds(1));
        assert!(JobState::IN_REDIS.contains(&job.state), "{:?}", job.state);
        let again = database.store.open_sync(project, connected.creator, None).await.expect("an answer");
        assert_eq!(again, OpenSync::Shared { id, promoted: false });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_stops_a_running_sync_at_its_next_write() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let id = connected.sync.expect("a first sync");
    let sync = database.start(id).await.fence();
    database.store.save_videos(sync, &videos(3), None, &start()).await.expect("written");

    let disconnect = database.store.disconnect(project, connected.creator, None).await.expect("an answer");
    let Disconnect::New { id: revoke, cancelled } = disconnect else { panic!("{disconnect:?}") };
    assert_eq!(cancelled, [id]);
    assert!(matches!(
        database.store.save_videos(sync, &videos(9), None, &start()).await,
        Err(WriteError::Disconnected)
    ));
    assert!(matches!(database.store.finish_sync(sync, &NOTHING_LEFT).await, Err(WriteError::Disconnected)));
    assert_eq!(database.store.last_words(&[id]).await.expect("read"), [(id, Final::Cancelled)]);

    // Gone from every read at once, before anything is deleted.
    assert_eq!(database.store.creator(project, connected.creator).await.expect("read"), None);
    assert_eq!(
        database.store.videos(project, connected.creator, &VideoQuery::default(), 10).await.expect("read"),
        None
    );
    assert_eq!(database.store.creators(project, &CreatorFilter::default(), None, 10).await.expect("read"), []);
    let asked = database.store.open_sync(project, connected.creator, None).await.expect("an answer");
    assert_eq!(asked, OpenSync::NotFound);
    let second = database.store.disconnect(project, connected.creator, None).await.expect("an answer");
    assert_eq!(second, Disconnect::Shared(revoke));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_through_the_pages_shows_every_video_once_while_syncs_go_on() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let fence = database.start(connected.sync.expect("a first sync")).await.fence();
    // Seven videos of each second.
    let all: Vec<Video> = (0..60).map(|number| video(&number.to_string(), number / 7)).collect();
    database.store.save_videos(fence, &all, None, &start()).await.expect("written");
    let mut seen = Vec::new();
    let mut asked = VideoQuery::default();
    loop {
        let page =
            database.store.videos(project, connected.creator, &asked, 8).await.expect("read").expect("a creator");
        let Some(last) = page.last() else { break };
        asked.after = Some(last.position(asked.sort));
        seen.extend(page.into_iter().map(|video| (video.published_at, video.external_id)));
        let mut changed: Vec<Video> = all
            .iter()
            .map(|video| Video { views: Some(i64::try_from(seen.len()).unwrap()), ..video.clone() })
            .collect();
        changed.push(video(&format!("new {}", seen.len()), -100));
        database.store.save_videos(fence, &changed, None, &start()).await.expect("written");
    }
    assert_eq!(seen.len(), 60);
    let ids: HashSet<&String> = seen.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 60);
    assert!(seen.windows(2).all(|pair| pair[0].0 >= pair[1].0), "newest first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_dropped_on_its_way_leaves_nothing_behind() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let fence = database.start(connected.sync.expect("a first sync")).await.fence();
    let small = Database::open(&database.url, 1);
    // Its one connection is there before the lock is.
    small.ping().await.expect("a connection");
    let mut client = database.client().await;
    let lock = client.transaction().await.expect("a transaction");
    lock.execute("SELECT 1 FROM jobs FOR UPDATE", &[]).await.expect("locked");
    let (three, at) = (videos(3), start());
    tokio::select! {
        written = small.save_videos(fence, &three, None, &at) => panic!("it does not wait for the lock: {written:?}"),
        () = somebody_waits_for_a_lock(&database) => {}
    }
    lock.rollback().await.expect("unlocked");
    // The pool's only connection was in a transaction; the next caller must not find it there.
    assert_eq!(small.save_videos(fence, &videos(1), None, &start()).await.expect("written"), 1);
    drop(small);
    assert_eq!(database.count("SELECT count(*) FROM videos").await, 1);
}

async fn somebody_waits_for_a_lock(database: &Database) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let asked = Instant::now();
    while database.count(waiting).await == 0 {
        assert!(asked.elapsed() < Duration::from_secs(60), "nobody waits");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_sees_open_jobs_in_order_and_no_others() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let mut open = Vec::new();
    for number in 0..7 {
        open.push(database.connect(project, &number.to_string()).await.sync.expect("a first sync"));
    }
    let done = database.start(open.remove(0)).await;
    database.store.finish_sync(done.fence(), &NOTHING_LEFT).await.expect("done");
    let waiting = open.remove(0);
    let set = format!("UPDATE jobs SET state = 'waiting' WHERE id = '{waiting}'");
    database.client().await.batch_execute(&set).await.expect("a waiting job");
    let late = database.start(open[2]).await;
    database.store.retry_job(late.fence(), Lane::Sync, Duration::from_secs(60), &failure()).await.expect("written");

    let first = database.store.jobs_in_redis(None, 3).await.expect("read");
    let rest = database.store.jobs_in_redis(first.last().map(|job| job.message.id), 3).await.expect("read");
    let ids: Vec<JobId> = first.iter().chain(&rest).map(|job| job.message.id).collect();
    assert_eq!(ids, open);
    assert!(first[2].delay > Duration::from_secs(50), "{:?}", first[2].delay);
    assert!(first[0].delay.is_zero());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_later_version_keeps_nobodys_sweeper_from_the_others() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let known = database.connect(project, "known").await.sync.expect("a first sync");
    for column in ["lane", "kind"] {
        let strange = database.connect(project, column).await.sync.expect("a first sync");
        let set = format!("UPDATE jobs SET {column} = 'of-the-next-version' WHERE id = '{strange}'");
        database.client().await.batch_execute(&set).await.expect("a job of a later version");
    }
    let open = database.store.jobs_in_redis(None, 10).await.expect("read, whatever else is there");
    // Of an unknown kind, too: the message is pushed, and waits for a worker that knows it.
    let kinds: Vec<&str> = open.iter().map(|job| job.message.kind.as_str()).collect();
    assert_eq!((open[0].message.id, kinds), (known, vec!["sync", "of-the-next-version"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_migrate_at_once_do_it_once() {
    let database = Database::create_empty().await;
    // A task each: a migration blocks the task that applies it, and what shares that task would stand still with its
    // transaction open, which Postgres ends.
    let processes = (0..4).map(|_| {
        let store = Database::open(&database.url, 1);
        tokio::spawn(async move { store.migrate().await })
    });
    let applied = join_all(processes).await.into_iter();
    let mut applied: Vec<String> =
        applied.flat_map(|versions| versions.expect("no panic").expect("migrated")).collect();
    applied.sort();
    let sql = database.client().await;
    let rows = sql.query("SELECT version FROM __diesel_schema_migrations ORDER BY version", &[]).await.unwrap();
    let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(applied, there, "each by one of them");
    assert!(database.store.schema_version().await.expect("a version").is_sufficient());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_comes_late_heals_nothing_and_gives_the_lease_back() {
    let database = Database::create().await;
    let (store, project, granted) = (&database.store, database.project("mine").await, Utc::now());
    let new = connection(project, "a", granted);
    let creator = store.connect(&new, None).await.unwrap().creator;
    let id = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let version = store.credential(id).await.unwrap().unwrap().version;
    assert!(store.mark_dead(id, version, "invalid_grant").await.unwrap());
    // The consent before: its tokens are older than those that are refused.
    let late = connection(project, "a", granted - TimeDelta::seconds(5));
    let term = Duration::from_secs(60);
    assert!(matches!(store.lease_credential(id, late.lease_owner, term).await.unwrap(), Lease::Taken(_)));
    assert_eq!(store.connect(&late, None).await.unwrap().creator, creator);
    let stored = store.creator(project, creator).await.unwrap().unwrap();
    assert_eq!(stored.status, Status::ReauthorizationRequired);
    assert_eq!(stored.status_reason.as_deref(), Some("invalid_grant"));
    let next = store.lease_credential(id, Uuid::new_v4(), term).await.unwrap();
    let Lease::Taken(credential) = next else { panic!("the lease was not given back") };
    assert_eq!(credential.access_token, new.pair.access_token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_somebody_else_had_meanwhile_is_not_extended() {
    let database = Database::create().await;
    let (store, project) = (&database.store, database.project("mine").await);
    let creator = database.connect(project, "a").await.creator;
    let id = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let mine = Uuid::new_v4();
    assert!(matches!(store.lease_credential(id, mine, Duration::ZERO).await.unwrap(), Lease::Taken(_)));
    assert!(store.extend_lease(id, mine, Duration::ZERO).await.unwrap(), "it has ended, and nobody took it");
    database.connect(project, "a").await;
    assert!(!store.extend_lease(id, mine, Duration::from_secs(60)).await.unwrap(), "it is free, and not ours");
}

/// What a connection runs into may be deleted before it can be looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_meets_a_disconnects_last_moment_is_made() {
    let database = Database::create().await;
    let (store, project) = (&database.store, database.project("mine").await);
    let old = database.connect(project, "a").await.creator;
    let client = database.client().await;
    // As the end of a disconnect: the tokens are locked, and then deleted.
    client.batch_execute("BEGIN; SELECT 1 FROM credentials FOR UPDATE").await.unwrap();
    let connecting = tokio::spawn({
        let store = store.clone();
        async move { store.connect(&connection(project, "a", Utc::now()), None).await }
    });
    let blocked =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while database.count(blocked).await == 0 {
        assert!(!connecting.is_finished());
        tokio::task::yield_now().await;
    }
    let erase = format!("DELETE FROM creators WHERE id = '{old}'; DELETE FROM credentials; COMMIT");
    client.batch_execute(&erase).await.unwrap();
    assert_ne!(connecting.await.unwrap().unwrap().creator, old);
}

/// Each is a transaction of its own: no lock of one is kept while the next one waits for its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_gives_way_leaves_those_before_it_applied() {
    use diesel_migrations::MigrationHarness;
    let database = Database::create_empty().await;
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    let connection = diesel_async::AsyncPgConnection::try_from_client_and_connection(client, connection).await.unwrap();
    let mut harness = diesel_async::AsyncMigrationHarness::new(connection);
    // To `console`: a schema that is in use when the next ones come.
    for _ in 1..=7 {
        harness.run_next_migration(shared::store::MIGRATIONS).unwrap();
    }
    let reader = database.client().await;
    reader.batch_execute("BEGIN; SELECT FROM projects").await.unwrap();
    let gave_way = database.store.migrate().await.unwrap_err();
    assert!(gave_way.to_string().contains("lock timeout"), "{gave_way}");
    // The one that wants `projects` to itself is `safety`.
    let found = database.store.schema_version().await.unwrap().found;
    assert_eq!(found.as_deref(), Some("20261129000008"));
    reader.batch_execute("COMMIT").await.unwrap();
    assert_eq!(database.store.migrate().await.unwrap().first().map(String::as_str), Some("20261129000011"));
    assert!(database.store.schema_version().await.unwrap().is_sufficient());
}
