//! What a running sync writes. Every write is fenced: it checks creator and job under one lock, so that a sync that was
//! overtaken, by a later start or by a disconnect, stops at its next write and leaves nothing behind.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::connections::ProfileColumns;
use super::jobs::{Fence, JobState, fenced};
use super::schema::{creators, jobs};
use super::{Store, StoreError};
use crate::ids::{CreatorId, CredentialId, JobId, VideoId};
use crate::platforms::{Platform, Profile, Video};

/// Why a sync's write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store failed; the write may be tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The creator is gone, or on its way out.
    #[error("the creator was disconnected")]
    Disconnected,
    /// The job was started again elsewhere, or has had its last word.
    #[error("another worker has taken the job over")]
    Superseded,
}

impl From<diesel::result::Error> for WriteError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a sync needs to know about its creator.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct SyncTarget {
    /// The tokens to use.
    pub credential: CredentialId,
    /// Where the account lives.
    pub platform: Platform,
    /// The account's id there.
    pub external_id: String,
}

/// What a sync found, all of it: the last write.
#[derive(Debug, Clone)]
pub struct SyncResult<'a> {
    /// The profile; `None` if no scope let us read it.
    pub profile: Option<&'a Profile>,
    /// Videos that no batch has written yet.
    pub videos: &'a [Video],
    /// The ids of every listed video, if the listing was complete: what is not among them is not listed any more.
    pub listing: Option<&'a [String]>,
    /// The scopes that were asked for and not granted, separated by commas.
    pub missing_scopes: &'a str,
}

impl Store {
    /// The creator that a sync is about; `None` if it is gone or on its way out.
    pub async fn sync_target(&self, creator: CreatorId) -> Result<Option<SyncTarget>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(creators::table
            .find(creator)
            .filter(creators::disconnecting_at.is_null())
            .select((creators::credential_id, creators::platform, creators::external_id))
            .first(&mut connection)
            .await
            .optional()?)
    }

    /// Writes a batch of videos, the changed ones alone. Gives the number of rows written.
    pub async fn save_videos(&self, fence: Fence, videos: &[Video]) -> Result<usize, WriteError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                lock(connection, fence).await?;
                Ok(upsert_videos(connection, fence.creator, videos).await?)
            })
            .await
    }

    /// Writes what is left of a sync: videos, profile, what is not listed any more, and the job's last word, in one
    /// transaction: the job is done if and only if its effect is there.
    pub async fn finish_sync(&self, fence: Fence, result: &SyncResult<'_>) -> Result<(), WriteError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                lock(connection, fence).await?;
                upsert_videos(connection, fence.creator, result.videos).await?;
                if let Some(listing) = result.listing {
                    hide_unlisted(connection, fence.creator, listing).await?;
                }
                diesel::update(creators::table.find(fence.creator))
                    .set((
                        result.profile.map(ProfileColumns::from),
                        creators::missing_scopes.eq(result.missing_scopes),
                        creators::last_synced_at.eq(now),
                    ))
                    .execute(connection)
                    .await?;
                diesel::update(fenced(fence))
                    .set((
                        jobs::state.eq(JobState::Done),
                        jobs::finished_at.eq(now),
                        jobs::error_code.eq(None::<String>),
                        jobs::error.eq(None::<String>),
                    ))
                    .execute(connection)
                    .await?;
                Ok(())
            })
            .await
    }
}

/// Locks creator and job, in this order, and checks that both are still this start's.
async fn lock(connection: &mut AsyncPgConnection, fence: Fence) -> Result<(), WriteError> {
    let creator: Option<CreatorId> = creators::table
        .find(fence.creator)
        .filter(creators::disconnecting_at.is_null())
        .select(creators::id)
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    if creator.is_none() {
        return Err(WriteError::Disconnected);
    }
    let job: Option<JobId> = fenced(fence).select(jobs::id).for_no_key_update().first(connection).await.optional()?;
    job.map(|_| ()).ok_or(WriteError::Superseded)
}

/// Inserts new videos and updates changed ones. A row that says the same already is not touched, not even locked. The
/// time of publication stays as first seen, so that a walk through the pages shows every video once.
async fn upsert_videos(connection: &mut AsyncPgConnection, creator: CreatorId, videos: &[Video]) -> QueryResult<usize> {
    if videos.is_empty() {
        return Ok(0);
    }
    // One statement can't write a row twice: of two entries of one id the later one counts.
    let distinct: Vec<&Video> = videos
        .iter()
        .map(|video| (video.external_id.as_str(), video))
        .collect::<HashMap<_, _>>()
        .into_values()
        .collect();
    diesel::sql_query(include_str!("upsert_videos.sql"))
        .bind::<SqlUuid, _>(creator)
        .bind::<Array<SqlUuid>, _>(distinct.iter().map(|_| VideoId::new()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(column(&distinct, |video| video.external_id.as_str()))
        .bind::<Array<Nullable<Text>>, _>(column(&distinct, |video| video.title.as_deref()))
        .bind::<Array<Nullable<Text>>, _>(column(&distinct, |video| video.description.as_deref()))
        .bind::<Array<Nullable<Text>>, _>(column(&distinct, |video| video.url.as_deref()))
        .bind::<Array<Nullable<Text>>, _>(column(&distinct, |video| video.cover_url.as_deref()))
        .bind::<Array<Nullable<BigInt>>, _>(column(&distinct, |video| video.duration))
        .bind::<Array<Nullable<BigInt>>, _>(column(&distinct, |video| video.views))
        .bind::<Array<Nullable<BigInt>>, _>(column(&distinct, |video| video.likes))
        .bind::<Array<Nullable<BigInt>>, _>(column(&distinct, |video| video.comments))
        .bind::<Array<Nullable<BigInt>>, _>(column(&distinct, |video| video.shares))
        .bind::<Array<Timestamptz>, _>(column(&distinct, |video| -> DateTime<Utc> { video.published_at }))
        .execute(connection)
        .await
}

fn column<'a, T>(videos: &[&'a Video], of: impl Fn(&'a Video) -> T) -> Vec<T> {
    videos.iter().map(|video| of(video)).collect()
}

/// Hides what a complete listing did not show; a hidden video keeps its row, and returns with the next listing that has it.
async fn hide_unlisted(
    connection: &mut AsyncPgConnection,
    creator: CreatorId,
    listing: &[String],
) -> QueryResult<usize> {
    diesel::sql_query(
        "UPDATE videos SET listed = false WHERE creator_id = $1 AND listed \
         AND NOT EXISTS (SELECT 1 FROM unnest($2) AS seen (external_id) WHERE seen.external_id = videos.external_id)",
    )
    .bind::<SqlUuid, _>(creator)
    .bind::<Array<Text>, _>(listing)
    .execute(connection)
    .await
}
