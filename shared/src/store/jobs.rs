//! Jobs: a promise is a row here before it is a message in Redis, and stays one until its last word is written.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::deserialize::FromSqlRow;
use diesel::dsl::{IntervalDsl, now};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use strum::{AsRefStr, Display, EnumString};

use super::creators::Status;
use super::schema::{creators, jobs};
use super::time::from_now;
use super::{Store, StoreError};
use crate::ids::{CreatorId, JobId, ProjectId};
use crate::queue::{Final, Lane, Message};

/// What a job does. One open job of a kind per creator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr, Display, EnumString, AsExpression, FromSqlRow)]
#[strum(serialize_all = "lowercase")]
#[diesel(sql_type = Text)]
pub enum JobKind {
    /// Reads profile, counters and videos.
    Sync,
    /// Revokes the authorization and deletes everything.
    Revoke,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr, Display, EnumString, AsExpression, FromSqlRow)]
#[strum(serialize_all = "lowercase")]
#[diesel(sql_type = Text)]
pub enum JobState {
    /// In Postgres alone, where waiting is cheap.
    Waiting,
    /// Pushed to Redis, or about to be.
    Enqueued,
    /// A worker claimed it.
    Running,
    /// It failed, and will be tried again at `run_at`.
    Retrying,
    /// Its effect is there.
    Done,
    /// Given up, with a reason.
    Failed,
    /// Overtaken: its creator was disconnected.
    Cancelled,
}

impl JobState {
    /// The states in which a job is still a promise.
    pub const OPEN: [Self; 4] = [Self::Waiting, Self::Enqueued, Self::Running, Self::Retrying];
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Waiting, Self::Enqueued, Self::Running, Self::Retrying, Self::Done, Self::Failed, Self::Cancelled];
    /// The open states that Redis should know about.
    pub const IN_REDIS: [Self; 3] = [Self::Enqueued, Self::Running, Self::Retrying];

    /// Whether the job is still a promise.
    pub fn is_open(self) -> bool {
        Self::OPEN.contains(&self)
    }
}

/// A job's row, without what only the queue needs.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = jobs)]
#[allow(missing_docs, reason = "the columns are described in the migrations")]
pub struct Job {
    pub id: JobId,
    pub kind: JobKind,
    pub lane: Lane,
    pub creator_id: CreatorId,
    pub project_id: ProjectId,
    pub state: JobState,
    pub claim: i64,
    pub attempts: i32,
    pub error_code: Option<String>,
    pub error: Option<String>,
    pub log_id: Option<String>,
    pub run_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Whether a batch counts it. A bulk job that none does was made by the schedule.
    pub batched: bool,
}

impl Job {
    /// Whether the schedule made it and nobody waits for it: then the recent videos are enough.
    pub fn is_scheduled(&self) -> bool {
        self.lane == Lane::Bulk && !self.batched
    }

    /// The job's last word, if it has one.
    pub fn last_word(&self) -> Option<Final> {
        last_word(self.state, self.error_code.clone())
    }
}

fn last_word(state: JobState, error_code: Option<String>) -> Option<Final> {
    match state {
        JobState::Done => Some(Final::Done),
        JobState::Failed => Some(Final::Failed { code: error_code.unwrap_or_else(|| "internal".to_owned()) }),
        JobState::Cancelled => Some(Final::Cancelled),
        JobState::Waiting | JobState::Enqueued | JobState::Running | JobState::Retrying => None,
    }
}

/// What a worker finds when it starts a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// It is this worker's now; every write must name `claim`.
    Claimed(Job),
    /// It has had its last word: tell the waiters again.
    Finished(Final),
    /// There is no such row.
    Unknown,
}

/// The fence of a running job: whoever started it later has a higher claim, and this one's writes match nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub job: JobId,
    /// Its claim at the start.
    pub claim: i64,
    /// The creator that it is about.
    pub creator: CreatorId,
}

impl Job {
    /// The fence that this start of the job writes behind.
    pub fn fence(&self) -> Fence {
        Fence { job: self.id, claim: self.claim, creator: self.creator_id }
    }
}

/// Why a job was not done this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The contract's error code, for example `platform_error`.
    pub code: &'static str,
    /// What happened, for people; never a secret.
    pub message: String,
    /// The platform's own id of the exchange that the message tells of. `None`: it tells of none, and the row names none.
    pub log_id: Option<String>,
}

impl Failure {
    /// A failure of our own: a bug, or a state that should not be.
    pub fn internal(message: &str) -> Self {
        Self { code: "internal", message: message.to_owned(), log_id: None }
    }
}

/// An open job as the sweeper needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenJob {
    /// Its lane.
    pub lane: Lane,
    /// What to push.
    pub message: Message,
    /// How long it should still wait.
    pub delay: Duration,
}

impl Store {
    /// One job of `project`.
    pub async fn job(&self, project: ProjectId, id: JobId) -> Result<Option<Job>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(jobs::table
            .find(id)
            .filter(jobs::project_id.eq(project))
            .select(Job::as_select())
            .first(&mut connection)
            .await
            .optional()?)
    }

    /// Which of these jobs have had their last word, and what it was.
    pub async fn last_words(&self, ids: &[JobId]) -> Result<Vec<(JobId, Final)>, StoreError> {
        let mut connection = self.connection().await?;
        let rows: Vec<(JobId, JobState, Option<String>)> = jobs::table
            .filter(jobs::id.eq_any(ids))
            .filter(jobs::finished_at.is_not_null())
            .select((jobs::id, jobs::state, jobs::error_code))
            .load(&mut connection)
            .await?;
        Ok(rows.into_iter().filter_map(|(id, state, code)| Some((id, last_word(state, code)?))).collect())
    }

    /// Claims a job for a start. A job found running was left by a worker that crashed, stopped or was overtaken: that is
    /// no new attempt.
    #[tracing::instrument(level = "debug", skip_all, fields(otel.kind = "client"))]
    pub async fn start_job(&self, id: JobId) -> Result<Start, StoreError> {
        let mut connection = self.connection().await?;
        let started: Option<Job> = diesel::update(jobs::table.find(id).filter(jobs::state.eq_any(JobState::OPEN)))
            .set((
                jobs::claim.eq(jobs::claim + 1),
                jobs::attempts.eq(diesel::dsl::case_when(jobs::state.eq(JobState::Running), jobs::attempts)
                    .otherwise(jobs::attempts + 1)),
                jobs::state.eq(JobState::Running),
            ))
            .returning(Job::as_returning())
            .get_result(&mut connection)
            .await
            .optional()?;
        if let Some(job) = started {
            return Ok(Start::Claimed(job));
        }
        let row: Option<(JobState, Option<String>)> =
            jobs::table.find(id).select((jobs::state, jobs::error_code)).first(&mut connection).await.optional()?;
        Ok(row.and_then(|(state, code)| last_word(state, code)).map_or(Start::Unknown, Start::Finished))
    }

    /// Writes that a try failed and when the next one, in `lane`, is due. `false`: the job is another's by now, or in
    /// another lane, where the next try is due at another time.
    pub async fn retry_job(
        &self,
        fence: Fence,
        lane: Lane,
        delay: Duration,
        failure: &Failure,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let updated = diesel::update(fenced(fence).filter(jobs::lane.eq(lane)))
            .set((
                jobs::state.eq(JobState::Retrying),
                jobs::run_at.eq(from_now(delay)),
                jobs::error_code.eq(failure.code),
                jobs::error.eq(&failure.message),
                jobs::log_id.eq(&failure.log_id),
            ))
            .execute(&mut connection)
            .await?;
        Ok(updated == 1)
    }

    /// Gives a start back because the budget has no room: not an attempt. `false`: the job is another's by now.
    pub async fn postpone_job(&self, fence: Fence, delay: Duration) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let updated = diesel::update(fenced(fence))
            .set((
                jobs::state.eq(JobState::Enqueued),
                jobs::attempts.eq(jobs::attempts - 1),
                jobs::run_at.eq(from_now(delay)),
            ))
            .execute(&mut connection)
            .await?;
        Ok(updated == 1)
    }

    /// Gives a job up. `false`: it is another's by now.
    pub async fn fail_job(&self, fence: Fence, failure: &Failure) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        Ok(write_failure(&mut connection, fence, failure).await? == 1)
    }

    /// Gives a sync up whose creator's tokens the platform refuses for good. `false`: it is another's by now; or the creator
    /// has good tokens again, and the connection that brought them has found this job open and made none of its own.
    pub async fn fail_refused_job(&self, fence: Fence, failure: &Failure) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                // A connection writes this row before it looks for an open job: one of the two comes first.
                let status: Option<Status> = creators::table
                    .find(fence.creator)
                    .select(creators::status)
                    .for_no_key_update()
                    .first(connection)
                    .await
                    .optional()?;
                if status == Some(Status::Active) {
                    return Ok(false);
                }
                Ok(write_failure(connection, fence, failure).await? == 1)
            })
            .await
    }

    /// Ends a job that something overtook. `false`: it is another's by now.
    pub async fn cancel_job(&self, fence: Fence) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let updated = diesel::update(fenced(fence))
            .set((jobs::state.eq(JobState::Cancelled), jobs::finished_at.eq(now)))
            .execute(&mut connection)
            .await?;
        Ok(updated == 1)
    }

    /// At most `limit` jobs after `after` that Redis should know about, for the sweeper. A lane of a later version is left
    /// to that.
    pub async fn jobs_in_redis(&self, after: Option<JobId>, limit: i64) -> Result<Vec<OpenJob>, StoreError> {
        let mut query = jobs::table
            .filter(jobs::state.eq_any(JobState::IN_REDIS).and(jobs::lane.eq_any(Lane::ALL)))
            .order(jobs::id)
            .limit(limit)
            .select((
                jobs::id,
                jobs::kind,
                jobs::lane,
                jobs::project_id,
                jobs::trace,
                diesel::dsl::sql::<BigInt>("(extract(epoch from run_at - now()) * 1000)::bigint"),
            ))
            .into_boxed();
        if let Some(after) = after {
            query = query.filter(jobs::id.gt(after));
        }
        let mut connection = self.connection().await?;
        let rows: Vec<(JobId, String, Lane, ProjectId, Option<String>, i64)> = query.load(&mut connection).await?;
        Ok(rows
            .into_iter()
            .map(|(id, kind, lane, project, trace, wait)| OpenJob {
                lane,
                message: Message { id, kind, trace, group: Some(project.into()) },
                delay: Duration::from_millis(u64::try_from(wait).unwrap_or(0)),
            })
            .collect())
    }

    /// Deletes at most `limit` jobs that finished more than a week ago.
    pub async fn prune_jobs(&self, limit: i64) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        let finished = diesel::alias!(jobs as finished_jobs);
        let week_ago = now.into_sql::<diesel::sql_types::Timestamptz>() - 7.days();
        let old = finished
            .filter(finished.field(jobs::finished_at).lt(week_ago.nullable()))
            .select(finished.field(jobs::id))
            .limit(limit);
        Ok(diesel::delete(jobs::table.filter(jobs::id.eq_any(old))).execute(&mut connection).await?)
    }
}

async fn write_failure(connection: &mut AsyncPgConnection, fence: Fence, failure: &Failure) -> QueryResult<usize> {
    diesel::update(fenced(fence))
        .set((
            jobs::state.eq(JobState::Failed),
            jobs::finished_at.eq(now),
            jobs::error_code.eq(failure.code),
            jobs::error.eq(&failure.message),
            jobs::log_id.eq(&failure.log_id),
        ))
        .execute(connection)
        .await
}

/// The job as its starter may still write it.
#[diesel::dsl::auto_type(no_type_alias)]
pub(super) fn fenced(fence: Fence) -> _ {
    let job: JobId = fence.job;
    let claim: i64 = fence.claim;
    let running: JobState = JobState::Running;
    jobs::table.filter(jobs::id.eq(job)).filter(jobs::claim.eq(claim)).filter(jobs::state.eq(running))
}
