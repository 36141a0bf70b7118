//! The store on a real Postgres: what the races in docs/internals.md rely on.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod connections;
mod jobs;
mod tokens;

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use shared::cadence::RECENT;
use shared::ids::{CreatorId, JobId, ProjectId};
use shared::platforms::{Platform, Profile, Scopes, Video};
use shared::store::checkpoints::Checkpoint;
use shared::store::connections::{Connected, NewConnection};
use shared::store::creators::CreatorFilter;
use shared::store::credentials::{Account, SealedPair};
use shared::store::jobs::{Failure, Fence, Start};
use shared::store::single_flight::OpenSync;
use shared::store::syncs::{Listed, SyncResult};
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
    // A connection for each of the callers that a test has at once: none waits for another's.
    let store = Store::open(&SecretString::from(url.to_string()), 20).unwrap();
    migrate(&store).await;
    let project = store.add_key("p", &[7; 32], "mlk_abc").await.unwrap();
    let (client, connection) = tokio_postgres::connect(url.as_str(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    (store, project, client)
}

/// Up to five times: where this machine stands still, a connection comes too late, or Postgres ends the transaction. Each
/// migration is one of its own, so what was applied stays; one that is broken fails five times as well.
async fn migrate(store: &Store) {
    for tries in 1..=5 {
        match store.migrate().await {
            Ok(_) => return,
            Err(error) => assert!(tries < 5, "not migrated: {error}"),
        }
    }
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
async fn the_budgets_last_use_is_known_by_its_age() {
    let (store, ..) = store().await;
    assert_eq!(store.budget_last_used("app", "video/list").await.unwrap(), None);
    store.note_budget_use("app", "video/list").await.unwrap();
    store.note_budget_use("app", "video/list").await.unwrap();
    let age = store.budget_last_used("app", "video/list").await.unwrap().unwrap();
    assert!(age < Duration::from_secs(60), "{age:?}");
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
    for line in include_str!("../../src/store/schema.rs").lines().map(str::trim) {
        if let Some((name, _)) = line.split_once(" (") {
            table = name;
        } else if let Some((column, kind)) = line.trim_end_matches(',').split_once(" -> ") {
            declared.push(format!("{table}.{column} -> {kind}"));
        }
    }
    declared.sort();
    assert_eq!(found, declared);
}
