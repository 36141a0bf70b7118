//! Batches: bulk resyncs. One is accepted as a row, whatever its size; its jobs are made from that row in chunks, so that
//! neither the caller nor Postgres's locks wait for a million of them.

use chrono::{DateTime, Utc};
use diesel::dsl::IntervalDsl;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Double, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::schedule::{maker_lock, try_maker_lock};
use super::schema::{batches, creators};
use super::{Store, StoreError};
use crate::ids::{BatchId, CreatorId, JobId, ProjectId};
use crate::platforms::Platform;

/// Which of a project's creators a batch is about. All of them, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchFilter {
    /// Those of this platform.
    pub platform: Option<Platform>,
    /// Those that were last synced so long ago, or never.
    pub older_than: Option<std::time::Duration>,
}

/// A batch that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewBatch {
    /// The batch.
    pub id: BatchId,
    /// How many creators it is about.
    pub total: i64,
}

/// What came of asking for a batch of certain creators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChosenBatch {
    /// It is accepted, and its jobs wait.
    New(NewBatch),
    /// The project has no such creator: the first of those that were asked for. Nothing was written.
    Unknown(CreatorId),
}

/// How far a batch has come. `queued + running + done + failed + skipped` is `total`, whatever became of the jobs' rows.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
#[allow(missing_docs, reason = "the contract describes them")]
pub struct Batch {
    #[diesel(sql_type = SqlUuid)]
    pub id: BatchId,
    #[diesel(sql_type = BigInt)]
    pub total: i64,
    #[diesel(sql_type = BigInt)]
    pub running: i64,
    #[diesel(sql_type = BigInt)]
    pub done: i64,
    #[diesel(sql_type = BigInt)]
    pub failed: i64,
    #[diesel(sql_type = BigInt)]
    pub skipped: i64,
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
}

impl Batch {
    /// The creators whose turn has not come.
    pub fn queued(&self) -> i64 {
        (self.open() - self.running).max(0)
    }

    /// The creators that are not settled.
    pub fn open(&self) -> i64 {
        (self.total - self.done - self.failed - self.skipped).max(0)
    }
}

/// What lies before the end of a batch, for an estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct Ahead {
    /// Bulk syncs of its project that are open, each once, in all batches and of the schedule, as far as they were counted.
    pub syncs: i64,
    /// Pages of videos of one sync, on average over a few creators of the project.
    pub pages: f64,
    /// The pages that each of the other projects waits for. The projects take turns, so none of them is ahead with more than
    /// this one needs itself.
    pub others: Vec<f64>,
}

/// Projects that an estimate looks at, and waiting jobs that it counts.
const MOST_AHEAD: (i32, i64) = (200, 20_000);

#[derive(QueryableByName)]
struct AheadRow {
    #[diesel(sql_type = Bool)]
    own: bool,
    #[diesel(sql_type = BigInt)]
    syncs: i64,
    #[diesel(sql_type = Double)]
    pages: f64,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// What one step of making a batch's jobs did.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Grown {
    #[diesel(sql_type = SqlUuid)]
    id: BatchId,
    /// Whose batch it is.
    #[diesel(sql_type = SqlUuid)]
    pub project_id: ProjectId,
    /// The jobs that were not open before.
    #[diesel(sql_type = Array<SqlUuid>)]
    made: Vec<JobId>,
    /// How many creators were looked at.
    #[diesel(sql_type = BigInt)]
    pub creators: i64,
}

impl Store {
    /// Accepts a batch of a project's creators as they are now, in one statement. [`Store::grow_batches`] makes its jobs.
    ///
    /// In a transaction, so that a statement which reaches Postgres after the caller has stopped waiting changes nothing.
    pub async fn open_batch(&self, project: ProjectId, filter: &BatchFilter) -> Result<NewBatch, StoreError> {
        self.open_traced_batch(project, filter, None).await
    }

    /// The same for a request: its jobs carry `trace`.
    pub async fn open_traced_batch(
        &self,
        project: ProjectId,
        filter: &BatchFilter,
        trace: Option<&str>,
    ) -> Result<NewBatch, StoreError> {
        let mut connection = self.connection().await?;
        let opened = connection.transaction(async |connection| open(connection, project, filter, trace).await);
        Ok(opened.await?)
    }

    /// Makes the jobs of at most `limit` creators, of the oldest batch that lacks some of the first project behind `after` that
    /// has one. `None` if no batch lacks any, or another process is at it.
    pub async fn grow_batches(&self, after: Option<ProjectId>, limit: i64) -> Result<Option<Grown>, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                if !try_maker_lock(connection).await? {
                    return Ok(None);
                }
                let grown: Option<Grown> = sql_query(include_str!("grow_batch.sql"))
                    .bind::<BigInt, _>(limit)
                    .bind::<Nullable<SqlUuid>, _>(after)
                    .get_result(connection)
                    .await
                    .optional()?;
                let Some(grown) = grown else { return Ok(None) };
                uncount_synced(connection, &grown).await?;
                Ok(Some(grown))
            })
            .await
    }

    /// Notes which batches have ended: for a list of those that have not.
    pub async fn close_batches(&self) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        Ok(close(&mut connection, None).await?)
    }

    /// Deletes at most `limit` batches that finished more than 30 days ago: until then their counts stay true, also when
    /// their jobs are long pruned.
    pub async fn prune_batches(&self, limit: i64) -> Result<usize, StoreError> {
        let finished = diesel::alias!(batches as finished_batches);
        let month_ago = diesel::dsl::now.into_sql::<Timestamptz>() - 30.days();
        let old = finished
            .filter(finished.field(batches::finished_at).lt(month_ago.nullable()))
            .select(finished.field(batches::id))
            .limit(limit);
        let mut connection = self.connection().await?;
        Ok(diesel::delete(batches::table.filter(batches::id.eq_any(old))).execute(&mut connection).await?)
    }

    /// How far a batch of `project` has come. Its cost does not grow with the batch.
    pub async fn batch(&self, project: ProjectId, id: BatchId) -> Result<Option<Batch>, StoreError> {
        let mut connection = self.connection().await?;
        let read: Option<Batch> = sql_query(
            "SELECT batches.id, total, running, fresh + counts.done AS done, refused + counts.failed AS failed, \
                 missing + counts.cancelled AS skipped, created_at, finished_at \
             FROM batches \
             CROSS JOIN LATERAL (SELECT COALESCE(sum(done), 0)::bigint AS done, COALESCE(sum(failed), 0)::bigint AS failed, \
                 COALESCE(sum(cancelled), 0)::bigint AS cancelled FROM batch_counts WHERE batch_id = batches.id) AS counts \
             CROSS JOIN LATERAL (SELECT count(*) AS running FROM jobs JOIN batch_jobs ON job_id = jobs.id \
                 AND batch_id = batches.id WHERE state = 'running' AND state IN ('enqueued', 'running', 'retrying')) AS now \
             WHERE batches.id = $1 AND project_id = $2",
        )
        .bind::<SqlUuid, _>(id)
        .bind::<SqlUuid, _>(project)
        .get_result(&mut connection)
        .await
        .optional()?;
        let Some(mut batch) = read else { return Ok(None) };
        if batch.open() == 0 && batch.finished_at.is_none() {
            close(&mut connection, Some(id)).await?;
            batch.finished_at =
                batches::table.find(id).select(batches::finished_at).first(&mut connection).await.optional()?.flatten();
        }
        Ok(Some(batch))
    }

    /// What lies before the end of a batch of `project`. Counts no more than a bounded number of rows.
    pub async fn ahead(&self, project: ProjectId) -> Result<Ahead, StoreError> {
        let mut connection = self.connection().await?;
        let rows: Vec<AheadRow> = sql_query(include_str!("ahead.sql"))
            .bind::<SqlUuid, _>(project)
            .bind::<Integer, _>(MOST_AHEAD.0)
            .bind::<BigInt, _>(MOST_AHEAD.1)
            .load(&mut connection)
            .await?;
        let mut ahead = Ahead { syncs: 0, pages: 1.0, others: Vec::new() };
        for AheadRow { own, syncs, pages } in rows {
            if own {
                (ahead.syncs, ahead.pages) = (syncs, pages);
            } else {
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                ahead.others.push(syncs as f64 * pages);
            }
        }
        Ok(ahead)
    }
}

/// As [`Store::open_traced_batch`], on the caller's connection.
pub(super) async fn open(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    filter: &BatchFilter,
    trace: Option<&str>,
) -> QueryResult<NewBatch> {
    let id = BatchId::new();
    let row = sql_query(
        "INSERT INTO batches (id, project_id, platform, stale_before, until_at, total, trace) \
         SELECT $1, $2, $3, now() - make_interval(secs => $4), \
             (SELECT COALESCE(max(connected_at), '-infinity') FROM creators \
                 WHERE project_id = $2 AND disconnecting_at IS NULL), \
             (SELECT count(*) FROM creators \
             WHERE project_id = $2 AND disconnecting_at IS NULL AND ($3 IS NULL OR platform = $3) \
             AND ($4 IS NULL OR last_synced_at IS NULL OR last_synced_at < now() - make_interval(secs => $4))), $5 \
         RETURNING total AS count",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<SqlUuid, _>(project)
    .bind::<Nullable<Text>, _>(filter.platform)
    .bind::<Nullable<Double>, _>(filter.older_than.map(|age| age.as_secs_f64()))
    .bind::<Nullable<Text>, _>(trace)
    .get_result::<Count>(connection)
    .await?;
    Ok(NewBatch { id, total: row.count })
}

/// As [`Store::open_batch_of`], in the caller's transaction.
pub(super) async fn open_of(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    ids: &[CreatorId],
    filter: &BatchFilter,
    trace: Option<&str>,
) -> QueryResult<ChosenBatch> {
    if let Some(unknown) = first_unknown(connection, project, ids).await? {
        return Ok(ChosenBatch::Unknown(unknown));
    }
    let id = BatchId::new();
    maker_lock(connection).await?;
    sql_query(
        "INSERT INTO batches (id, project_id, platform, stale_before, total, trace) \
         VALUES ($1, $2, $3, now() - make_interval(secs => $4), 0, $5)",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<SqlUuid, _>(project)
    .bind::<Nullable<Text>, _>(filter.platform)
    .bind::<Nullable<Double>, _>(filter.older_than.map(|age| age.as_secs_f64()))
    .bind::<Nullable<Text>, _>(trace)
    .execute(connection)
    .await?;
    let filled: Grown = sql_query(include_str!("fill_batch.sql"))
        .bind::<SqlUuid, _>(id)
        .bind::<Array<SqlUuid>, _>(ids)
        .get_result(connection)
        .await?;
    uncount_synced(connection, &filled).await?;
    Ok(ChosenBatch::New(NewBatch { id, total: filled.creators }))
}

/// A sync that was open when the jobs were made can have ended before its creator's own was: one was made then, although the
/// open one counts. It goes again. A statement of its own, since only that sees such ends, and all of them.
async fn uncount_synced(connection: &mut AsyncPgConnection, grown: &Grown) -> QueryResult<()> {
    sql_query(include_str!("uncount_synced.sql"))
        .bind::<SqlUuid, _>(grown.id)
        .bind::<Array<SqlUuid>, _>(&grown.made)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes the end of all batches that have ended, or of this one.
async fn close(connection: &mut AsyncPgConnection, id: Option<BatchId>) -> QueryResult<usize> {
    sql_query(
        "UPDATE batches SET finished_at = now() WHERE finished_at IS NULL AND expanded_at IS NOT NULL \
         AND ($1 IS NULL OR id = $1) \
         AND members <= (SELECT COALESCE(sum(done + failed + cancelled), 0) FROM batch_counts WHERE batch_id = id)",
    )
    .bind::<Nullable<SqlUuid>, _>(id)
    .execute(connection)
    .await
}

/// The first of the ids that is no creator of the project.
pub(super) async fn first_unknown(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    ids: &[CreatorId],
) -> QueryResult<Option<CreatorId>> {
    let known: Vec<CreatorId> = creators::table
        .filter(creators::id.eq_any(ids))
        .filter(creators::project_id.eq(project))
        .filter(creators::disconnecting_at.is_null())
        .select(creators::id)
        .load(connection)
        .await?;
    let known: std::collections::HashSet<CreatorId> = known.into_iter().collect();
    Ok(ids.iter().find(|id| !known.contains(id)).copied())
}
