//! `GET /api/v1/creators/:id/profile`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};

use crate::app::Api;
use crate::auth::Caller;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::etag::Known;
use crate::openapi::ReadErrors;
use crate::path::CreatorPath;
use crate::views::ProfileView;

/// A creator's profile and latest synced counters.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    params(("id" = String, Path, description = "The creator's id")),
    responses((status = 200, description = "The profile", body = Success<ProfileView>), ReadErrors)
)]
#[get("/creators/{id}/profile")]
pub async fn show_profile(
    caller: Caller,
    id: CreatorPath,
    known: Known,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let found = api.within(api.store.creator(caller.project(), id.0)).await?;
    known.answer(ProfileView::from(found.ok_or(ApiError::NotFound("creator"))?))
}
