//! What a running sync writes. Every write is fenced: it checks creator and job under one lock, so that a sync that was
//! overtaken, by a later start or by a disconnect, stops at its next write and leaves nothing behind.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures::future::{try_join, try_join3};

use super::checkpoints::{count_checkpoints, delete_checkpoints};
use super::connections::ProfileColumns;
use super::credentials::Credential;
use super::history::{CreatorCounters, record_creator};
use super::jobs::{Fence, Job, JobState, fenced};
use super::prepared::Prepared;
use super::schedule::seconds;
use super::schema::{creators, credentials, jobs, projects, videos};
use super::time::{ago, from_now};
use super::{Store, StoreError};
use crate::cadence::{self, Turn};
use crate::ids::{CreatorId, CredentialId, VideoId};
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
    /// Somebody waits for all of it by now: the rest of the videos is to be listed too.
    #[error("the rest of the videos is wanted too")]
    MoreWanted,
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
    /// When all of its videos were last listed.
    pub deep_synced_at: Option<DateTime<Utc>>,
    /// When the creator gave the grant that the tokens stand for.
    pub granted_at: DateTime<Utc>,
}

/// What a sync found, all of it: the last write.
#[derive(Debug, Clone)]
pub struct SyncResult<'a> {
    /// The profile; `None` if no scope let us read it.
    pub profile: Option<&'a Profile>,
    /// Videos that no batch has written yet.
    pub videos: &'a [Video],
    /// What was listed; `None` if that says nothing about what was not.
    pub listing: Option<Listed<'a>>,
    /// The scopes that were asked for and not granted, separated by commas.
    pub missing_scopes: &'a str,
    /// How many checkpoints the sync has written, this start's and those of earlier ones that it went on from.
    pub checkpoints: i32,
    /// Whether what they wrote was new.
    pub changed: bool,
    /// Whether the first of it was read so long ago that it is no answer to somebody who waits since.
    pub stale: bool,
    /// How old data may get where nobody says otherwise; `None`: as old as it likes.
    pub resync_every: Option<Duration>,
    /// A video's age up to which a scheduled sync reads it at each turn.
    pub recent: Duration,
}

/// A listing without holes: what is not in it is not listed any more.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// The ids of the videos in it that no checkpoint holds.
    pub ids: &'a [String],
    /// Where it ended, if that was not the end: it says nothing about videos of this instant, or older ones.
    pub down_to: Option<DateTime<Utc>>,
}

impl Store {
    /// The creator that a sync is about, and its tokens; `None` if it is gone or on its way out.
    #[tracing::instrument(level = "debug", skip_all, fields(otel.kind = "client"))]
    pub async fn sync_target(&self, creator: CreatorId) -> Result<Option<(SyncTarget, Credential)>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(creators::table
            .inner_join(credentials::table)
            .filter(creators::id.eq(creator))
            .filter(creators::disconnecting_at.is_null())
            .select((
                (
                    creators::credential_id,
                    creators::platform,
                    creators::external_id,
                    creators::deep_synced_at,
                    credentials::granted_at,
                ),
                Credential::as_select(),
            ))
            .first(&mut connection)
            .await
            .optional()?)
    }

    /// Writes what is left of a sync: videos, profile, what is not listed any more, the creator's next turn, its
    /// history, and the job's last word, in one transaction: the job is done if and only if its effect is there.
    ///
    /// A listing that ended early is enough for the schedule alone, and a stale one for nobody who waits: if somebody does by
    /// now, it is [`WriteError::MoreWanted`], and nothing was written.
    #[tracing::instrument(level = "debug", skip_all, fields(otel.kind = "client"))]
    pub async fn finish_sync(&self, fence: Fence, result: &SyncResult<'_>) -> Result<(), WriteError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let Locked { job, before, project_resync_every } = lock(connection, fence).await?;
                let partial = result.listing.is_some_and(|listed| listed.down_to.is_some());
                if (partial && !job.is_scheduled()) || (result.stale && job.lane.is_interactive()) {
                    return Err(WriteError::MoreWanted);
                }
                let listing = whole(connection, fence, result).await?;
                // Sent together, as the two below: Postgres does one after the other, and none depends on an answer.
                let sharing: &AsyncPgConnection = connection;
                let hide = async {
                    match listing {
                        Some(listed) => hide_unlisted(sharing, fence.creator, listed, result.checkpoints).await,
                        None => Ok(0),
                    }
                };
                let (new, hidden) = try_join(upsert_videos(sharing, fence.creator, result.videos), hide).await?;
                if result.checkpoints > 0 {
                    delete_checkpoints(connection, fence.creator).await?;
                }
                let news = result.profile.is_some_and(|profile| !before.says(profile));
                let changed = result.changed || news || new > 0 || hidden > 0;
                let longest = cadence::longest_age(before.resync_every, project_resync_every, result.resync_every);
                let (gap, wait) = before.next_turn(fence.creator, longest, changed, job.created_at);
                let deep = listing.filter(|listed| listed.down_to.is_none()).map(|_| now);
                let recent = videos::table
                    .filter(videos::creator_id.eq(fence.creator).and(videos::listed))
                    .filter(videos::published_at.ge(ago(result.recent)))
                    .count()
                    .single_value();
                let creator = diesel::update(creators::table.find(fence.creator)).set((
                    result.profile.map(ProfileColumns::from),
                    creators::missing_scopes.eq(result.missing_scopes),
                    creators::last_synced_at.eq(now),
                    creators::recorded.eq(true),
                    creators::resync_gap.eq(gap),
                    creators::next_sync_at.eq(from_now(wait).nullable()),
                    deep.map(|now| creators::deep_synced_at.eq(now)),
                    listing.map(|_| creators::recent_videos.eq(recent)),
                ));
                let done = diesel::update(fenced(fence)).set((
                    jobs::state.eq(JobState::Done),
                    jobs::finished_at.eq(now),
                    jobs::error_code.eq(None::<String>),
                    jobs::error.eq(None::<String>),
                    jobs::log_id.eq(None::<String>),
                ));
                let sharing: &AsyncPgConnection = connection;
                let record = async {
                    // Also what a consent, or a sync that never ended, has written before.
                    if changed || !before.recorded {
                        let counters = before.counters_after(result.profile);
                        record_creator(sharing, fence.creator, counters, deep.is_some()).await?;
                    }
                    Ok(())
                };
                try_join3(creator.execute(&mut &*sharing), done.execute(&mut &*sharing), record).await?;
                Ok(())
            })
            .await
    }
}

/// A creator's row as a sync's end finds it.
#[derive(Queryable, Selectable)]
#[diesel(table_name = creators)]
pub(super) struct Before {
    username: Option<String>,
    display_name: Option<String>,
    bio: Option<String>,
    profile_url: Option<String>,
    verified: Option<bool>,
    followers: Option<i64>,
    following: Option<i64>,
    likes: Option<i64>,
    video_count: Option<i64>,
    last_synced_at: Option<DateTime<Utc>>,
    resync_every: Option<i64>,
    resync_gap: Option<i64>,
    recorded: bool,
}

impl Before {
    /// Whether the newest point of the creator's history says what the row says.
    pub(super) fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// Whether the profile says what the row says already. The avatar does not count: the platform's links to it expire,
    /// and are others at each look.
    pub(super) fn says(&self, profile: &Profile) -> bool {
        self.username == profile.username
            && self.display_name == profile.display_name
            && self.bio == profile.bio
            && self.profile_url == profile.profile_url
            && self.verified == profile.verified
            && [self.followers, self.following, self.likes, self.video_count]
                == [profile.followers, profile.following, profile.likes, profile.video_count]
    }

    /// The counters that the row has once the profile is written; without one they stay as they are.
    fn counters_after(&self, profile: Option<&Profile>) -> CreatorCounters {
        match profile {
            Some(profile) => CreatorCounters {
                followers: profile.followers,
                following: profile.following,
                likes: profile.likes,
                video_count: profile.video_count,
            },
            None => CreatorCounters {
                followers: self.followers,
                following: self.following,
                likes: self.likes,
                video_count: self.video_count,
            },
        }
    }

    /// The cadence's gap to store, in seconds, and the time to the next turn.
    fn next_turn(
        &self,
        creator: CreatorId,
        longest: Option<Duration>,
        changed: bool,
        asked_at: DateTime<Utc>,
    ) -> (Option<i64>, Duration) {
        // Paused: the cadence stays as it is, and the creator is looked at again.
        let Some(longest) = longest else { return (self.resync_gap, cadence::PAUSED) };
        let at = Utc::now();
        let since = |then: DateTime<Utc>| (at - then).to_std().unwrap_or_default();
        let turn = Turn { changed, since_last: self.last_synced_at.map(since), took: since(asked_at) };
        let gap = self.resync_gap.and_then(|gap| u64::try_from(gap).ok()).map(Duration::from_secs);
        let gap = cadence::next_gap(gap, longest, turn).max(Duration::from_secs(1));
        (Some(seconds(Some(gap))), cadence::time_to_turn(creator, at, gap))
    }
}

/// What a write holds locked, as it found it.
pub(super) struct Locked {
    job: Job,
    pub(super) before: Before,
    /// How old data may get by the project's word.
    project_resync_every: Option<i64>,
}

/// Locks creator and job, in this order, and checks that both are still this start's. One statement: Postgres locks a joined
/// row's parts in the order in which they are joined.
pub(super) async fn lock(connection: &mut AsyncPgConnection, fence: Fence) -> Result<Locked, WriteError> {
    let known = || creators::table.find(fence.creator).filter(creators::disconnecting_at.is_null());
    let locked: Option<(Before, Option<i64>, Job)> = known()
        .inner_join(jobs::table.on(jobs::creator_id.eq(creators::id)))
        .filter(jobs::id.eq(fence.job))
        .filter(jobs::claim.eq(fence.claim))
        .filter(jobs::state.eq(JobState::Running))
        .select((
            Before::as_select(),
            projects::table.filter(projects::id.eq(creators::project_id)).select(projects::resync_every).single_value(),
            Job::as_select(),
        ))
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    if let Some((before, project_resync_every, job)) = locked {
        return Ok(Locked { job, before, project_resync_every });
    }
    let creator: Option<CreatorId> = known().select(creators::id).first(connection).await.optional()?;
    Err(if creator.is_some() { WriteError::Superseded } else { WriteError::Disconnected })
}

/// Inserts new videos and updates changed ones. A row that says the same already is not touched, not even locked. The
/// time of publication stays as first seen, so that a walk through the pages shows every video once. Where a counter is new,
/// the same statement appends to the video's history: who writes the same again appends nothing. So does it for a row that no
/// version with history has written yet. Gives the number of those that said something new, which such a row alone does not.
pub(super) async fn upsert_videos(
    connection: &AsyncPgConnection,
    creator: CreatorId,
    videos: &[Video],
) -> QueryResult<i64> {
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
    Prepared::new(include_str!("upsert_videos.sql"))
        .bind(creator.into_sql::<SqlUuid>())
        .bind(distinct.iter().map(|_| VideoId::new()).collect::<Vec<_>>().into_sql::<Array<SqlUuid>>())
        .bind(column(&distinct, |video| video.external_id.as_str()).into_sql::<Array<Text>>())
        .bind(column(&distinct, |video| video.title.as_deref()).into_sql::<Array<Nullable<Text>>>())
        .bind(column(&distinct, |video| video.description.as_deref()).into_sql::<Array<Nullable<Text>>>())
        .bind(column(&distinct, |video| video.url.as_deref()).into_sql::<Array<Nullable<Text>>>())
        .bind(column(&distinct, |video| video.cover_url.as_deref()).into_sql::<Array<Nullable<Text>>>())
        .bind(column(&distinct, |video| video.duration).into_sql::<Array<Nullable<BigInt>>>())
        .bind(column(&distinct, |video| video.views).into_sql::<Array<Nullable<BigInt>>>())
        .bind(column(&distinct, |video| video.likes).into_sql::<Array<Nullable<BigInt>>>())
        .bind(column(&distinct, |video| video.comments).into_sql::<Array<Nullable<BigInt>>>())
        .bind(column(&distinct, |video| video.shares).into_sql::<Array<Nullable<BigInt>>>())
        .bind(column(&distinct, |video| -> DateTime<Utc> { video.published_at }).into_sql::<Array<Timestamptz>>())
        .rows::<BigInt>()
        .get_result(&mut &*connection)
        .await
}

fn column<'a, T>(videos: &[&'a Video], of: impl Fn(&'a Video) -> T) -> Vec<T> {
    videos.iter().map(|video| of(video)).collect()
}

/// The listing, if all that it has shown is known: its checkpoints must be there. (Who ends and opens a job by hand at the
/// wrong moment can lose them.)
async fn whole<'a>(
    connection: &mut AsyncPgConnection,
    fence: Fence,
    result: &SyncResult<'a>,
) -> QueryResult<Option<Listed<'a>>> {
    if result.checkpoints == 0 {
        return Ok(result.listing);
    }
    let known = count_checkpoints(connection, fence).await?;
    Ok(result.listing.filter(|_| known == i64::from(result.checkpoints)))
}

/// Hides what a listing without holes did not show; a hidden video keeps its row, and returns with the next listing that
/// has it.
async fn hide_unlisted(
    connection: &AsyncPgConnection,
    creator: CreatorId,
    listed: Listed<'_>,
    checkpoints: i32,
) -> QueryResult<usize> {
    Prepared::new(
        "UPDATE videos SET listed = false WHERE creator_id = {} AND listed \
         AND published_at > COALESCE({}, '-infinity'::timestamptz) \
         AND NOT EXISTS (SELECT 1 FROM ( \
             SELECT unnest({}) AS external_id \
             UNION ALL SELECT unnest(external_ids) FROM checkpoints WHERE checkpoints.creator_id = {} AND part < {} \
         ) AS seen WHERE seen.external_id = videos.external_id)",
    )
    .bind(creator.into_sql::<SqlUuid>())
    .bind(listed.down_to.into_sql::<Nullable<Timestamptz>>())
    .bind(listed.ids.into_sql::<Array<Text>>())
    .bind(creator.into_sql::<SqlUuid>())
    .bind(checkpoints.into_sql::<Integer>())
    .execute(&mut &*connection)
    .await
}
