//! `GET /api/v1/creators/:id/videos`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use shared::store::videos::VideoQuery;

use crate::app::Api;
use crate::auth::Caller;
use crate::cursor;
use crate::envelope::{Success, ok};
use crate::error::ApiError;
use crate::openapi::QueryErrors;
use crate::params::{Params, TimeRange};
use crate::path::CreatorPath;
use crate::views::{VideoPageView, VideoView};
use crate::words::{InstantWord, SortOrderWord, VideoSortWord};

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;

/// A creator's videos, newest first unless sorted otherwise.
///
/// Walking the pages by `publishedAt` shows every video once, also while a sync runs. The counters change meanwhile: a walk by
/// one of them may show a video twice, or miss it.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    params(
        ("id" = String, Path, description = "The creator's id"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Videos in a page; 20 if absent"),
        ("from" = inline(Option<InstantWord>), Query, description = "Only those published at this time or later: RFC 3339, or a date"),
        ("to" = inline(Option<InstantWord>), Query, description = "Only those published before this time: RFC 3339, or a date"),
        ("sort" = inline(Option<VideoSortWord>), Query, description = "publishedAt (if absent), views, likes, comments or shares"),
        ("order" = inline(Option<SortOrderWord>), Query, description = "desc (if absent) or asc; those without the counter come last"),
        ("cursor" = Option<String>, Query, description = "The page before's nextCursor, with the same sort and order; empty for the first page"),
    ),
    responses((status = 200, description = "A page of videos", body = Success<VideoPageView>), QueryErrors)
)]
#[get("/creators/{id}/videos")]
pub async fn list_videos(
    caller: Caller,
    id: CreatorPath,
    params: Params,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let limit = params.limit(1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let (sort, order) = (params.word("sort")?.unwrap_or_default(), params.word("order")?.unwrap_or_default());
    let TimeRange { from, to } = params.range()?;
    let asked = VideoQuery {
        from,
        to,
        sort,
        order,
        after: cursor::video_position(id.0, sort, order, params.text("cursor")?.unwrap_or_default())?,
    };
    let found = api.within(api.store.videos(caller.project(), id.0, &asked, limit + 1)).await?;
    let (videos, more) = cursor::page(found.ok_or(ApiError::NotFound("creator"))?, limit);
    let last = videos.last().filter(|_| more).map(|video| video.position(sort));
    let next_cursor = last.map(|position| cursor::after_video(id.0, sort, order, position));
    Ok(ok(VideoPageView { items: videos.into_iter().map(VideoView::from).collect(), next_cursor }))
}
