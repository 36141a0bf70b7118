//! What a creator's page tells of the past and of the videos, each by one query.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Integer, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::history::{CreatorCounters, CreatorPoint};
use super::prepared::Prepared;
use super::schema::{creator_history, creators};
use super::{Store, StoreError};
use crate::ids::{CreatorId, ProjectId, VideoId};

/// What a creator's listed videos have earned together. The sums are over those of which the platform told all four counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns are described in the migrations and the contract")]
pub struct Engagement {
    /// All of the videos.
    pub videos: i64,
    /// Those in the sums.
    pub counted: i64,
    pub views: i64,
    pub likes: i64,
    pub comments: i64,
    pub shares: i64,
}

/// How a video's views went, in equal parts of a time span.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VideoTrend {
    /// The last of what was recorded before the span, if anything was; `Some(None)`: that the platform did not say.
    pub before: Option<Option<i64>>,
    /// The last of what was recorded within each part, by the part's number; parts without anything are absent.
    pub parts: Vec<(usize, Option<i64>)>,
}

/// A time span in equal parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parts {
    /// When the first one begins.
    pub from: DateTime<Utc>,
    /// The seconds of each.
    pub seconds: f64,
    /// Their number.
    pub number: i32,
}

type HistoryRow = (DateTime<Utc>, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);

impl Store {
    /// The last point of a creator's history before an instant.
    pub async fn creator_point_before(
        &self,
        project: ProjectId,
        creator: CreatorId,
        before: DateTime<Utc>,
    ) -> Result<Option<CreatorPoint>, StoreError> {
        let visible = creators::table
            .find(creator)
            .filter(creators::project_id.eq(project).and(creators::disconnecting_at.is_null()));
        let mut connection = self.connection().await?;
        let row: Option<HistoryRow> = creator_history::table
            .filter(creator_history::creator_id.eq(creator).and(creator_history::at.lt(before)))
            .filter(exists(visible))
            .order(creator_history::at.desc())
            .select((
                creator_history::at,
                creator_history::followers,
                creator_history::following,
                creator_history::likes,
                creator_history::video_count,
                creator_history::views,
            ))
            .first(&mut connection)
            .await
            .optional()?;
        Ok(row.map(|(at, followers, following, likes, video_count, views)| CreatorPoint {
            at,
            counters: CreatorCounters { followers, following, likes, video_count },
            views,
        }))
    }

    /// The engagement of a creator's videos that were published at this instant or later.
    pub async fn engagement(
        &self,
        project: ProjectId,
        creator: CreatorId,
        from: DateTime<Utc>,
    ) -> Result<Engagement, StoreError> {
        let query = Prepared::new(include_str!("engagement.sql"))
            .bind(creator.into_sql::<SqlUuid>())
            .bind(project.into_sql::<SqlUuid>())
            .bind(from.into_sql::<Timestamptz>());
        let mut connection = self.connection().await?;
        let (videos, counted, views, likes, comments, shares): (i64, i64, i64, i64, i64, i64) =
            query.rows::<(BigInt, BigInt, BigInt, BigInt, BigInt, BigInt)>().get_result(&mut connection).await?;
        Ok(Engagement { videos, counted, views, likes, comments, shares })
    }

    /// How the views of some of a creator's videos went. One query, which looks once into the index for each video and part: its
    /// cost does not grow with how often they are synced.
    pub async fn video_trends(
        &self,
        project: ProjectId,
        creator: CreatorId,
        videos: &[VideoId],
        parts: Parts,
    ) -> Result<HashMap<VideoId, VideoTrend>, StoreError> {
        let Parts { from, seconds, number } = parts;
        let query = Prepared::new(include_str!("video_trends.sql"))
            .bind(number.into_sql::<Integer>())
            .bind(from.into_sql::<Timestamptz>())
            .bind(seconds.into_sql::<Double>())
            .bind(from.into_sql::<Timestamptz>())
            .bind(seconds.into_sql::<Double>())
            .bind(videos.into_sql::<Array<SqlUuid>>())
            .bind(creator.into_sql::<SqlUuid>())
            .bind(project.into_sql::<SqlUuid>());
        let mut connection = self.connection().await?;
        let rows: Vec<(VideoId, i32, Option<i64>)> =
            query.rows::<(SqlUuid, Integer, Nullable<BigInt>)>().load(&mut connection).await?;
        let mut trends: HashMap<VideoId, VideoTrend> = HashMap::new();
        for (video, number, views) in rows {
            let trend = trends.entry(video).or_default();
            match usize::try_from(number) {
                Ok(number) => trend.parts.push((number, views)),
                Err(_) => trend.before = Some(views),
            }
        }
        Ok(trends)
    }
}
