//! `GET /api/v1/creators/:id`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};

use crate::app::Api;
use crate::auth::Caller;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::etag::Known;
use crate::openapi::ReadErrors;
use crate::path::CreatorPath;
use crate::views::CreatorView;

/// One creator, as in the list.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    params(("id" = String, Path, description = "The creator's id")),
    responses((status = 200, description = "The creator", body = Success<CreatorView>), ReadErrors)
)]
#[get("/creators/{id}")]
pub async fn show_creator(
    caller: Caller,
    id: CreatorPath,
    known: Known,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let found = api.within(api.store.creator(caller.project(), id.0)).await?;
    known.answer(CreatorView::from(found.ok_or(ApiError::NotFound("creator"))?))
}
