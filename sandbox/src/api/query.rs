//! `POST /v2/video/query/`.

use actix_web::HttpRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json_body;
use super::list::{render, video_fields};
use crate::answer::ApiError;
use crate::faults::FaultKind;
use crate::grants::Caller;
use crate::state::{Context, State, lock};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    filters: Filters,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    video_ids: Vec<String>,
}

pub(super) fn answer(
    state: &State,
    request: &HttpRequest,
    body: &[u8],
    caller: &Caller,
    context: &Context<'_>,
) -> Result<Value, ApiError> {
    let fields = video_fields(request, caller)?;
    let query: Query = json_body(request, body)?;
    let ids = query.filters.video_ids;
    if ids.is_empty() || ids.len() > 20 {
        return Err(ApiError::params("video_ids must hold 1 to 20 ids."));
    }
    let strings = context.fault.is_some_and(|fault| fault.kind == FaultKind::NumericStrings);
    let world = lock(&state.world);
    let creator = world.creator(&caller.open_id).ok_or_else(ApiError::token_invalid)?;
    let username = world.username(&creator);
    let mut videos = Vec::new();
    for id in &ids {
        let id: u64 = id.parse().map_err(|_| ApiError::params("A video id is not a number."))?;
        // Foreign, deleted and private videos are left out without a word.
        videos.extend(world.video(&creator, id, context.now()));
    }
    let videos: Vec<_> =
        videos.iter().map(|video| render(state, username.as_deref(), video, &fields, context.now(), strings)).collect();
    Ok(json!({"videos": videos}))
}
