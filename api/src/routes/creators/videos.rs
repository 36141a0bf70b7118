//! `GET /api/v1/creators/:id/videos`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use shared::store::videos::StoredVideo;

use crate::app::Api;
use crate::auth::Caller;
use crate::cursor;
use crate::envelope::{Success, ok};
use crate::error::ApiError;
use crate::openapi::QueryErrors;
use crate::params::Params;
use crate::path::CreatorPath;
use crate::views::{VideoPageView, VideoView};

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;

/// A creator's videos, newest first.
///
/// Walking the pages shows every video once, also while a sync runs.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    params(
        ("id" = String, Path, description = "The creator's id"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Videos in a page; 20 if absent"),
        ("cursor" = Option<String>, Query, description = "The page before's nextCursor; empty for the first page"),
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
    let after = cursor::video_position(id.0, params.text("cursor")?.unwrap_or_default())?;
    let found = api.within(api.store.videos(caller.project(), id.0, after, limit + 1)).await?;
    let (videos, more) = cursor::page(found.ok_or(ApiError::NotFound("creator"))?, limit);
    let last = videos.last().filter(|_| more).map(StoredVideo::position);
    let next_cursor = last.map(|position| cursor::after_video(id.0, position));
    Ok(ok(VideoPageView { items: videos.into_iter().map(VideoView::from).collect(), next_cursor }))
}
