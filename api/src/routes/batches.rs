//! `GET /api/v1/batches/:id`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};

use crate::app::Api;
use crate::auth::Caller;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::etag::Known;
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
pub async fn show_batch(caller: Caller, id: BatchPath, known: Known, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let found = api.within(api.store.batch(caller.project(), id.0)).await?;
    let batch = found.ok_or(ApiError::NotFound("batch"))?;
    // A batch that has ended needs no estimate, and so no look at what is ahead.
    let ahead = if batch.open() > 0 { Some(api.within(api.store.ahead(caller.project())).await?) } else { None };
    let quota = api.tiktok.quota();
    // The estimate is of the moment: a batch that has come no further has not changed.
    known.answer_as(&BatchView::new(&batch, None, quota), BatchView::new(&batch, ahead, quota))
}
