//! `PATCH /api/v1/creators/:id`

use actix_web::web::Data;
use actix_web::{HttpResponse, patch};
use serde_json::Value;
use shared::cadence::ResyncEvery;
use shared::settings::resync_every;
use utoipa::ToSchema;

use crate::app::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::envelope::{Success, ok};
use crate::error::ApiError;
use crate::openapi::ChangeErrors;
use crate::path::CreatorPath;
use crate::views::CreatorView;

/// What can be changed of a creator. What is absent stays.
#[derive(Debug, ToSchema)]
#[schema(as = CreatorChange, rename_all = "camelCase")]
#[expect(dead_code, reason = "the document's; a body is read field by field, so that absent and null differ")]
pub struct CreatorChangeBody {
    /// How old the creator's data may get before the schedule syncs it: a time span such as `6h`, `off` for never, null for
    /// the default.
    #[schema(example = "6h")]
    resync_every: Option<String>,
}

/// Changes how often the schedule syncs a creator.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    params(("id" = String, Path, description = "The creator's id")),
    request_body(content = Option<CreatorChangeBody>, content_type = "application/json"),
    responses((status = 200, description = "The creator", body = Success<CreatorView>), ChangeErrors)
)]
#[patch("/creators/{id}")]
pub async fn change_creator(
    caller: Caller,
    id: CreatorPath,
    body: JsonBody,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let found = match wanted(&body)? {
        Some(every) => api.within(api.store.set_creator_resync(caller.project(), id.0, every)).await?,
        None => api.within(api.store.creator(caller.project(), id.0)).await?,
    };
    found.map(|creator| ok(CreatorView::from(creator))).ok_or(ApiError::NotFound("creator"))
}

/// `None`: nothing is to change.
fn wanted(body: &JsonBody) -> Result<Option<ResyncEvery>, ApiError> {
    match body.field("resyncEvery") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(ResyncEvery::Default)),
        Some(Value::String(text)) => {
            let every = resync_every(text).map_err(|problem| ApiError::field("resyncEvery", &problem))?;
            Ok(Some(every.into()))
        }
        Some(_) => Err(ApiError::field("resyncEvery", "must be a time span such as `6h`, `off`, or null")),
    }
}
