//! The past of a creator's and a video's counters.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::store::history::{CreatorPoint, VideoPoint};
use utoipa::ToSchema;

use super::instant;

/// A creator's counters after a sync; null where the platform did not say, never zero.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CreatorPoint)]
pub struct CreatorPointView {
    /// When that sync was done.
    #[serde(serialize_with = "instant")]
    pub at: DateTime<Utc>,
    /// Followers.
    #[schema(required, example = 5618)]
    pub followers: Option<i64>,
    /// Accounts that the creator follows.
    #[schema(required, example = 838)]
    pub following: Option<i64>,
    /// Likes over all videos.
    #[schema(required, example = 1203)]
    pub likes: Option<i64>,
    /// Public videos.
    #[schema(required, example = 11)]
    pub video_count: Option<i64>,
    /// Views of all videos that were listed then, added up.
    #[schema(required, example = 48210)]
    pub views: Option<i64>,
}

/// A part of a creator's history, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CreatorHistory)]
pub struct CreatorHistoryView {
    /// One for each interval in which a sync changed something: its last.
    pub items: Vec<CreatorPointView>,
    /// Where the next page starts: send it as `cursor`. Null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// A video's counters after a sync; null where the platform did not say, never zero.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VideoPoint)]
pub struct VideoPointView {
    /// When they were written.
    #[serde(serialize_with = "instant")]
    pub at: DateTime<Utc>,
    /// Views.
    #[schema(required, example = 12400)]
    pub views: Option<i64>,
    /// Likes.
    #[schema(required, example = 890)]
    pub likes: Option<i64>,
    /// Comments.
    #[schema(required, example = 34)]
    pub comments: Option<i64>,
    /// Shares.
    #[schema(required, example = 12)]
    pub shares: Option<i64>,
}

/// A part of a video's history, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VideoHistory)]
pub struct VideoHistoryView {
    /// One for each interval in which a sync found other counters: its last.
    pub items: Vec<VideoPointView>,
    /// Where the next page starts: send it as `cursor`. Null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl From<CreatorPoint> for CreatorPointView {
    fn from(point: CreatorPoint) -> Self {
        let CreatorPoint { at, counters, views } = point;
        Self {
            at,
            followers: counters.followers,
            following: counters.following,
            likes: counters.likes,
            video_count: counters.video_count,
            views,
        }
    }
}

impl From<VideoPoint> for VideoPointView {
    fn from(point: VideoPoint) -> Self {
        let VideoPoint { at, views, likes, comments, shares } = point;
        Self { at, views, likes, comments, shares }
    }
}
