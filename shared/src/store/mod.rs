//! Postgres: what was promised and what is true. Queries by diesel, named for what they return.
//!
//! Lock order everywhere: credential, creator, job, videos, history. No transaction stays open across a call to a platform.

pub mod audit;
pub mod batches;
pub mod budget_use;
pub mod checkpoints;
pub mod connections;
pub mod creator_list;
pub mod creators;
pub mod credentials;
pub mod dead_jobs;
pub mod disconnects;
pub mod feeder;
pub mod fleet;
pub mod history;
pub mod idempotency;
pub mod inspect;
pub mod invitations;
pub mod jobs;
pub mod keys;
pub mod lanes;
pub mod members;
#[cfg(test)]
mod migration_rules;
pub mod overview;
pub mod paces;
mod pool;
mod prepared;
pub mod project_batches;
pub mod project_jobs;
pub mod project_keys;
pub mod projects;
pub mod resync_words;
pub mod schedule;
pub mod schema;
pub mod sealed;
pub mod sessions;
pub mod single_flight;
pub mod states;
pub mod syncs;
mod target;
mod text;
mod time;
mod tls;
pub mod trends;
mod unnamed;
pub mod users;
pub mod videos;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use diesel::{QueryResult, QueryableByName, sql_query, sql_types};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, TransactionManager as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use secrecy::SecretString;

pub use pool::Connection;

/// The migrations, compiled in.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations");

/// Held while migrations run, so that processes that start together do not run them twice.
const MIGRATION_LOCK: i64 = 0x6d65_7472_6971_6c61;

type Transactions = <Connection as AsyncConnection>::TransactionManager;

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is no URL, or its TLS can't be set up.
    #[error("DATABASE_URL: {0}")]
    Url(String),
    /// Postgres is out of reach, or broke off; nothing is half done.
    #[error("Postgres is out of reach: {0}")]
    Unavailable(String),
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migration(String),
    /// A query failed: a bug, or a schema that is not ours.
    #[error("a query failed: {0}")]
    Query(QueryError),
}

/// Applies the oldest migration that is missing; its version, if there was one.
async fn apply_next(mut connection: Connection) -> Result<(Connection, Option<String>), StoreError> {
    // A lock of the transaction's, and not of the session's: behind a pooler there is no session to hold it.
    Transactions::begin_transaction(&mut connection).await?;
    sql_query("SELECT pg_advisory_xact_lock($1)")
        .bind::<sql_types::BigInt, _>(MIGRATION_LOCK)
        .execute(&mut connection)
        .await?;
    let mut harness = AsyncMigrationHarness::new(connection);
    let applied = match harness.has_pending_migration(MIGRATIONS) {
        Ok(true) => harness.run_next_migration(MIGRATIONS).map(|version| Some(version.to_string())),
        Ok(false) => Ok(None),
        Err(error) => Err(error),
    };
    let applied = applied.map_err(|error| StoreError::Migration(error.to_string()));
    let mut connection = harness.into_inner();
    match applied {
        Ok(applied) => {
            Transactions::commit_transaction(&mut connection).await?;
            Ok((connection, applied))
        }
        Err(error) => {
            // On a connection that broke it fails, too, and only hides the reason; Postgres has undone all by then.
            let _ = Transactions::rollback_transaction(&mut connection).await;
            Err(error)
        }
    }
}

impl From<QueryError> for StoreError {
    fn from(error: QueryError) -> Self {
        match &error {
            QueryError::DatabaseError(
                DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ReadOnlyTransaction,
                _,
            )
            | QueryError::BrokenTransactionManager => Self::Unavailable(error.to_string()),
            QueryError::DatabaseError(DatabaseErrorKind::Unknown, info) if is_outage(info.message()) => {
                Self::Unavailable(info.message().to_owned())
            }
            _ => Self::Query(error),
        }
    }
}

impl StoreError {
    /// Whether the same call may succeed later, unchanged.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Postgres says in words what diesel gives no kind for: it stops, starts, is full, or has ended one of two transactions that
/// waited for each other.
fn is_outage(message: &str) -> bool {
    [
        "terminating connection",
        "the database system is",
        "too many clients",
        "remaining connection slots",
        "canceling statement due to",
        "deadlock detected",
    ]
    .iter()
    .any(|sign| message.contains(sign))
}

/// The schema that a database has, beside the one that this program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaVersion {
    /// The newest migration that was applied; `None` in an empty database.
    pub found: Option<String>,
    /// The newest migration that this program knows.
    pub expected: String,
    /// Those that this program knows and the database lacks, oldest first. The newest may be there without them: of two that
    /// were written side by side, the one with the later date may be applied first.
    pub missing: Vec<String>,
}

impl SchemaVersion {
    fn new(applied: &BTreeSet<String>, known: &BTreeSet<String>) -> Self {
        Self {
            found: applied.last().cloned(),
            expected: known.last().cloned().unwrap_or_default(),
            missing: known.difference(applied).cloned().collect(),
        }
    }

    /// Whether this program can work with it. A newer one is fine: migrations keep the version before them running.
    pub fn is_sufficient(&self) -> bool {
        self.missing.is_empty()
    }

    /// Why this program can't work with it, for people; `None` if it can.
    pub fn problem(&self) -> Option<String> {
        if self.is_sufficient() {
            return None;
        }
        Some(match &self.found {
            None => format!("found none, expected {}", self.expected),
            Some(found) => format!("found {found}, expected {}, missing {}", self.expected, self.missing.join(", ")),
        })
    }
}

/// What came of making something of which a project may have so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Made {
    /// It is made.
    Done,
    /// There are as many as may be: nothing is made.
    Full,
}

/// A handle on Postgres; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool<AsyncPgConnection>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("pool", &self.pool.status()).finish()
    }
}

impl Store {
    /// A store on `url` with at most `size` connections. No connection is made before the first query.
    pub fn open(url: &SecretString, size: usize) -> Result<Self, StoreError> {
        Ok(Self { pool: pool::open(url, size, None)? })
    }

    /// The same, for callers who would rather be told than wait: Postgres ends a statement after `statement_timeout`,
    /// which counts as unavailable. The API's.
    pub fn open_with_timeout(url: &SecretString, size: usize, statement_timeout: Duration) -> Result<Self, StoreError> {
        Ok(Self { pool: pool::open(url, size, Some(statement_timeout))? })
    }

    /// A connection, within three seconds or not at all.
    pub(crate) async fn connection(&self) -> Result<Connection, StoreError> {
        let began = Instant::now();
        let connection = pool::get(&self.pool).await;
        metrics::histogram!("metriqlab_postgres_wait_seconds").record(began.elapsed());
        connection
    }

    /// Applies the migrations that are missing, each in a transaction of its own: no lock is kept while the next one runs, and what
    /// was applied before one that fails stays. Several processes may call it at once. Needs Tokio's multi-threaded runtime.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connection().await?;
        let mut applied = Vec::new();
        loop {
            let next;
            (connection, next) = apply_next(connection).await?;
            match next {
                Some(version) => applied.push(version),
                None => return Ok(applied),
            }
        }
    }

    /// What schema the database has, and what is expected.
    pub async fn schema_version(&self) -> Result<SchemaVersion, StoreError> {
        use diesel::migration::MigrationSource;
        let known = MigrationSource::<diesel::pg::Pg>::migrations(&MIGRATIONS)
            .map_err(|error| StoreError::Migration(error.to_string()))?
            .iter()
            .map(|migration| migration.name().version().to_string())
            .collect();
        let mut connection = self.connection().await?;
        let applied: QueryResult<Vec<Version>> =
            sql_query("SELECT version FROM __diesel_schema_migrations").load(&mut connection).await;
        let applied = match applied {
            Ok(rows) => rows.into_iter().map(|row| row.version).collect(),
            // No table yet: an empty database.
            Err(QueryError::DatabaseError(_, info)) if info.message().contains("does not exist") => BTreeSet::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(SchemaVersion::new(&applied, &known))
    }

    /// Postgres's clock, the one that all processes share.
    pub async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        let mut connection = self.connection().await?;
        let clock = diesel::dsl::sql::<sql_types::Timestamptz>("now()");
        Ok(diesel::select(clock).get_result(&mut connection).await?)
    }

    /// Whether Postgres answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        sql_query("SELECT 1").execute(&mut connection).await?;
        Ok(())
    }
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = sql_types::Text)]
    version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_suffices_if_it_has_all_that_is_known_whatever_else_it_has() {
        let set = |versions: &[&str]| versions.iter().map(|version| (*version).to_owned()).collect::<BTreeSet<_>>();
        let version = |applied: &[&str]| SchemaVersion::new(&set(applied), &set(&["1", "2", "3"]));
        assert_eq!(version(&["1", "2", "3"]).problem(), None);
        assert_eq!(version(&["1", "2", "3", "4"]).problem(), None, "of a later version");
        assert_eq!(version(&[]).problem().as_deref(), Some("found none, expected 3"));
        assert_eq!(version(&["1"]).problem().as_deref(), Some("found 1, expected 3, missing 2, 3"));
        assert_eq!(version(&["1", "3", "4"]).problem().as_deref(), Some("found 4, expected 3, missing 2"));
    }
}
