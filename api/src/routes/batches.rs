//! `GET /api/v1/batches/:id`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};

use crate::app::Api;
use crate::auth::Caller;
use crate::envelope::{Success, ok};
use crate::error::ApiError;
use crate::openapi::ReadErrors;
use crate::path::BatchPath;
use crate::views::BatchView;

/// How far a bulk resync has come.
#[utoipa::path(
    tag = "Batches",
    security(("apiKey" = [])),
    params(("id" = String, Path, description = "The batch's id")),
    responses((status = 200, description = "The batch", body = Success<BatchView>), ReadErrors)
)]
#[get("/batches/{id}")]
pub async fn show_batch(caller: Caller, id: BatchPath, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let found = api.within(api.store.batch(caller.project(), id.0)).await?;
    let batch = found.ok_or(ApiError::NotFound("batch"))?;
    // A batch that has ended needs no estimate, and so no look at what is ahead.
    let ahead = if batch.open() > 0 { Some(api.within(api.store.ahead(caller.project())).await?) } else { None };
    let quota = api.tiktok.quota();
    Ok(ok(BatchView::new(&batch, ahead, quota)))
}
