//! How far a sync has come: written with each batch of videos, so that whoever starts the job next goes on from there and
//! does not ask the platform, and pay, for the same pages again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::{IntervalDsl, now, sql, sum};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text, Timestamptz};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::connections::ProfileColumns;
use super::jobs::{Fence, JobState};
use super::schema::{checkpoints, creators, jobs};
use super::syncs::{Before, Locked, WriteError, lock, upsert_videos};
use super::time::ago;
use super::{Store, StoreError};
use crate::ids::{CreatorId, JobId};
use crate::platforms::{PageCursor, Profile, Scopes, Video};

/// How old a checkpoint may be to go on from. Pages are cut by time, so a cursor stays true for ever as far as anybody
/// knows; but no platform says so, and what was listed so long ago may be gone by now.
const USABLE_FOR_HOURS: i32 = 1;

/// Where a sync is, after one of its batches. The videos are in their own table already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its place among the job's checkpoints, from 0.
    pub part: i32,
    /// When the creator gave the grant that it was read under.
    pub granted_at: DateTime<Utc>,
    /// What that grant lets us read.
    pub scopes: Scopes,
    /// Scopes that were granted and that the platform refuses all the same.
    pub refused: Scopes,
    /// How long ago the first of it was read.
    pub age: Duration,
    /// Whether somebody waited for it by then, and was content with its age.
    pub waited_for: bool,
    /// The page to go on with; `None`: the first.
    pub cursor: Option<PageCursor>,
    /// The oldest time of publication so far.
    pub oldest: Option<DateTime<Utc>>,
    /// Whether a page held a video that is newer than the page before it ended.
    pub disordered: bool,
    /// Whether anything was new.
    pub changed: bool,
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// Postgres's own.
    fn cardinality(array: Array<Text>) -> Integer;
}

#[derive(Queryable)]
struct Row {
    part: i32,
    granted_at: DateTime<Utc>,
    scopes: String,
    refused: String,
    age_ms: i64,
    waited_for: bool,
    cursor: Option<String>,
    oldest: Option<DateTime<Utc>>,
    disordered: bool,
    changed: bool,
}

impl From<Row> for Checkpoint {
    fn from(row: Row) -> Self {
        Self {
            part: row.part,
            granted_at: row.granted_at,
            scopes: Scopes::parse(&row.scopes),
            refused: Scopes::parse(&row.refused),
            age: Duration::from_millis(u64::try_from(row.age_ms).unwrap_or(0)),
            waited_for: row.waited_for,
            cursor: row.cursor.map(PageCursor),
            oldest: row.oldest,
            disordered: row.disordered,
            changed: row.changed,
        }
    }
}

impl Store {
    /// Writes a batch of videos, the changed ones alone, and where the sync is after it; with the first, the profile too,
    /// which is then read once. Gives the number of rows that said something new.
    #[tracing::instrument(level = "debug", skip_all, fields(otel.kind = "client", videos = videos.len()))]
    pub async fn save_videos(
        &self,
        fence: Fence,
        videos: &[Video],
        profile: Option<&Profile>,
        checkpoint: &Checkpoint,
    ) -> Result<i64, WriteError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let Locked { before, .. } = lock(connection, fence).await?;
                let mut written = upsert_videos(connection, fence.creator, videos).await?;
                if checkpoint.part == 0 {
                    delete_checkpoints(connection, fence.creator).await?;
                    written += i64::from(save_profile(connection, fence.creator, &before, profile).await?);
                }
                if written > 0 && before.is_recorded() {
                    // Should this job end here, the next sync finds nothing new, and yet has to record it.
                    let creator = diesel::update(creators::table.find(fence.creator));
                    creator.set(creators::recorded.eq(false)).execute(connection).await?;
                }
                let ids: Vec<&str> = videos.iter().map(|video| video.external_id.as_str()).collect();
                diesel::insert_into(checkpoints::table)
                    .values((
                        checkpoints::creator_id.eq(fence.creator),
                        checkpoints::part.eq(checkpoint.part),
                        checkpoints::job_id.eq(fence.job),
                        checkpoints::granted_at.eq(checkpoint.granted_at),
                        checkpoints::scopes.eq(checkpoint.scopes.to_string()),
                        checkpoints::refused.eq(checkpoint.refused.to_string()),
                        checkpoints::began_at.eq(ago(checkpoint.age)),
                        checkpoints::waited_for.eq(checkpoint.waited_for),
                        checkpoints::cursor.eq(checkpoint.cursor.as_ref().map(|cursor| &cursor.0)),
                        checkpoints::oldest.eq(checkpoint.oldest),
                        checkpoints::disordered.eq(checkpoint.disordered),
                        checkpoints::changed.eq(checkpoint.changed || written > 0),
                        checkpoints::external_ids.eq(ids),
                    ))
                    .execute(connection)
                    .await?;
                Ok(written)
            })
            .await
    }

    /// The job's newest checkpoint, unless it is too old to go on from.
    pub async fn checkpoint(&self, fence: Fence) -> Result<Option<Checkpoint>, StoreError> {
        let mut connection = self.connection().await?;
        let row: Option<Row> = checkpoints::table
            .filter(checkpoints::creator_id.eq(fence.creator))
            .filter(checkpoints::job_id.eq(fence.job))
            .filter(checkpoints::saved_at.gt(now.into_sql::<Timestamptz>() - USABLE_FOR_HOURS.hours()))
            .order(checkpoints::part.desc())
            .select((
                checkpoints::part,
                checkpoints::granted_at,
                checkpoints::scopes,
                checkpoints::refused,
                sql::<BigInt>("(extract(epoch from now() - began_at) * 1000)::bigint"),
                checkpoints::waited_for,
                checkpoints::cursor,
                checkpoints::oldest,
                checkpoints::disordered,
                checkpoints::changed,
            ))
            .first(&mut connection)
            .await
            .optional()?;
        Ok(row.map(Checkpoint::from))
    }

    /// How many videos the job's checkpoints have listed; the second in which a page ended may count twice.
    pub async fn listed_by_checkpoints(&self, fence: Fence) -> Result<u64, StoreError> {
        let mut connection = self.connection().await?;
        let listed: Option<i64> = checkpoints::table
            .filter(checkpoints::creator_id.eq(fence.creator).and(checkpoints::job_id.eq(fence.job)))
            .select(sum(cardinality(checkpoints::external_ids)))
            .first(&mut connection)
            .await?;
        Ok(listed.and_then(|listed| u64::try_from(listed).ok()).unwrap_or(0))
    }

    /// Deletes the checkpoints of at most `limit` jobs that have ended without the sync's own last write. Gives their number.
    pub async fn prune_checkpoints(&self, limit: i64) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        let open = jobs::table
            .filter(jobs::id.eq(checkpoints::job_id))
            .filter(jobs::state.eq_any(JobState::OPEN))
            .select(jobs::id);
        let ended: Vec<(CreatorId, JobId)> = checkpoints::table
            .filter(checkpoints::part.eq(0))
            .filter(diesel::dsl::not(diesel::dsl::exists(open)))
            .select((checkpoints::creator_id, checkpoints::job_id))
            .limit(limit)
            .load(&mut connection)
            .await?;
        if ended.is_empty() {
            return Ok(0);
        }
        // By the job too: the creator's next one may have begun to write meanwhile.
        let (creators, jobs): (Vec<CreatorId>, Vec<JobId>) = ended.into_iter().unzip();
        let theirs = checkpoints::creator_id.eq_any(&creators).and(checkpoints::job_id.eq_any(&jobs));
        diesel::delete(checkpoints::table.filter(theirs)).execute(&mut connection).await?;
        Ok(creators.len())
    }
}

/// Writes the profile, for the next start does not: also one whose avatar alone is another. Gives whether it says something new.
async fn save_profile(
    connection: &mut AsyncPgConnection,
    creator: CreatorId,
    before: &Before,
    profile: Option<&Profile>,
) -> QueryResult<bool> {
    let Some(profile) = profile else { return Ok(false) };
    diesel::update(creators::table.find(creator)).set(ProfileColumns::from(profile)).execute(connection).await?;
    Ok(!before.says(profile))
}

pub(super) async fn delete_checkpoints(connection: &mut AsyncPgConnection, creator: CreatorId) -> QueryResult<usize> {
    diesel::delete(checkpoints::table.filter(checkpoints::creator_id.eq(creator))).execute(connection).await
}

/// How many checkpoints the job has: fewer than it wrote, and nobody can say what its listing has shown.
pub(super) async fn count_checkpoints(connection: &mut AsyncPgConnection, fence: Fence) -> QueryResult<i64> {
    let own = checkpoints::creator_id.eq(fence.creator).and(checkpoints::job_id.eq(fence.job));
    checkpoints::table.filter(own).count().get_result(connection).await
}
