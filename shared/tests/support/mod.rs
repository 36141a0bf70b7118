//! A database of its own for every test, and what the tests put into it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use shared::ids::{JobId, ProjectId};
use shared::platforms::{Platform, Scopes, Video};
use shared::store::Store;
use shared::store::checkpoints::Checkpoint;
use shared::store::connections::{Connected, NewConnection};
use shared::store::credentials::{Account, SealedPair};
use shared::store::jobs::{Job, Start};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A fresh, migrated database.
pub struct Database {
    pub url: String,
    pub store: Store,
}

impl Database {
    /// On the server that `METRIQLAB_TEST_DATABASE_URL` names.
    pub async fn create() -> Self {
        let database = Self::create_empty().await;
        migrate(&database.store).await;
        database
    }

    pub async fn create_empty() -> Self {
        let server = std::env::var("METRIQLAB_TEST_DATABASE_URL")
            .expect("METRIQLAB_TEST_DATABASE_URL is not set: run the tests with `make test`");
        let name = format!("test_{}", Uuid::new_v4().simple());
        connect(&server).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a new database");
        let mut url = url::Url::parse(&server).expect("a URL");
        url.set_path(&name);
        let store = Self::open(url.as_str(), 8);
        Self { url: url.into(), store }
    }

    /// Another handle, with a pool of its own.
    pub fn open(url: &str, size: usize) -> Store {
        Store::open(&SecretString::from(url), size).expect("a store")
    }

    /// A connection past the store, to look and to meddle.
    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }

    pub async fn project(&self, name: &str) -> ProjectId {
        let hash: [u8; 32] = rand::random();
        self.store.add_key(name, &hash, "mlk_test").await.expect("a key")
    }

    /// A creator of `project` for the account `external_id`.
    pub async fn connect(&self, project: ProjectId, external_id: &str) -> Connected {
        self.store.connect(&connection(project, external_id, Utc::now()), None).await.expect("connected")
    }

    pub async fn start(&self, id: JobId) -> Job {
        match self.store.start_job(id).await.expect("started") {
            Start::Claimed(job) => job,
            other => panic!("not started: {other:?}"),
        }
    }

    pub async fn count(&self, query: &str) -> i64 {
        self.client().await.query_one(query, &[]).await.expect("a count").get(0)
    }
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

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("Postgres");
    tokio::spawn(connection);
    client
}

pub fn pair(text: &str) -> SealedPair {
    SealedPair {
        access_token: format!("access {text}").into_bytes(),
        refresh_token: Some(format!("refresh {text}").into_bytes()),
        scopes: "user.info.basic,video.list".to_owned(),
        access_expires_in: Duration::from_secs(7200),
        refresh_expires_in: Some(Duration::from_secs(15_552_000)),
    }
}

pub fn connection(project: ProjectId, external_id: &str, granted_at: DateTime<Utc>) -> NewConnection {
    NewConnection {
        project,
        account: Account { platform: Platform::Tiktok, app: "app".to_owned(), external_id: external_id.to_owned() },
        pair: pair(&granted_at.to_rfc3339()),
        granted_at,
        missing_scopes: String::new(),
        external_ref: None,
        begun_by: None,
        lease_owner: Uuid::new_v4(),
    }
}

/// A video that was published `age` seconds ago, of a fixed now.
pub fn video(external_id: &str, age: i64) -> Video {
    Video {
        external_id: external_id.to_owned(),
        title: Some(format!("title of {external_id}")),
        description: None,
        url: None,
        cover_url: None,
        duration: Some(30),
        views: Some(1000),
        likes: Some(100),
        comments: Some(10),
        shares: None,
        published_at: DateTime::from_timestamp(1_764_000_000, 0).expect("an instant") - TimeDelta::seconds(age),
    }
}

/// Where a sync is that has read nothing yet.
#[allow(dead_code, reason = "not every test file writes batches")]
pub fn start() -> Checkpoint {
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
