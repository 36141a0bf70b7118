//! The feeder: what waits in Postgres goes on to Redis, a few jobs at a time and a part for each project.

use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::schedule::try_lock;
use super::{Store, StoreError};
use crate::ids::{JobId, ProjectId};
use crate::queue::Message;

/// Held by a transaction that tops projects up: two that count at the same time would give twice as much.
const TOP_UP_LOCK: i64 = 0x6d65_7472_6971_7475;

/// A job on its way from Postgres to Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fed {
    /// Whose creator it is about.
    pub project: ProjectId,
    /// What to push.
    pub message: Message,
}

#[derive(QueryableByName)]
struct FedRow {
    #[diesel(sql_type = SqlUuid)]
    id: JobId,
    #[diesel(sql_type = SqlUuid)]
    project_id: ProjectId,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    trace: Option<String>,
}

#[derive(QueryableByName)]
struct Waiting {
    #[diesel(sql_type = SqlUuid)]
    id: ProjectId,
}

/// What a top-up came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToppedUp {
    /// What is to be pushed.
    pub jobs: Vec<Fed>,
    /// The last project that was looked at, from where the next one goes on; `None`: from the first again.
    pub last: Option<ProjectId>,
}

impl Store {
    /// Takes about `room` waiting jobs, oldest first, in equal parts from at most `most_projects` projects after `after`:
    /// from here on Redis should know them. The caller pushes them; what it does not push the sweeper finds.
    pub async fn feed(&self, after: Option<ProjectId>, most_projects: i32, room: i64) -> Result<Vec<Fed>, StoreError> {
        let mut connection = self.connection().await?;
        let rows: Vec<FedRow> = sql_query(include_str!("feed.sql"))
            .bind::<SqlUuid, _>(start_of(after))
            .bind::<Integer, _>(most_projects)
            .bind::<BigInt, _>(room)
            .load(&mut connection)
            .await?;
        Ok(rows.into_iter().map(Fed::from).collect())
    }

    /// Takes waiting jobs of at most `most_projects` projects after `after`, no more of any than makes `most_each` bulk jobs
    /// of it in Redis: so what another project has there keeps nobody out. The caller pushes them.
    ///
    /// `None` if another process is at it.
    pub async fn top_up(
        &self,
        after: Option<ProjectId>,
        most_projects: i32,
        most_each: i64,
    ) -> Result<Option<ToppedUp>, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                // A statement of its own, before the one that counts: that sees what the last holder has written.
                if !try_lock(connection, TOP_UP_LOCK).await? {
                    return Ok(None);
                }
                let projects = waiting_projects(connection, after, most_projects).await?;
                let last = projects.last().copied().filter(|_| is_full(&projects, most_projects));
                let rows: Vec<FedRow> = sql_query(include_str!("top_up.sql"))
                    .bind::<Array<SqlUuid>, _>(projects)
                    .bind::<BigInt, _>(most_each)
                    .load(connection)
                    .await?;
                Ok(Some(ToppedUp { jobs: rows.into_iter().map(Fed::from).collect(), last }))
            })
            .await
    }
}

impl From<FedRow> for Fed {
    fn from(row: FedRow) -> Self {
        let group = Some(row.project_id.into());
        Self { project: row.project_id, message: Message { id: row.id, kind: row.kind, trace: row.trace, group } }
    }
}

/// The first projects after `after` that have something waiting.
async fn waiting_projects(
    connection: &mut AsyncPgConnection,
    after: Option<ProjectId>,
    most: i32,
) -> QueryResult<Vec<ProjectId>> {
    let rows: Vec<Waiting> = sql_query(include_str!("waiting_projects.sql"))
        .bind::<SqlUuid, _>(start_of(after))
        .bind::<Integer, _>(most)
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Whether there may be more of them.
fn is_full(projects: &[ProjectId], most: i32) -> bool {
    i32::try_from(projects.len()).is_ok_and(|projects| projects >= most)
}

/// The id after which a walk begins.
fn start_of(after: Option<ProjectId>) -> ProjectId {
    after.unwrap_or(ProjectId::from(uuid::Uuid::nil()))
}
