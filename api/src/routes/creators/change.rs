//! `PATCH /api/v1/creators/:id`

use actix_web::web::Data;
use actix_web::{HttpResponse, patch};
use serde_json::Value;
use shared::cadence::ResyncEvery;
use shared::settings::resync_every;
use shared::store::audit::By;
use shared::store::resync_words::{CreatorChange, RefChange};
use utoipa::ToSchema;

use crate::app::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::envelope::{Success, ok};
use crate::error::ApiError;
use crate::external_ref;
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
    /// Your own name for the creator: at most 255 characters that can be seen, in one line; null takes it away.
    #[schema(
        example = "user-4711",
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000-\u001F\u007F-\u009F\u200B\u200E\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFFD]*[^\u0000-\u001F\u007F-\u009F\u200B\u200E\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFFD\s][^\u0000-\u001F\u007F-\u009F\u200B\u200E\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFFD]*$"
    )]
    external_ref: Option<String>,
}

/// Changes how often the schedule syncs a creator, and your own name for it.
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
    let change = CreatorChange { every: every(&body)?, external_ref: name(&body)? };
    let found = api.within(api.store.change_creator(By::Key(caller.key()), caller.project(), id.0, &change)).await?;
    found.map(|creator| ok(CreatorView::from(creator))).ok_or(ApiError::NotFound("creator"))
}

/// `None`: it stays.
fn every(body: &JsonBody) -> Result<Option<ResyncEvery>, ApiError> {
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

fn name(body: &JsonBody) -> Result<RefChange, ApiError> {
    match body.text("externalRef")? {
        Some(text) => Ok(RefChange::Set(external_ref::parse(text)?.to_owned())),
        // Absent and null differ here.
        None if body.field("externalRef").is_some() => Ok(RefChange::Remove),
        None => Ok(RefChange::Keep),
    }
}
