//! What `metriqlab status` counts in Postgres.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::{Store, StoreError};

/// Creators by what can be done with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, QueryableByName)]
pub struct CreatorCounts {
    /// Their tokens work, as far as anybody knows.
    #[diesel(sql_type = BigInt)]
    pub active: i64,
    /// They must connect again.
    #[diesel(sql_type = BigInt)]
    pub reauthorization_required: i64,
    /// On their way out.
    #[diesel(sql_type = BigInt)]
    pub disconnecting: i64,
    /// Active ones whose time has come.
    #[diesel(sql_type = BigInt)]
    pub due: i64,
}

/// A lane's jobs in Postgres.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct LaneCounts {
    /// The lane's name.
    #[diesel(sql_type = Text)]
    pub lane: String,
    /// Jobs that wait in Postgres alone.
    #[diesel(sql_type = BigInt)]
    pub waiting: i64,
    /// Jobs that were given up and not yet put away.
    #[diesel(sql_type = BigInt)]
    pub dead: i64,
    /// When the oldest job was made that waits for its first try, here or in Redis.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub oldest: Option<DateTime<Utc>>,
}

impl Store {
    /// Counts the creators. Reads an entry of an index for each: for people, not for programs.
    pub async fn creator_counts(&self) -> Result<CreatorCounts, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sql_query(
            "SELECT count(*) FILTER (WHERE disconnecting_at IS NULL AND status = 'ACTIVE') AS active, \
             count(*) FILTER (WHERE disconnecting_at IS NULL AND status <> 'ACTIVE') AS reauthorization_required, \
             count(*) FILTER (WHERE disconnecting_at IS NOT NULL) AS disconnecting, \
             (SELECT count(*) FROM creators WHERE next_sync_at <= now() AND next_sync_at IS NOT NULL \
                 AND disconnecting_at IS NULL AND status = 'ACTIVE') AS due \
             FROM creators",
        )
        .get_result(&mut connection)
        .await?)
    }

    /// Counts the jobs of each lane that has any. All that is read is in the partial indexes of jobs that wait, are in
    /// Redis, or are dead.
    pub async fn lane_counts(&self) -> Result<Vec<LaneCounts>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sql_query(
            "SELECT lane, sum(waiting)::bigint AS waiting, sum(dead)::bigint AS dead, min(oldest) AS oldest FROM ( \
                 SELECT 'bulk' AS lane, count(*) AS waiting, 0 AS dead, NULL::timestamptz AS oldest \
                     FROM jobs WHERE state = 'waiting' \
                 UNION ALL \
                 SELECT 'bulk', 0, 0, (SELECT created_at FROM jobs WHERE state = 'waiting' \
                     AND project_id = projects.id ORDER BY id LIMIT 1) FROM projects \
                 UNION ALL \
                 SELECT lane, 0, 0, min(created_at) FROM jobs \
                     WHERE state = 'enqueued' AND state IN ('enqueued', 'running', 'retrying') GROUP BY lane \
                 UNION ALL \
                 SELECT lane, 0, count(*), NULL FROM jobs WHERE state = 'failed' GROUP BY lane \
             ) AS counts GROUP BY lane",
        )
        .load(&mut connection)
        .await?)
    }
}
