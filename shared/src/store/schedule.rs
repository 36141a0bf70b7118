//! The schedule: due creators become jobs that wait in Postgres, from where a few at a time [go on](super::feeder) to Redis.
//!
//! Every worker calls these; none leads. Whoever makes many jobs at once holds one lock while it does, so that two such
//! statements never wait for each other's rows.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::{Store, StoreError};
use crate::cadence::{Cadence, PAUSED};

/// Held by a transaction that makes jobs by the hundred.
const MAKER_LOCK: i64 = 0x6d65_7472_6971_6d6b;

/// What a look at the due creators came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Claimed {
    /// Creators whose time had come.
    #[diesel(sql_type = BigInt)]
    pub looked_at: i64,
    /// Jobs made for them. The others have an open job, or are paused.
    #[diesel(sql_type = BigInt)]
    pub made: i64,
}

#[derive(QueryableByName)]
struct Locked {
    #[diesel(sql_type = Bool)]
    taken: bool,
}

/// What the creators need, by their cadence.
#[derive(Debug, Clone, Copy, PartialEq, QueryableByName)]
pub struct Forecast {
    /// Active creators that the schedule syncs.
    #[diesel(sql_type = BigInt)]
    pub creators: i64,
    /// Syncs a minute; each reads one profile.
    #[diesel(sql_type = Double)]
    pub syncs_per_minute: f64,
    /// Pages of videos a minute: the recent ones at each of these syncs, the others as often as all are read. Of a creator
    /// whose recent ones are not known yet, all at each sync.
    #[diesel(sql_type = Double)]
    pub pages_per_minute: f64,
}

impl Store {
    /// Makes jobs for at most `limit` due creators, and moves their next time, in one transaction. A creator with an open job
    /// gets no second one. `default` is how old data may get where nobody says otherwise; `None` is as old as it likes.
    ///
    /// `None` if another process is at it.
    pub async fn claim_due(&self, default: Option<Duration>, limit: i64) -> Result<Option<Claimed>, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                if !try_maker_lock(connection).await? {
                    return Ok(None);
                }
                let claimed = sql_query(include_str!("claim_due.sql"))
                    .bind::<BigInt, _>(seconds(default))
                    .bind::<BigInt, _>(limit)
                    .bind::<BigInt, _>(seconds(Some(PAUSED)))
                    .get_result(connection)
                    .await?;
                Ok(Some(claimed))
            })
            .await
    }

    /// Brings the next time of at most `limit` creators inside the default, which was longer when it was set. They are
    /// spread over it. Gives their number.
    pub async fn pull_in(&self, default: Duration, limit: i64) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sql_query(
            "UPDATE creators SET next_sync_at = now() + random() * make_interval(secs => $1) WHERE id IN ( \
             SELECT id FROM creators \
             WHERE next_sync_at > now() + make_interval(secs => $1) AND next_sync_at IS NOT NULL \
             AND disconnecting_at IS NULL AND status = 'ACTIVE' AND resync_every IS NULL \
             AND (SELECT resync_every FROM projects WHERE projects.id = creators.project_id) IS NULL \
             ORDER BY next_sync_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)",
        )
        .bind::<BigInt, _>(seconds(Some(default)))
        .bind::<BigInt, _>(limit)
        .execute(&mut connection)
        .await?)
    }

    /// What the schedule will ask of the platform, at the present cadence. Reads all creators: for people, not for programs.
    pub async fn forecast(&self, cadence: Cadence) -> Result<Forecast, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sql_query(include_str!("forecast.sql"))
            .bind::<BigInt, _>(seconds(cadence.every))
            .bind::<BigInt, _>(seconds(Some(cadence.deep)))
            .get_result(&mut connection)
            .await?)
    }
}

/// As it is stored: 0 is never.
pub(super) fn seconds(span: Option<Duration>) -> i64 {
    span.map_or(0, |span| i64::try_from(span.as_secs()).unwrap_or(i64::MAX))
}

/// `false`: another process makes jobs at the moment, and will have made these too.
pub(super) async fn try_maker_lock(connection: &mut AsyncPgConnection) -> QueryResult<bool> {
    try_lock(connection, MAKER_LOCK).await
}

/// Takes one of the locks that stand for a kind of work, until the transaction ends. `false`: another process has it.
pub(super) async fn try_lock(connection: &mut AsyncPgConnection, lock: i64) -> QueryResult<bool> {
    let lock = sql_query("SELECT pg_try_advisory_xact_lock($1) AS taken").bind::<BigInt, _>(lock);
    lock.get_result::<Locked>(connection).await.map(|lock| lock.taken)
}

/// Waits for its turn to make jobs.
pub(super) async fn maker_lock(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(MAKER_LOCK).execute(connection).await.map(|_| ())
}
