//! A video and a page of them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::store::videos::StoredVideo;
use utoipa::ToSchema;

use super::instant;

/// A video with its latest counters; null where the platform did not say, never zero.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Video)]
pub struct VideoView {
    /// The video's id here.
    pub id: String,
    /// The video's id on its platform.
    pub external_id: String,
    /// Its title.
    #[schema(required, example = "Video title")]
    pub title: Option<String>,
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
    /// Its length in seconds.
    #[schema(required, example = 30)]
    pub duration: Option<i64>,
    /// When it was published.
    #[serde(serialize_with = "instant")]
    pub published_at: DateTime<Utc>,
    /// Its page on the platform.
    #[schema(required)]
    pub url: Option<String>,
    /// Its cover picture; the platform's link may expire.
    #[schema(required)]
    pub cover_url: Option<String>,
    /// The text under it.
    #[schema(required)]
    pub description: Option<String>,
}

/// A page of videos, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VideoPage)]
pub struct VideoPageView {
    /// The videos.
    pub items: Vec<VideoView>,
    /// Where the next page starts: send it as `cursor`. Null on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl From<StoredVideo> for VideoView {
    fn from(video: StoredVideo) -> Self {
        Self {
            id: video.id.to_string(),
            external_id: video.external_id,
            title: video.title,
            views: video.views,
            likes: video.likes,
            comments: video.comments,
            shares: video.shares,
            duration: video.duration,
            published_at: video.published_at,
            url: video.url,
            cover_url: video.cover_url,
            description: video.description,
        }
    }
}
