//! `POST /v2/video/list/`.

use actix_web::HttpRequest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::fields::requested;
use super::json_body;
use super::media::cover_url;
use crate::answer::ApiError;
use crate::faults::FaultKind;
use crate::grants::Caller;
use crate::scopes::Scope;
use crate::settings::PageEdge;
use crate::state::{Context, State, lock};
use crate::world::{Patch, VideoView};

const FIELDS: [&str; 15] = [
    "id",
    "create_time",
    "cover_image_url",
    "share_url",
    "video_description",
    "title",
    "duration",
    "height",
    "width",
    "embed_html",
    "embed_link",
    "like_count",
    "comment_count",
    "share_count",
    "view_count",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Paging {
    /// Milliseconds since 1970; videos posted before it. 0 is "before 1970".
    #[serde(default)]
    cursor: Patch<i64>,
    #[serde(default)]
    max_count: Patch<i64>,
}

pub(super) fn answer(
    state: &State,
    request: &HttpRequest,
    body: &[u8],
    caller: &Caller,
    context: &Context<'_>,
) -> Result<Value, ApiError> {
    let fields = video_fields(request, caller)?;
    let paging: Paging = json_body(request, body)?;
    let cursor = match paging.cursor {
        Patch::Natural => None,
        Patch::Value(cursor) if cursor >= 0 => Some(cursor),
        _ => return Err(ApiError::params("cursor must be a time in milliseconds.")),
    };
    let max_count = match paging.max_count {
        Patch::Natural => 10,
        Patch::Value(count @ 1..=20) => usize::try_from(count).unwrap_or(20),
        _ => return Err(ApiError::params("max_count must be between 1 and 20.")),
    };
    let fault = context.fault.map(|fault| fault.kind);
    // Exclusive, so the first whole second that is not before the cursor.
    let before = cursor.map_or(i64::MAX, |cursor| cursor.saturating_add(999).div_euclid(1000));
    let size = if fault == Some(FaultKind::ShortPage) { max_count.div_ceil(2) } else { max_count };
    let (username, page) = {
        let world = lock(&state.world);
        let creator = world.creator(&caller.open_id).ok_or_else(ApiError::token_invalid)?;
        (world.username(&creator), world.page(&creator, before, size, context.now()))
    };
    let mut next = page.videos.last().map(|video| next_cursor(video, context.settings.page_edge));
    let mut more = page.more;
    let mut videos = page.videos;
    match fault {
        Some(FaultKind::RepeatedCursor) => (next, more) = (cursor.or(next), true),
        Some(FaultKind::EmptyPage) => {
            videos.clear();
            (next, more) = (Some(cursor.unwrap_or(context.now_ms.saturating_add(1000)).saturating_sub(1)), true);
        }
        // A full page after a short one would hide that the client stops at a short page.
        Some(FaultKind::ShortPage) => more = true,
        _ => {}
    }
    let strings = fault == Some(FaultKind::NumericStrings);
    let videos: Vec<_> =
        videos.iter().map(|video| render(state, username.as_deref(), video, &fields, context.now(), strings)).collect();
    Ok(json!({"videos": videos, "cursor": next.or(cursor).unwrap_or(0), "has_more": more}))
}

fn next_cursor(last: &VideoView, edge: PageEdge) -> i64 {
    let second = match edge {
        PageEdge::Skip => last.post.create_time,
        PageEdge::Repeat => last.post.create_time.saturating_add(1),
    };
    second.saturating_mul(1000)
}

/// The requested fields of videos, if the creator allowed to list them.
pub(super) fn video_fields(request: &HttpRequest, caller: &Caller) -> Result<Vec<String>, ApiError> {
    if !caller.scopes.has(Scope::VideoList) {
        return Err(ApiError::not_authorized());
    }
    requested(request, |field| FIELDS.contains(&field))
}

/// One video, the requested fields of it.
pub(super) fn render(
    state: &State,
    username: Option<&str>,
    video: &VideoView,
    fields: &[String],
    now: i64,
    strings: bool,
) -> Value {
    let mut out = Map::new();
    for field in fields {
        if let Some(value) = value_of(state, username, video, field, now) {
            let is_counter = field.ends_with("_count");
            let value = if strings && is_counter { json!(value.to_string()) } else { value };
            out.insert(field.clone(), value);
        }
    }
    Value::Object(out)
}

fn value_of(state: &State, username: Option<&str>, video: &VideoView, field: &str, now: i64) -> Option<Value> {
    let id = video.post.id;
    let embed = || format!("https://www.tiktok.com/player/v1/{id}");
    match field {
        "id" => Some(json!(id.to_string())),
        "create_time" => Some(json!(video.post.create_time)),
        "cover_image_url" => Some(json!(cover_url(state, id, now))),
        "share_url" => Some(json!(format!(
            "https://www.tiktok.com/@{}/video/{id}?utm_campaign=tt4d_open_api&utm_source={}",
            username.unwrap_or("sandbox"),
            state.config.client_key
        ))),
        "video_description" => video.description.as_ref().map(|text| json!(text)),
        "title" => video.title.as_ref().map(|text| json!(text)),
        "duration" => video.duration.map(|seconds| json!(seconds)),
        "height" => Some(json!(1024)),
        "width" => Some(json!(576)),
        "embed_html" => Some(json!(format!("<iframe src=\"{}\"></iframe>", embed()))),
        "embed_link" => Some(json!(embed())),
        "like_count" => video.likes.map(|count| json!(count)),
        "comment_count" => video.comments.map(|count| json!(count)),
        "share_count" => video.shares.map(|count| json!(count)),
        "view_count" => video.views.map(|count| json!(count)),
        _ => None,
    }
}
