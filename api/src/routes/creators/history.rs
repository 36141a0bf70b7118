//! `GET /api/v1/creators/:id/history` and `GET /api/v1/creators/:id/videos/:videoId/history`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use chrono::{DateTime, Days, Utc};
use shared::store::history::{HistoryRange, Interval};
use uuid::Uuid;

use crate::app::Api;
use crate::auth::Caller;
use crate::cursor;
use crate::envelope::{Success, ok};
use crate::error::ApiError;
use crate::openapi::QueryErrors;
use crate::params::{Params, TimeRange};
use crate::path::{CreatorPath, VideoPath};
use crate::views::{CreatorHistoryView, CreatorPointView, VideoHistoryView, VideoPointView};
use crate::words::{InstantWord, IntervalWord};

/// What is shown if nobody says from when.
const DEFAULT_DAYS: Days = Days::new(30);
/// A year of days is one page.
const DEFAULT_LIMIT: i64 = 500;
const MAX_LIMIT: i64 = 1000;

/// A creator's counters over time.
///
/// The last value of an interval stands for it. An interval in which no sync changed anything is absent.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    params(
        ("id" = String, Path, description = "The creator's id"),
        ("from" = inline(Option<InstantWord>), Query, description = "From this time on: RFC 3339, or a date (UTC); 30 days before `to` if absent"),
        ("to" = inline(Option<InstantWord>), Query, description = "Before this time: RFC 3339, or a date (UTC); now if absent"),
        ("interval" = inline(Option<IntervalWord>), Query, description = "day (if absent), week (from Monday), month, each of UTC; or raw: every sync that changed something"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "Items in a page; 500 if absent"),
        ("cursor" = Option<String>, Query, description = "The page before's nextCursor, with the same `to` and `interval`; empty for the first page"),
    ),
    responses((status = 200, description = "A part of the history, oldest first", body = Success<CreatorHistoryView>), QueryErrors)
)]
#[get("/creators/{id}/history")]
pub async fn show_creator_history(
    caller: Caller,
    id: CreatorPath,
    params: Params,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let part = Part::of(&params, id.0.uuid())?;
    let found = api.within(api.store.creator_history(caller.project(), id.0, part.range, part.limit + 1)).await?;
    let (points, more) = cursor::page(found.ok_or(ApiError::NotFound("creator"))?, part.limit);
    let next_cursor = points.last().filter(|_| more).map(|last| part.after(last.at));
    Ok(ok(CreatorHistoryView { items: points.into_iter().map(CreatorPointView::from).collect(), next_cursor }))
}

/// A video's counters over time.
///
/// The last value of an interval stands for it. An interval in which no sync found other counters is absent.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    params(
        ("id" = String, Path, description = "The creator's id"),
        ("videoId" = String, Path, description = "The video's id"),
        ("from" = inline(Option<InstantWord>), Query, description = "From this time on: RFC 3339, or a date (UTC); 30 days before `to` if absent"),
        ("to" = inline(Option<InstantWord>), Query, description = "Before this time: RFC 3339, or a date (UTC); now if absent"),
        ("interval" = inline(Option<IntervalWord>), Query, description = "day (if absent), week (from Monday), month, each of UTC; or raw: every sync that changed something"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "Items in a page; 500 if absent"),
        ("cursor" = Option<String>, Query, description = "The page before's nextCursor, with the same `to` and `interval`; empty for the first page"),
    ),
    responses((status = 200, description = "A part of the history, oldest first", body = Success<VideoHistoryView>), QueryErrors)
)]
#[get("/creators/{id}/videos/{videoId}/history")]
pub async fn show_video_history(
    caller: Caller,
    ids: VideoPath,
    params: Params,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let VideoPath(creator, video) = ids;
    let part = Part::of(&params, video.uuid())?;
    let found =
        api.within(api.store.video_history(caller.project(), creator, video, part.range, part.limit + 1)).await?;
    let (points, more) = cursor::page(found.ok_or(ApiError::NotFound("video"))?, part.limit);
    let next_cursor = points.last().filter(|_| more).map(|last| part.after(last.at));
    Ok(ok(VideoHistoryView { items: points.into_iter().map(VideoPointView::from).collect(), next_cursor }))
}

/// Which part of whose history is asked for.
struct Part {
    /// The creator or the video.
    owner: Uuid,
    range: HistoryRange,
    limit: i64,
}

impl Part {
    fn of(params: &Params, owner: Uuid) -> Result<Self, ApiError> {
        let limit = params.limit(1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
        let TimeRange { from, to } = params.range()?;
        let start = |before: DateTime<Utc>| before.checked_sub_days(DEFAULT_DAYS).unwrap_or(before);
        let from = from.unwrap_or_else(|| start(to.unwrap_or_else(Utc::now)));
        // Without an end all that is written: Postgres's clock may be ahead of ours.
        let to = to.unwrap_or(DateTime::<Utc>::MAX_UTC);
        let interval = params.text("interval")?.map(interval).transpose()?.unwrap_or_default();
        let start = cursor::history_start(owner, interval, params.text("cursor")?.unwrap_or_default())?;
        Ok(Self { owner, range: HistoryRange { from: start.unwrap_or(from), to, interval }, limit })
    }

    /// The cursor after the point of this instant. The next page begins with the next interval: a sync that comes between two
    /// pages shows none twice.
    fn after(&self, at: DateTime<Utc>) -> String {
        cursor::history_from(self.owner, self.range.interval, self.range.interval.end(at))
    }
}

fn interval(text: &str) -> Result<Interval, ApiError> {
    text.parse().map_err(|_| ApiError::field("interval", "must be one of day, week, month, raw"))
}
