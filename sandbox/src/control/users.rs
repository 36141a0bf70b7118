//! Creators: list, make, change.

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Data, Path, Query};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ControlError, Reply, creator, parse, reply};
use crate::state::{State, lock};
use crate::world::{Creator, ProfileChanges, Videos};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUsers {
    /// How many.
    #[serde(default = "one")]
    count: u32,
    /// Videos of each.
    #[serde(default)]
    videos: u64,
    #[serde(default = "six_hours")]
    spacing_seconds: i64,
    #[serde(default = "one_video")]
    per_second: u64,
    #[serde(default = "one_hour")]
    newest_age_seconds: i64,
    #[serde(default)]
    profile: ProfileChanges,
}

fn one() -> u32 {
    1
}

fn one_video() -> u64 {
    1
}

fn one_hour() -> i64 {
    3_600
}

fn six_hours() -> i64 {
    6 * 3_600
}

/// Those of tests, newest first, then the demo creators.
pub(super) async fn list(state: Data<State>, range: Query<Range>) -> Reply {
    let world = lock(&state.world);
    let creators = world.creators(range.offset, range.limit.unwrap_or(100).min(1_000));
    let total = world.total();
    drop(world);
    let users: Vec<_> = creators.iter().map(|creator| view(&state, creator)).collect();
    reply(json!({"total": total, "users": users}))
}

pub(super) async fn make(state: Data<State>, request: HttpRequest, body: Bytes) -> Reply {
    let wanted: NewUsers = parse(&request, &body)?;
    if wanted.count == 0 || wanted.count > 100_000 || wanted.per_second == 0 || wanted.spacing_seconds < 1 {
        return Err(ControlError::Invalid(
            "count is 1 to 100000, per_second and spacing_seconds at least 1".to_owned(),
        ));
    }
    let groups = i64::try_from(wanted.videos.div_ceil(wanted.per_second)).unwrap_or(i64::MAX);
    // Ids carry the second in 32 bits, with 19 digits from 2001 on.
    let oldest = wanted.newest_age_seconds.saturating_add(groups.saturating_mul(wanted.spacing_seconds));
    if wanted.newest_age_seconds < 0 || oldest > 700_000_000 {
        return Err(ControlError::Invalid(
            "the videos would reach back further than 22 years: lower spacing_seconds".to_owned(),
        ));
    }
    let videos = Videos {
        count: wanted.videos,
        spacing: wanted.spacing_seconds,
        per_second: wanted.per_second,
        newest_age: wanted.newest_age_seconds,
    };
    let now = state.clock.now();
    let mut world = lock(&state.world);
    let made: Vec<_> = (0..wanted.count).map(|_| world.make(videos, wanted.profile.clone(), now)).collect();
    drop(world);
    let users: Vec<_> = if made.len() > 1_000 {
        made.iter().map(|creator| json!({"open_id": creator.open_id})).collect()
    } else {
        made.iter().map(|creator| view(&state, creator)).collect()
    };
    reply(json!({"users": users}))
}

pub(super) async fn show(state: Data<State>, open_id: Path<String>) -> Reply {
    reply(view(&state, &creator(&state, &open_id)?))
}

pub(super) async fn change(state: Data<State>, open_id: Path<String>, request: HttpRequest, body: Bytes) -> Reply {
    let creator = creator(&state, &open_id)?;
    let changes: ProfileChanges = parse(&request, &body)?;
    lock(&state.world).change(&creator, changes);
    reply(view(&state, &creator))
}

/// Forgets what tests changed about the profile and the videos.
pub(super) async fn reset(state: Data<State>, open_id: Path<String>) -> Reply {
    let creator = creator(&state, &open_id)?;
    lock(&state.world).reset(&creator);
    reply(view(&state, &creator))
}

fn view(state: &State, creator: &Creator) -> Value {
    let connected = lock(&state.grants).connected(&creator.open_id);
    let world = lock(&state.world);
    let user = world.user(creator, state.clock.now());
    json!({
        "open_id": user.open_id,
        "display_name": user.display_name,
        "username": user.username,
        "bio_description": user.bio,
        "is_verified": user.verified,
        "follower_count": user.followers,
        "following_count": user.following,
        "likes_count": user.likes,
        "video_count": user.videos,
        "private": world.is_private(&creator.open_id),
        "banned": world.is_banned(&creator.open_id),
        "scopes": connected,
    })
}
