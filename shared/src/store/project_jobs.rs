//! Jobs as the dashboard shows them: a project's by state, the dead of all projects; and what people do about them, each with
//! its line in the audit log.

use diesel::prelude::*;
use diesel::result::Error as QueryError;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, By, Deed};
use super::dead_jobs::{self, Discard, JobFilter, JobRow, MOST_COLLISIONS, Retry, RetryOne};
use super::jobs::{JobKind, JobState};
use super::schema::{batch_jobs, creators, jobs};
use super::{Store, StoreError};
use crate::ids::{BatchId, JobId, ProjectId};
use crate::queue::Lane;

/// A count stops here: who sees that there are more needs no exact number, and a page must not wait for one.
pub const MOST_COUNTED: i64 = 1000;
/// Batches of one job that are shown.
const MOST_BATCHES: i64 = 5;

/// A job, and whom it is about.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct ListedJob {
    /// The job.
    #[diesel(embed)]
    pub job: JobRow,
    /// What its creator is called; `None` once it is disconnected.
    #[diesel(sql_type = Nullable<Text>)]
    pub creator_name: Option<String>,
}

/// Which of a project's jobs are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// In one of these states; none: in any.
    pub states: Vec<JobState>,
    /// Of this kind.
    pub kind: Option<JobKind>,
}

/// How many jobs of a project are in a state, up to [`MOST_COUNTED`] of each kind.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct StateCount {
    /// A [`JobState`]'s name.
    #[diesel(sql_type = Text)]
    pub state: String,
    /// The number.
    #[diesel(sql_type = BigInt)]
    pub number: i64,
}

/// Who does something, and where: in one project, or as an operator or from the command line in all.
#[derive(Debug, Clone, Copy)]
pub struct Doer<'a> {
    /// Who.
    pub by: By<'a>,
    /// `None`: in all projects.
    pub within: Option<ProjectId>,
}

impl Listing {
    fn kinds(&self) -> Vec<&'static str> {
        let all = [JobKind::Sync, JobKind::Revoke];
        all.into_iter().filter(|kind| self.kind.is_none_or(|asked| asked == *kind)).map(name).collect()
    }

    fn states(&self) -> Vec<String> {
        let states = if self.states.is_empty() { &JobState::ALL[..] } else { &self.states };
        states.iter().map(ToString::to_string).collect()
    }
}

fn name(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Sync => "sync",
        JobKind::Revoke => "revoke",
    }
}

impl Store {
    /// At most `limit` of a project's jobs made before `before`, newest first.
    pub async fn project_jobs(
        &self,
        project: ProjectId,
        listing: &Listing,
        before: Option<JobId>,
        limit: i64,
    ) -> Result<Vec<ListedJob>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sql_query(include_str!("project_jobs.sql"))
            .bind::<Array<SqlUuid>, _>(vec![project])
            .bind::<Array<Text>, _>(listing.kinds())
            .bind::<Array<Text>, _>(listing.states())
            .bind::<SqlUuid, _>(before.unwrap_or(NEWEST))
            .bind::<BigInt, _>(limit)
            .load(&mut connection)
            .await?)
    }

    /// How many of a project's jobs there are in each state, in the index alone.
    pub async fn project_job_counts(
        &self,
        project: ProjectId,
        kind: Option<JobKind>,
    ) -> Result<Vec<StateCount>, StoreError> {
        let all = Listing { kind, ..Listing::default() };
        let mut connection = self.connection().await?;
        Ok(sql_query(
            "SELECT states.state, sum(counted.number)::bigint AS number \
             FROM unnest($2) AS kinds (kind) CROSS JOIN unnest($3) AS states (state) \
             CROSS JOIN LATERAL (SELECT count(*) AS number FROM (SELECT FROM jobs \
                 WHERE project_id = $1 AND jobs.kind = kinds.kind AND jobs.state = states.state LIMIT $4) AS few \
             ) AS counted GROUP BY states.state",
        )
        .bind::<SqlUuid, _>(project)
        .bind::<Array<Text>, _>(all.kinds())
        .bind::<Array<Text>, _>(all.states())
        .bind::<BigInt, _>(MOST_COUNTED)
        .load(&mut connection)
        .await?)
    }

    /// At most `limit` dead jobs of all projects made before `before`, newest first.
    pub async fn dead_jobs(&self, before: Option<JobId>, limit: i64) -> Result<Vec<ListedJob>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sql_query(include_str!("dead_page.sql"))
            .bind::<SqlUuid, _>(before.unwrap_or(NEWEST))
            .bind::<BigInt, _>(limit)
            .load(&mut connection)
            .await?)
    }

    /// One job; of `within` alone, if that is a project.
    pub async fn listed_job(&self, within: Option<ProjectId>, id: JobId) -> Result<Option<ListedJob>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sql_query(include_str!("one_job.sql"))
            .bind::<SqlUuid, _>(id)
            .bind::<Nullable<SqlUuid>, _>(within)
            .get_result(&mut connection)
            .await
            .optional()?)
    }

    /// The newest batches that count a job.
    pub async fn batches_of(&self, job: JobId) -> Result<Vec<BatchId>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(batch_jobs::table
            .filter(batch_jobs::job_id.eq(job))
            .order(batch_jobs::batch_id.desc())
            .limit(MOST_BATCHES)
            .select(batch_jobs::batch_id)
            .load(&mut connection)
            .await?)
    }

    /// Makes a dead job open again, in its lane and with all its tries before it. The caller pushes it; what it does not
    /// push the sweeper finds. Batches count it as open again (a trigger).
    pub async fn retry_one(&self, doer: Doer<'_>, id: JobId) -> Result<RetryOne, StoreError> {
        let mut connection = self.connection().await?;
        let outcome = connection
            .transaction(async |connection| {
                let outcome = dead_jobs::retry(connection, doer.within, id).await?;
                if matches!(outcome, RetryOne::Retried { .. }) {
                    note(connection, doer.by, Action::JobRetried, id).await?;
                }
                Ok(outcome)
            })
            .await;
        dead_jobs::settled(outcome)
    }

    /// Tries at most `limit` dead jobs again that were made before `before`, newest first; `None` starts at the newest.
    /// Syncs go to the bulk lane, where they wait in Postgres: nobody waits for them. Gives what came of each. How many there
    /// were has a line in the log of the project, or of the installation if they are of all.
    pub async fn retry_dead(
        &self,
        by: By<'_>,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: i64,
    ) -> Result<Vec<(JobId, Retry)>, StoreError> {
        let mut connection = self.connection().await?;
        for _ in 0..MOST_COLLISIONS {
            let judged = connection
                .transaction(async |connection| {
                    let judged = dead_jobs::retry_some(connection, filter, before, limit).await?;
                    let number = judged.iter().filter(|(_, verdict)| *verdict == Retry::Retried).count();
                    if number > 0 {
                        note_retries(connection, by, filter.project, number).await?;
                    }
                    Ok(judged)
                })
                .await;
            if dead_jobs::is_second_open_job(&judged) {
                continue;
            }
            return Ok(judged?);
        }
        Err(dead_jobs::others_are_faster())
    }

    /// Puts a dead job away: it is `cancelled`, and batches count it as skipped. An open one of these lanes is ended likewise,
    /// and else left alone: who saw it dead may be late, and somebody may have tried it again.
    pub async fn discard_job(&self, doer: Doer<'_>, id: JobId, also_open: &[Lane]) -> Result<Discard, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let outcome = dead_jobs::discard(connection, doer.within, id, also_open).await?;
                if matches!(outcome, Discard::Discarded { .. }) {
                    note(connection, doer.by, Action::JobDiscarded, id).await?;
                }
                Ok::<_, QueryError>(outcome)
            })
            .await
            .map_err(StoreError::from)
    }
}

/// After every job's id.
const NEWEST: JobId = JobId::latest();

/// Writes a line about a job into its project's log, in the words that people have for it.
async fn note(connection: &mut AsyncPgConnection, actor: By<'_>, action: Action, id: JobId) -> QueryResult<()> {
    let (project, kind, creator): (ProjectId, String, Option<String>) = jobs::table
        .left_join(creators::table.on(creators::id.eq(jobs::creator_id)))
        .filter(jobs::id.eq(id))
        .select((jobs::project_id, jobs::kind, creators::external_id.nullable()))
        .first(connection)
        .await?;
    let subject = format!("{kind} of {}", creator.unwrap_or_else(|| "a creator who is gone".to_owned()));
    audit::write(connection, &Deed { project, actor, action, subject: &subject }).await
}

async fn note_retries(
    connection: &mut AsyncPgConnection,
    actor: By<'_>,
    project: Option<ProjectId>,
    number: usize,
) -> QueryResult<()> {
    let (action, subject) = (Action::DeadJobsRetried, number.to_string());
    match project {
        Some(project) => audit::write(connection, &Deed { project, actor, action, subject: &subject }).await,
        None => audit::write_of_all(connection, actor, action, &subject).await,
    }
}
