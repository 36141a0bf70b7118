//! A project's batches as the dashboard lists them, and asks for one.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::result::Error as QueryError;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, By, Deed};
use super::batches::{self, BatchFilter, ChosenBatch, NewBatch};
use super::schema::creators;
use super::{Store, StoreError};
use crate::ids::{BatchId, CreatorId, ProjectId};

/// A batch in a list: settled creators by how, without those that are at work now.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
#[allow(missing_docs, reason = "the contract describes them")]
pub struct ListedBatch {
    #[diesel(sql_type = SqlUuid)]
    pub id: BatchId,
    #[diesel(sql_type = BigInt)]
    pub total: i64,
    #[diesel(sql_type = BigInt)]
    pub done: i64,
    #[diesel(sql_type = BigInt)]
    pub failed: i64,
    #[diesel(sql_type = BigInt)]
    pub skipped: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub stale_before: Option<DateTime<Utc>>,
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
}

impl Store {
    /// At most `limit` of a project's batches made before `before`, newest first. The cost does not grow with their sizes.
    pub async fn project_batches(
        &self,
        project: ProjectId,
        before: Option<BatchId>,
        limit: i64,
    ) -> Result<Vec<ListedBatch>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sql_query(
            "SELECT batches.id, total, fresh + counts.done AS done, refused + counts.failed AS failed, \
                 missing + counts.cancelled AS skipped, stale_before, created_at, finished_at \
             FROM (SELECT * FROM batches WHERE project_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3) AS batches \
             CROSS JOIN LATERAL (SELECT COALESCE(sum(done), 0)::bigint AS done, COALESCE(sum(failed), 0)::bigint AS failed, \
                 COALESCE(sum(cancelled), 0)::bigint AS cancelled FROM batch_counts WHERE batch_id = batches.id) AS counts \
             ORDER BY batches.id DESC",
        )
        .bind::<SqlUuid, _>(project)
        .bind::<SqlUuid, _>(before.unwrap_or(BatchId::latest()))
        .bind::<BigInt, _>(limit)
        .load(&mut connection)
        .await?)
    }

    /// How many creators a project has.
    pub async fn count_creators(&self, project: ProjectId) -> Result<i64, StoreError> {
        let mut connection = self.connection().await?;
        Ok(creators::table
            .filter(creators::project_id.eq(project).and(creators::disconnecting_at.is_null()))
            .count()
            .get_result(&mut connection)
            .await?)
    }

    /// As [`Store::open_traced_batch`], and notes who did it.
    pub async fn open_batch_as(
        &self,
        project: ProjectId,
        by: By<'_>,
        filter: &BatchFilter,
        trace: Option<&str>,
    ) -> Result<NewBatch, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let new = batches::open(connection, project, filter, trace).await?;
                note(connection, project, by, new).await?;
                Ok::<_, QueryError>(new)
            })
            .await
            .map_err(StoreError::from)
    }

    /// The first of the ids that is no creator of the project.
    pub async fn first_unknown_creator(
        &self,
        project: ProjectId,
        ids: &[CreatorId],
    ) -> Result<Option<CreatorId>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(batches::first_unknown(&mut connection, project, ids).await?)
    }

    /// Accepts a batch of these creators, as far as the filter lets them, makes its jobs at once, and notes who did it.
    pub async fn open_batch_of(
        &self,
        project: ProjectId,
        by: By<'_>,
        ids: &[CreatorId],
        filter: &BatchFilter,
        trace: Option<&str>,
    ) -> Result<ChosenBatch, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let chosen = batches::open_of(connection, project, ids, filter, trace).await?;
                if let ChosenBatch::New(new) = chosen {
                    note(connection, project, by, new).await?;
                }
                Ok::<_, QueryError>(chosen)
            })
            .await
            .map_err(StoreError::from)
    }
}

async fn note(connection: &mut AsyncPgConnection, project: ProjectId, actor: By<'_>, new: NewBatch) -> QueryResult<()> {
    let (action, subject) = (Action::ResyncBegun, format!("{} creators", new.total));
    audit::write(connection, &Deed { project, actor, action, subject: &subject }).await
}
