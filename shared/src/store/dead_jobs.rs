//! Jobs as operators see them: listed, the dead tried again or put away.
//!
//! A dead job is one that was given up: its row is in the state `failed`, with the reason.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use strum::{Display, EnumString};

use super::creators::Status;
use super::jobs::{JobKind, JobState};
use super::schema::{creators, jobs, projects};
use super::{Store, StoreError};
use crate::ids::{CreatorId, JobId, ProjectId};
use crate::queue::{Lane, Message};

/// Which jobs are asked for; all, by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// In this lane.
    pub lane: Option<Lane>,
    /// Of this project's creators.
    pub project: Option<ProjectId>,
    /// Of this creator.
    pub creator: Option<CreatorId>,
}

/// A job's row, in words: a later version's kind or lane is shown as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, QueryableByName)]
#[allow(missing_docs, reason = "the columns are described in the migrations")]
pub struct JobRow {
    #[diesel(sql_type = SqlUuid)]
    pub id: JobId,
    #[diesel(sql_type = Text)]
    pub kind: String,
    #[diesel(sql_type = Text)]
    pub lane: String,
    #[diesel(sql_type = Text)]
    pub state: String,
    #[diesel(sql_type = SqlUuid)]
    pub creator: CreatorId,
    /// The project's name.
    #[diesel(sql_type = Nullable<Text>)]
    pub project: Option<String>,
    #[diesel(sql_type = Integer)]
    pub attempts: i32,
    #[diesel(sql_type = Nullable<Text>)]
    pub error_code: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub error: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub log_id: Option<String>,
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    pub run_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub finished_at: Option<DateTime<Utc>>,
}

/// What came of trying a dead job again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Retry {
    /// It is open again, with all its tries before it.
    Retried,
    /// Its creator has another open job of the kind by now, or a newer dead one that is tried instead.
    Overtaken,
    /// Its creator was disconnected.
    Gone,
    /// The platform refuses its creator's tokens: the creator must connect again first.
    Refused,
}

/// What came of trying one job again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryOne {
    /// It is open again: push it.
    Retried {
        /// Its lane.
        lane: Lane,
        /// What to push.
        message: Message,
    },
    /// It was left as it is.
    Not(Retry),
    /// It is not dead but in this state.
    NotDead(String),
    /// It is dead in this lane, of which a later version knows.
    UnknownLane(String),
    /// There is no such job.
    Unknown,
}

/// What came of discarding a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discard {
    /// It is cancelled. If `in_redis`, Redis may know it still.
    Discarded {
        /// It was open, in the bulk lane.
        in_redis: bool,
    },
    /// It is a revocation, which is never given up: an authorization would stay at the platform.
    Revocation,
    /// It is open: somebody may wait for it, or the dead alone were meant.
    Awaited,
    /// It has had another last word.
    Over(String),
    /// There is no such job.
    Unknown,
}

#[derive(QueryableByName)]
struct Judged {
    #[diesel(sql_type = SqlUuid)]
    id: JobId,
    #[diesel(sql_type = Text)]
    verdict: String,
}

type Found = (String, String, String, CreatorId, ProjectId, Option<String>);

impl Store {
    /// At most `limit` jobs made before `before`, newest first.
    pub async fn list_jobs(
        &self,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: i64,
    ) -> Result<Vec<JobRow>, StoreError> {
        let mut query = rows().order(jobs::id.desc()).limit(limit).into_boxed();
        if let Some(state) = filter.state {
            query = query.filter(jobs::state.eq(state));
        }
        if let Some(kind) = filter.kind {
            query = query.filter(jobs::kind.eq(kind));
        }
        if let Some(lane) = filter.lane {
            query = query.filter(jobs::lane.eq(lane));
        }
        if let Some(project) = filter.project {
            query = query.filter(jobs::project_id.eq(project));
        }
        if let Some(creator) = filter.creator {
            query = query.filter(jobs::creator_id.eq(creator));
        }
        if let Some(before) = before {
            query = query.filter(jobs::id.lt(before));
        }
        let mut connection = self.connection().await?;
        Ok(query.load(&mut connection).await?)
    }

    /// One job, of any project.
    pub async fn any_job(&self, id: JobId) -> Result<Option<JobRow>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(rows().filter(jobs::id.eq(id)).first(&mut connection).await.optional()?)
    }
}

/// As [`Store::retry_one`], in the caller's transaction; in `within` alone, if that is a project.
pub(super) async fn retry(
    connection: &mut AsyncPgConnection,
    within: Option<ProjectId>,
    id: JobId,
) -> QueryResult<RetryOne> {
    let Some((kind, lane, state, creator, project, trace)) = lock_job(connection, within, id).await? else {
        return Ok(RetryOne::Unknown);
    };
    if state != JobState::Failed.as_ref() {
        return Ok(RetryOne::NotDead(state));
    }
    let Ok(lane) = lane.parse::<Lane>() else { return Ok(RetryOne::UnknownLane(lane)) };
    if let Some(verdict) = verdict(connection, creator, &kind).await? {
        return Ok(RetryOne::Not(verdict));
    }
    diesel::update(jobs::table.find(id))
        .set((
            jobs::state.eq(JobState::Enqueued),
            jobs::attempts.eq(0),
            jobs::run_at.eq(now),
            jobs::finished_at.eq(None::<DateTime<Utc>>),
            // Of the tries before: a client would read them as what is wrong now.
            jobs::error_code.eq(None::<String>),
            jobs::error.eq(None::<String>),
            jobs::log_id.eq(None::<String>),
        ))
        .execute(connection)
        .await?;
    Ok(RetryOne::Retried { lane, message: Message { id, kind, trace, group: Some(project.into()) } })
}

/// What came of a transaction that tried one job again.
pub(super) fn settled(outcome: QueryResult<RetryOne>) -> Result<RetryOne, StoreError> {
    // Somebody asked for the creator's sync between the look and the write.
    if is_second_open_job(&outcome) { Ok(RetryOne::Not(Retry::Overtaken)) } else { Ok(outcome?) }
}

/// As [`Store::retry_dead`], once.
pub(super) async fn retry_some(
    connection: &mut AsyncPgConnection,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: i64,
) -> QueryResult<Vec<(JobId, Retry)>> {
    let judged: Vec<Judged> = sql_query(include_str!("retry_dead.sql"))
        .bind::<SqlUuid, _>(before.unwrap_or(JobId::from(uuid::Uuid::max())))
        .bind::<Nullable<Text>, _>(filter.kind)
        .bind::<Nullable<SqlUuid>, _>(filter.project)
        .bind::<BigInt, _>(limit)
        .load(connection)
        .await?;
    Ok(judged.into_iter().filter_map(|row| Some((row.id, row.verdict.parse().ok()?))).collect())
}

pub(super) fn others_are_faster() -> StoreError {
    StoreError::Unavailable("other programs open jobs of the same creators all the time".to_owned())
}

/// As [`Store::discard_job`], in the caller's transaction; in `within` alone, if that is a project. Open ones are ended in
/// these lanes alone.
pub(super) async fn discard(
    connection: &mut AsyncPgConnection,
    within: Option<ProjectId>,
    id: JobId,
    also_open: &[Lane],
) -> QueryResult<Discard> {
    let Some((kind, lane, state, ..)) = lock_job(connection, within, id).await? else {
        return Ok(Discard::Unknown);
    };
    let open = state.parse::<JobState>().is_ok_and(JobState::is_open);
    if !open && state != JobState::Failed.as_ref() {
        return Ok(Discard::Over(state));
    }
    if kind == JobKind::Revoke.as_ref() {
        return Ok(Discard::Revocation);
    }
    if open && !also_open.iter().any(|known| lane == known.as_str()) {
        return Ok(Discard::Awaited);
    }
    diesel::update(jobs::table.find(id))
        .set((jobs::state.eq(JobState::Cancelled), jobs::finished_at.eq(now)))
        .execute(connection)
        .await?;
    Ok(Discard::Discarded { in_redis: open })
}

/// How often a chunk is tried again because somebody opened a job of one of its creators meanwhile.
pub(super) const MOST_COLLISIONS: u32 = 20;

#[diesel::dsl::auto_type(no_type_alias)]
fn rows() -> _ {
    jobs::table.left_join(projects::table).select((
        jobs::id,
        jobs::kind,
        jobs::lane,
        jobs::state,
        jobs::creator_id,
        projects::name.nullable(),
        jobs::attempts,
        jobs::error_code,
        jobs::error,
        jobs::log_id,
        jobs::created_at,
        jobs::run_at,
        jobs::finished_at,
    ))
}

async fn lock_job(
    connection: &mut AsyncPgConnection,
    within: Option<ProjectId>,
    id: JobId,
) -> QueryResult<Option<Found>> {
    let found: Option<Found> = jobs::table
        .find(id)
        .select((jobs::kind, jobs::lane, jobs::state, jobs::creator_id, jobs::project_id, jobs::trace))
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    Ok(found.filter(|(_, _, _, _, project, _)| within.is_none_or(|within| within == *project)))
}

/// Why a dead job of this creator can't be tried again; `None` if it can.
async fn verdict(connection: &mut AsyncPgConnection, creator: CreatorId, kind: &str) -> QueryResult<Option<Retry>> {
    let known: Option<(Status, Option<DateTime<Utc>>)> = creators::table
        .find(creator)
        .select((creators::status, creators::disconnecting_at))
        .first(connection)
        .await
        .optional()?;
    let is_sync = kind == JobKind::Sync.as_ref();
    match known {
        None => return Ok(Some(Retry::Gone)),
        Some((_, Some(_))) if is_sync => return Ok(Some(Retry::Gone)),
        Some((Status::ReauthorizationRequired, _)) if is_sync => return Ok(Some(Retry::Refused)),
        Some(_) => {}
    }
    let open = jobs::table
        .filter(jobs::creator_id.eq(creator))
        .filter(jobs::kind.eq(kind))
        .filter(jobs::state.eq_any(JobState::OPEN));
    let open: Option<i32> = open.select(1.into_sql::<Integer>()).first(connection).await.optional()?;
    Ok(open.map(|_| Retry::Overtaken))
}

/// The index that allows one open job of a kind per creator has refused it.
pub(super) fn is_second_open_job<T>(result: &QueryResult<T>) -> bool {
    matches!(result, Err(QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)))
}
