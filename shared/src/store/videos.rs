//! Videos as the API reads them: pages by keyset, newest first.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::schema::{creators, videos};
use super::{Store, StoreError};
use crate::ids::{CreatorId, ProjectId, VideoId};

/// A video with its latest counters.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = videos)]
#[allow(missing_docs, reason = "the columns are described in the migrations and the contract")]
pub struct StoredVideo {
    pub id: VideoId,
    pub external_id: String,
    pub title: Option<String>,
    pub description: Option<String>,
    pub url: Option<String>,
    pub cover_url: Option<String>,
    pub duration: Option<i64>,
    pub views: Option<i64>,
    pub likes: Option<i64>,
    pub comments: Option<i64>,
    pub shares: Option<i64>,
    pub published_at: DateTime<Utc>,
}

/// A place in a creator's videos: after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoPosition {
    /// The last video's time of publication.
    pub published_at: DateTime<Utc>,
    /// Its id, for videos of one second.
    pub id: VideoId,
}

impl StoredVideo {
    /// This video's place among its creator's.
    pub fn position(&self) -> VideoPosition {
        VideoPosition { published_at: self.published_at, id: self.id }
    }
}

impl Store {
    /// At most `limit` listed videos of a creator after `after`, newest first; `None` if the project has no such creator.
    ///
    /// One indexed query; a second one, by primary key, only to tell an empty page from an unknown creator.
    pub async fn videos(
        &self,
        project: ProjectId,
        creator: CreatorId,
        after: Option<VideoPosition>,
        limit: i64,
    ) -> Result<Option<Vec<StoredVideo>>, StoreError> {
        let visible = creators::project_id.eq(project).and(creators::disconnecting_at.is_null());
        let mut query = videos::table
            .inner_join(creators::table)
            .filter(videos::creator_id.eq(creator))
            .filter(visible)
            .filter(videos::listed)
            .order((videos::published_at.desc(), videos::id.desc()))
            .limit(limit)
            .select(StoredVideo::as_select())
            .into_boxed();
        if let Some(after) = after {
            // The first half carries the index, the second settles videos of one second.
            query = query
                .filter(videos::published_at.le(after.published_at))
                .filter(videos::published_at.lt(after.published_at).or(videos::id.lt(after.id)));
        }
        let mut connection = self.connection().await?;
        let page: Vec<StoredVideo> = query.load(&mut connection).await?;
        if !page.is_empty() {
            return Ok(Some(page));
        }
        let known: Option<CreatorId> = creators::table
            .find(creator)
            .filter(visible)
            .select(creators::id)
            .first(&mut connection)
            .await
            .optional()?;
        Ok(known.map(|_| page))
    }
}
