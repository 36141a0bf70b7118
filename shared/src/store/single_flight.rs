//! The single flight: one open sync per creator, which all who ask for it share.

use diesel::dsl::now;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, By, Deed};
use super::jobs::{JobKind, JobState};
use super::schema::jobs;
use super::{Store, StoreError};
use crate::ids::{CreatorId, JobId, ProjectId};
use crate::queue::Lane;

/// What came of asking for a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenSync {
    /// A new job; push it.
    New(JobId),
    /// An open one is shared. If it was in the bulk lane it is interactive now: `promoted`.
    Shared {
        /// The job.
        id: JobId,
        /// Whether its lane changed.
        promoted: bool,
    },
    /// The platform refused the creator's tokens for good.
    ReauthorizationRequired,
    /// The project has no such creator.
    NotFound,
}

impl Store {
    /// The open sync of a creator, or a new one: the single flight. An open one becomes interactive at once.
    ///
    /// In a transaction, since a caller may stop waiting while a statement is on its way to a Postgres that stands still: that
    /// one is carried out later, but nobody commits it.
    #[tracing::instrument(level = "debug", skip_all, fields(otel.kind = "client"))]
    pub async fn open_sync(
        &self,
        project: ProjectId,
        creator: CreatorId,
        trace: Option<&str>,
    ) -> Result<OpenSync, StoreError> {
        let mut connection = self.connection().await?;
        let opened = connection.transaction(async |connection| open(connection, project, creator, trace).await);
        Ok(opened.await?)
    }

    /// The same by somebody's hand: whoever gets a job has a line in the log, in the same transaction.
    pub async fn open_sync_by(
        &self,
        by: By<'_>,
        project: ProjectId,
        creator: CreatorId,
        trace: Option<&str>,
    ) -> Result<OpenSync, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let opened = open(connection, project, creator, trace).await?;
                if matches!(opened, OpenSync::New(_) | OpenSync::Shared { .. }) {
                    let (action, subject) = (Action::CreatorSynced, audit::creator_name(connection, creator).await?);
                    audit::write(connection, &Deed { project, actor: by, action, subject: &subject }).await?;
                }
                Ok(opened)
            })
            .await
    }
}

async fn open(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    creator: CreatorId,
    trace: Option<&str>,
) -> QueryResult<OpenSync> {
    // An open job can end between the two statements; then the first one succeeds the next time.
    loop {
        if let Some(id) = insert_sync(connection, project, creator, trace).await? {
            return Ok(OpenSync::New(id));
        }
        if let Some(verdict) = refusal(connection, project, creator).await? {
            return Ok(verdict);
        }
        if let Some(shared) = share_sync(connection, creator).await? {
            return Ok(shared);
        }
    }
}

pub(super) async fn insert_sync(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    creator: CreatorId,
    trace: Option<&str>,
) -> QueryResult<Option<JobId>> {
    use super::creators::Status;
    use super::schema::creators;
    use diesel::sql_types::{Nullable, Uuid};
    let source = creators::table
        .find(creator)
        .filter(creators::project_id.eq(project))
        .filter(creators::disconnecting_at.is_null())
        .filter(creators::status.eq(Status::Active))
        .select((
            JobId::new().into_sql::<Uuid>(),
            JobKind::Sync.into_sql::<Text>(),
            Lane::Sync.into_sql::<Text>(),
            creators::id,
            creators::project_id,
            JobState::Enqueued.into_sql::<Text>(),
            trace.into_sql::<Nullable<Text>>(),
        ));
    diesel::insert_into(jobs::table)
        .values(source)
        .into_columns((jobs::id, jobs::kind, jobs::lane, jobs::creator_id, jobs::project_id, jobs::state, jobs::trace))
        .on_conflict_do_nothing()
        .returning(jobs::id)
        .get_result(connection)
        .await
        .optional()
}

async fn refusal(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    creator: CreatorId,
) -> QueryResult<Option<OpenSync>> {
    use super::creators::Status;
    use super::schema::creators;
    let status: Option<Status> = creators::table
        .find(creator)
        .filter(creators::project_id.eq(project))
        .filter(creators::disconnecting_at.is_null())
        .select(creators::status)
        .first(connection)
        .await
        .optional()?;
    Ok(match status {
        None => Some(OpenSync::NotFound),
        Some(Status::ReauthorizationRequired) => Some(OpenSync::ReauthorizationRequired),
        Some(Status::Active) => None,
    })
}

/// Joins the open sync, if there still is one. One that was delayed or waiting in the bulk lane is due now.
async fn share_sync(connection: &mut AsyncPgConnection, creator: CreatorId) -> QueryResult<Option<OpenSync>> {
    let open = || {
        jobs::table
            .filter(jobs::creator_id.eq(creator))
            .filter(jobs::kind.eq(JobKind::Sync))
            .filter(jobs::state.eq_any(JobState::OPEN))
    };
    let promoted: Option<JobId> = diesel::update(open().filter(jobs::lane.eq(Lane::Bulk)))
        .set((
            jobs::lane.eq(Lane::Sync),
            jobs::run_at.eq(now),
            // Its new lane has fewer tries: those that failed while nobody waited do not count there.
            jobs::attempts.eq(diesel::dsl::case_when(jobs::state.eq(JobState::Running), 1.into_sql::<Integer>())
                .otherwise(0.into_sql::<Integer>())),
            jobs::state.eq(diesel::dsl::case_when(
                jobs::state.eq(JobState::Waiting),
                JobState::Enqueued.into_sql::<Text>(),
            )
            .otherwise(jobs::state)),
        ))
        .returning(jobs::id)
        .get_result(connection)
        .await
        .optional()?;
    if let Some(id) = promoted {
        return Ok(Some(OpenSync::Shared { id, promoted: true }));
    }
    let shared: Option<JobId> = open().select(jobs::id).first(connection).await.optional()?;
    Ok(shared.map(|id| OpenSync::Shared { id, promoted: false }))
}
