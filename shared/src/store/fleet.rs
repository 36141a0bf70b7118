//! What the metrics read of Postgres: bounded, however much there is, since every process reads it every few seconds.

use std::time::Duration;

use diesel::sql_types::{BigInt, Double, Nullable};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::{Store, StoreError};
use crate::queue::Lane;

/// No row beyond these is counted: some ten milliseconds' worth.
const MOST_COUNTED: i64 = 100_000;

/// What waits in Postgres, over the whole fleet. Each count stops at 100,000.
#[derive(Debug, Clone, Copy, PartialEq, QueryableByName)]
pub struct Backlog {
    /// Bulk jobs that Redis was not given yet.
    #[diesel(sql_type = BigInt)]
    pub waiting: i64,
    /// Revocations that were given up; there should be none.
    #[diesel(sql_type = BigInt)]
    pub dead_revoke: i64,
    /// Syncs that somebody waited for and that were given up.
    #[diesel(sql_type = BigInt)]
    pub dead_sync: i64,
    /// Scheduled and bulk syncs that were given up.
    #[diesel(sql_type = BigInt)]
    pub dead_bulk: i64,
    /// Creators whose next scheduled sync is due.
    #[diesel(sql_type = BigInt)]
    pub due: i64,
    #[diesel(sql_type = Nullable<Double>)]
    lag: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    oldest: Option<f64>,
}

impl Backlog {
    /// Jobs of `lane` that were given up.
    pub fn dead(&self, lane: Lane) -> i64 {
        match lane {
            Lane::Revoke => self.dead_revoke,
            Lane::Sync => self.dead_sync,
            Lane::Bulk => self.dead_bulk,
        }
    }

    /// How long ago the bulk job was made that waits longest, of the first thousand projects.
    pub fn oldest(&self) -> Duration {
        self.oldest.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
    }

    /// For how long the creator that has waited longest for its scheduled sync has been due.
    pub fn lag(&self) -> Duration {
        self.lag.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
    }
}

/// Connections of this process's pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// In use.
    pub used: usize,
    /// Open and not in use.
    pub idle: usize,
    /// As many as there may be.
    pub most: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}

impl Store {
    /// What waits in Postgres.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let mut connection = self.connection().await?;
        let query = sql_query(include_str!("backlog.sql")).bind::<BigInt, _>(MOST_COUNTED);
        Ok(query.get_result(&mut connection).await?)
    }

    /// What the pool holds.
    pub fn pool_status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            used: status.size.saturating_sub(status.available),
            idle: status.available,
            most: status.max_size,
            waiting: status.waiting,
        }
    }
}
