//! Videos of a creator: list, add, change, delete.

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Data, Path, Query};
use serde::Deserialize;
use serde_json::json;

use super::{ControlError, Reply, creator, parse, reply};
use crate::state::{State, lock};
use crate::world::{Creator, Post, VideoChanges};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewVideos {
    #[serde(default = "one")]
    count: u32,
    /// Seconds since 1970; now, if absent. All of the call share it.
    create_time: Option<i64>,
    #[serde(default)]
    changes: VideoChanges,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    limit: Option<usize>,
}

/// The newest public videos.
pub(super) async fn list(state: Data<State>, open_id: Path<String>, query: Query<Limit>) -> Reply {
    let creator = creator(&state, &open_id)?;
    let now = state.clock.now();
    let page = lock(&state.world).page(&creator, i64::MAX, query.limit.unwrap_or(100).min(100_000), now);
    let videos: Vec<_> = page
        .videos
        .iter()
        .map(|video| {
            json!({
                "id": video.post.id.to_string(),
                "create_time": video.post.create_time,
                "title": video.title,
                "view_count": video.views,
                "like_count": video.likes,
                "comment_count": video.comments,
                "share_count": video.shares,
            })
        })
        .collect();
    reply(json!({"videos": videos, "has_more": page.more}))
}

pub(super) async fn add(state: Data<State>, open_id: Path<String>, request: HttpRequest, body: Bytes) -> Reply {
    let creator = creator(&state, &open_id)?;
    let wanted: NewVideos = parse(&request, &body)?;
    let at = wanted.create_time.unwrap_or_else(|| state.clock.now());
    if !(1_000_000_000..=i64::from(u32::MAX)).contains(&at) || wanted.count == 0 || wanted.count > 10_000 {
        return Err(ControlError::Invalid(
            "create_time is in seconds, from 2001 to 2106; count is 1 to 10000".to_owned(),
        ));
    }
    let mut world = lock(&state.world);
    let posts = (0..wanted.count).map(|_| world.add_video(&creator, at, wanted.changes.clone()));
    let videos: Vec<_> =
        posts.map(|post| json!({"id": post.id.to_string(), "create_time": post.create_time})).collect();
    reply(json!({"videos": videos}))
}

pub(super) async fn change(state: Data<State>, path: Path<(String, u64)>, request: HttpRequest, body: Bytes) -> Reply {
    let (creator, post) = found(&state, &path)?;
    let changes: VideoChanges = parse(&request, &body)?;
    lock(&state.world).change_video(&creator, post, changes);
    reply(json!({"id": post.id.to_string()}))
}

pub(super) async fn delete(state: Data<State>, path: Path<(String, u64)>) -> Reply {
    let (creator, post) = found(&state, &path)?;
    lock(&state.world).delete_video(&creator, post);
    reply(json!({"id": post.id.to_string()}))
}

fn found(state: &State, (open_id, id): &(String, u64)) -> Result<(Creator, Post), ControlError> {
    let creator = creator(state, open_id)?;
    let post = lock(&state.world).find_video(&creator, *id).ok_or(ControlError::NotFound("video"))?;
    Ok((creator, post))
}
