//! Disconnecting: the creator is gone from every read at once, and erased by the job that revokes its grant.

use diesel::dsl::now;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::audit::{self, Action, By, Deed};
use super::credentials::Account;
use super::jobs::{Fence, JobKind, JobState, fenced};
use super::schema::{creators, credentials, jobs};
use super::{Store, StoreError};
use crate::ids::{CreatorId, CredentialId, JobId, ProjectId};
use crate::queue::Lane;

/// What came of asking for a disconnect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnect {
    /// A new job; push it, and tell those who wait for the cancelled syncs.
    New {
        /// The revocation job.
        id: JobId,
        /// The creator's open syncs, which will not be done.
        cancelled: Vec<JobId>,
    },
    /// Somebody asked before; join the job.
    Shared(JobId),
    /// The project has no such creator.
    NotFound,
}

/// A creator on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable)]
pub struct Leaving {
    /// The creator.
    pub id: CreatorId,
    /// The tokens to revoke.
    pub credential: CredentialId,
}

impl Store {
    /// Hides a creator from every read, cancels its syncs and makes its revocation job, in one transaction.
    #[tracing::instrument(level = "debug", skip_all, fields(otel.kind = "client"))]
    pub async fn disconnect(
        &self,
        project: ProjectId,
        creator: CreatorId,
        trace: Option<&str>,
    ) -> Result<Disconnect, StoreError> {
        let mut connection = self.connection().await?;
        let hiding = connection.transaction(async |connection| hide(connection, project, creator, trace).await).await;
        hiding.map_err(StoreError::from)
    }

    /// The same by somebody: who is the first has a line in the log, in the same transaction.
    pub async fn disconnect_by(
        &self,
        by: By<'_>,
        project: ProjectId,
        creator: CreatorId,
        trace: Option<&str>,
    ) -> Result<Disconnect, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let hidden = hide(connection, project, creator, trace).await?;
                if let Disconnect::New { .. } = hidden {
                    let action = Action::CreatorDisconnected;
                    let subject = audit::creator_name(connection, creator).await?;
                    audit::write(connection, &Deed { project, actor: by, action, subject: &subject }).await?;
                }
                Ok(hidden)
            })
            .await
    }

    /// The creator that a revocation job is about, if it is still there.
    pub async fn leaving_creator(&self, creator: CreatorId) -> Result<Option<Leaving>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(creators::table
            .find(creator)
            .filter(creators::disconnecting_at.is_not_null())
            .select((creators::id, creators::credential_id))
            .first(&mut connection)
            .await
            .optional()?)
    }

    /// Who holds the account now, in all projects, and is not on its way out.
    pub async fn connected_creators(&self, account: &Account) -> Result<Vec<(ProjectId, CreatorId)>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(creators::table
            .inner_join(credentials::table)
            .filter(credentials::platform.eq(account.platform))
            .filter(credentials::app.eq(&account.app))
            .filter(credentials::external_id.eq(&account.external_id))
            .filter(creators::disconnecting_at.is_null())
            .select((creators::project_id, creators::id))
            .load(&mut connection)
            .await?)
    }

    /// Deletes a creator with all its data, its tokens if nobody else holds the account, and sets the job done, in one
    /// transaction. `false`: the lease or the job is another's by now, and nothing was written.
    #[tracing::instrument(level = "debug", skip_all, fields(otel.kind = "client"))]
    pub async fn finish_disconnect(
        &self,
        fence: Fence,
        credential: CredentialId,
        lease_owner: Uuid,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let leased: Option<CredentialId> = credentials::table
                    .find(credential)
                    .filter(credentials::lease_owner.eq(lease_owner))
                    .select(credentials::id)
                    .for_update()
                    .first(connection)
                    .await
                    .optional()?;
                if leased.is_none() {
                    return Ok(false);
                }
                let _locked: Option<CreatorId> = creators::table
                    .find(fence.creator)
                    .select(creators::id)
                    .for_update()
                    .first(connection)
                    .await
                    .optional()?;
                let done = diesel::update(fenced(fence))
                    .set((jobs::state.eq(JobState::Done), jobs::finished_at.eq(now)))
                    .execute(connection)
                    .await?;
                if done == 0 {
                    return Ok(false);
                }
                diesel::delete(creators::table.find(fence.creator)).execute(connection).await?;
                let held = diesel::dsl::exists(creators::table.filter(creators::credential_id.eq(credential)));
                if diesel::select(diesel::dsl::not(held)).get_result(connection).await? {
                    diesel::delete(credentials::table.find(credential)).execute(connection).await?;
                } else {
                    diesel::update(credentials::table.find(credential))
                        .set((
                            credentials::lease_owner.eq(None::<Uuid>),
                            credentials::lease_expires_at.eq(None::<chrono::DateTime<chrono::Utc>>),
                        ))
                        .execute(connection)
                        .await?;
                }
                Ok(true)
            })
            .await
    }

    /// Sets a revocation job done whose creator is gone already. `false`: the job is another's by now.
    pub async fn finish_empty_disconnect(&self, fence: Fence) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let done = diesel::update(fenced(fence))
            .set((jobs::state.eq(JobState::Done), jobs::finished_at.eq(now)))
            .execute(&mut connection)
            .await?;
        Ok(done == 1)
    }
}

async fn hide(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    creator: CreatorId,
    trace: Option<&str>,
) -> QueryResult<Disconnect> {
    let hidden = diesel::update(
        creators::table
            .find(creator)
            .filter(creators::project_id.eq(project))
            .filter(creators::disconnecting_at.is_null()),
    )
    .set(creators::disconnecting_at.eq(now))
    .execute(connection)
    .await?;
    if hidden == 0 {
        let open: Option<JobId> = jobs::table
            .filter(jobs::creator_id.eq(creator))
            .filter(jobs::project_id.eq(project))
            .filter(jobs::kind.eq(JobKind::Revoke))
            .filter(jobs::state.eq_any(JobState::OPEN))
            .select(jobs::id)
            .first(connection)
            .await
            .optional()?;
        return Ok(open.map_or(Disconnect::NotFound, Disconnect::Shared));
    }
    let cancelled = diesel::update(
        jobs::table
            .filter(jobs::creator_id.eq(creator))
            .filter(jobs::kind.eq(JobKind::Sync))
            .filter(jobs::state.eq_any(JobState::OPEN)),
    )
    .set((jobs::state.eq(JobState::Cancelled), jobs::finished_at.eq(now)))
    .returning(jobs::id)
    .load(connection)
    .await?;
    let id = diesel::insert_into(jobs::table)
        .values((
            jobs::id.eq(JobId::new()),
            jobs::kind.eq(JobKind::Revoke),
            jobs::lane.eq(Lane::Revoke.into_sql::<Text>()),
            jobs::creator_id.eq(creator),
            jobs::project_id.eq(project),
            jobs::state.eq(JobState::Enqueued),
            jobs::trace.eq(trace),
        ))
        .returning(jobs::id)
        .get_result(connection)
        .await?;
    Ok(Disconnect::New { id, cancelled })
}
