//! `GET /v2/user/info/`.

use actix_web::HttpRequest;
use serde_json::{Map, Value, json};

use super::fields::requested;
use super::media::avatar_url;
use crate::answer::ApiError;
use crate::faults::FaultKind;
use crate::grants::Caller;
use crate::scopes::Scope;
use crate::settings::MissingScope;
use crate::state::{Context, State, lock};
use crate::world::UserView;

pub(super) fn answer(
    state: &State,
    request: &HttpRequest,
    caller: &Caller,
    context: &Context<'_>,
) -> Result<Value, ApiError> {
    let fields = requested(request, |field| scope_of(field).is_some())?;
    let user = {
        let world = lock(&state.world);
        let creator = world.creator(&caller.open_id).ok_or_else(ApiError::token_invalid)?;
        world.user(&creator, context.now())
    };
    let strings = context.fault.is_some_and(|fault| fault.kind == FaultKind::NumericStrings);
    let mut out = Map::new();
    for field in fields {
        if !scope_of(&field).is_some_and(|scope| caller.scopes.has(scope)) {
            match context.settings.missing_scope {
                MissingScope::NotAuthorized => return Err(ApiError::not_authorized()),
                MissingScope::PermissionMissed => {
                    return Err(ApiError::new(
                        400,
                        "scope_permission_missed",
                        "Additional permissions are required to access some fields.",
                    ));
                }
                MissingScope::Omit => continue,
            }
        }
        if let Some(value) = value_of(state, &user, &field, context.now()) {
            let value = if strings && value.is_number() { json!(value.to_string()) } else { value };
            out.insert(field, value);
        }
    }
    Ok(json!({"user": out}))
}

fn scope_of(field: &str) -> Option<Scope> {
    match field {
        "open_id" | "union_id" | "avatar_url" | "avatar_url_100" | "avatar_large_url" | "display_name" => {
            Some(Scope::Basic)
        }
        "bio_description" | "profile_deep_link" | "is_verified" | "username" => Some(Scope::Profile),
        "follower_count" | "following_count" | "likes_count" | "video_count" => Some(Scope::Stats),
        _ => None,
    }
}

fn value_of(state: &State, user: &UserView, field: &str, now: i64) -> Option<Value> {
    match field {
        "open_id" => Some(json!(user.open_id)),
        "union_id" => Some(json!(user.union_id)),
        "avatar_url" | "avatar_url_100" | "avatar_large_url" => Some(json!(avatar_url(state, &user.open_id, now))),
        "display_name" => user.display_name.as_ref().map(|name| json!(name)),
        "bio_description" => user.bio.as_ref().map(|bio| json!(bio)),
        "profile_deep_link" => {
            user.username.as_ref().map(|name| json!(format!("https://www.tiktok.com/@{name}?_r=1&_t=sandbox")))
        }
        "is_verified" => user.verified.map(|verified| json!(verified)),
        "username" => user.username.as_ref().map(|name| json!(name)),
        "follower_count" => user.followers.map(|count| json!(count)),
        "following_count" => user.following.map(|count| json!(count)),
        "likes_count" => user.likes.map(|count| json!(count)),
        "video_count" => user.videos.map(|count| json!(count)),
        _ => None,
    }
}
