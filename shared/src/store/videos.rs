//! Videos as the API reads them: pages by keyset, newest first unless somebody wants another order.

use chrono::{DateTime, Utc};
use diesel::dsl;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};
use diesel_async::RunQueryDsl;
use strum::{AsRefStr, Display, EnumString, VariantArray};

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

/// What a creator's videos are sorted by. The names are the API's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, AsRefStr, Display, EnumString, VariantArray)]
#[strum(serialize_all = "camelCase")]
pub enum VideoSort {
    /// The time of publication, which no sync changes: a walk shows every video once, by an index.
    #[default]
    PublishedAt,
    /// Views. This and the other counters change while a walk goes on, so it may show a video twice or not at all; and a
    /// page reads all of the creator's videos. An index for each counter would be written by every sync.
    Views,
    /// Likes.
    Likes,
    /// Comments.
    Comments,
    /// Shares.
    Shares,
}

/// Which end comes first. The names are the API's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, AsRefStr, Display, EnumString, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum SortOrder {
    /// The smallest, or oldest.
    Asc,
    /// The largest, or newest.
    #[default]
    Desc,
}

/// Which of a creator's videos are asked for, and in which order. All of them, newest first, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VideoQuery {
    /// Those published at this instant or later.
    pub from: Option<DateTime<Utc>>,
    /// Those published before this instant.
    pub to: Option<DateTime<Utc>>,
    /// What they are sorted by.
    pub sort: VideoSort,
    /// Which end comes first. Those without the counter come last either way.
    pub order: SortOrder,
    /// Those after this place, which is one of the same `sort` and `order`.
    pub after: Option<VideoPosition>,
}

/// A place in a creator's videos: after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoPosition {
    /// What the last video is sorted by: microseconds since 1970 for its time of publication, or a counter if it has it.
    pub value: Option<i64>,
    /// Its id, for videos of one value.
    pub id: VideoId,
}

impl StoredVideo {
    /// This video's place among its creator's, in that order.
    pub fn position(&self, sort: VideoSort) -> VideoPosition {
        let value = match sort {
            VideoSort::PublishedAt => Some(self.published_at.timestamp_micros()),
            VideoSort::Views => self.views,
            VideoSort::Likes => self.likes,
            VideoSort::Comments => self.comments,
            VideoSort::Shares => self.shares,
        };
        VideoPosition { value, id: self.id }
    }
}

impl Store {
    /// At most `limit` listed videos of a creator; `None` if the project has no such creator.
    ///
    /// One query; a second one, by primary key, only to tell an empty page from an unknown creator.
    pub async fn videos(
        &self,
        project: ProjectId,
        creator: CreatorId,
        asked: &VideoQuery,
        limit: i64,
    ) -> Result<Option<Vec<StoredVideo>>, StoreError> {
        let visible = creators::project_id.eq(project).and(creators::disconnecting_at.is_null());
        let mut query = videos::table
            .inner_join(creators::table)
            .select(StoredVideo::as_select())
            .into_boxed()
            .filter(videos::creator_id.eq(creator))
            .filter(visible)
            .filter(videos::listed)
            .limit(limit);
        if let Some(from) = asked.from {
            query = query.filter(videos::published_at.ge(from));
        }
        if let Some(to) = asked.to {
            query = query.filter(videos::published_at.lt(to));
        }
        let query = match asked.sort {
            VideoSort::PublishedAt => by_age(query, asked.order, asked.after),
            VideoSort::Views => by_counter(query, || Box::new(videos::views), asked.order, asked.after),
            VideoSort::Likes => by_counter(query, || Box::new(videos::likes), asked.order, asked.after),
            VideoSort::Comments => by_counter(query, || Box::new(videos::comments), asked.order, asked.after),
            VideoSort::Shares => by_counter(query, || Box::new(videos::shares), asked.order, asked.after),
        };
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

type Joined = dsl::InnerJoinQuerySource<videos::table, creators::table>;
type Page<'a> =
    dsl::IntoBoxed<'a, dsl::Select<dsl::InnerJoin<videos::table, creators::table>, dsl::AsSelect<StoredVideo, Pg>>, Pg>;
type Counter = Box<dyn BoxableExpression<Joined, Pg, SqlType = Nullable<BigInt>>>;

/// By the index: the first half of the place carries it, the second settles videos of one instant.
fn by_age(query: Page<'_>, order: SortOrder, after: Option<VideoPosition>) -> Page<'_> {
    let after = after.and_then(|after| Some((DateTime::from_timestamp_micros(after.value?)?, after.id)));
    match (order, after) {
        (SortOrder::Desc, None) => query.order((videos::published_at.desc(), videos::id.desc())),
        (SortOrder::Asc, None) => query.order((videos::published_at.asc(), videos::id.asc())),
        (SortOrder::Desc, Some((at, id))) => by_age(query, order, None)
            .filter(videos::published_at.le(at))
            .filter(videos::published_at.lt(at).or(videos::id.lt(id))),
        (SortOrder::Asc, Some((at, id))) => by_age(query, order, None)
            .filter(videos::published_at.ge(at))
            .filter(videos::published_at.gt(at).or(videos::id.gt(id))),
    }
}

fn by_counter(query: Page<'_>, counter: fn() -> Counter, order: SortOrder, after: Option<VideoPosition>) -> Page<'_> {
    let Some(VideoPosition { value, id }) = after else {
        return match order {
            SortOrder::Desc => query.order((counter().desc().nulls_last(), videos::id.desc())),
            SortOrder::Asc => query.order((counter().asc().nulls_last(), videos::id.asc())),
        };
    };
    let query = by_counter(query, counter, order, None);
    match (order, value) {
        (SortOrder::Desc, Some(value)) => {
            query.filter(counter().lt(value).or(counter().eq(value).and(videos::id.lt(id))).or(counter().is_null()))
        }
        (SortOrder::Asc, Some(value)) => {
            query.filter(counter().gt(value).or(counter().eq(value).and(videos::id.gt(id))).or(counter().is_null()))
        }
        (SortOrder::Desc, None) => query.filter(counter().is_null().and(videos::id.lt(id))),
        (SortOrder::Asc, None) => query.filter(counter().is_null().and(videos::id.gt(id))),
    }
}
