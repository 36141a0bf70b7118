//! `GET /api/v1/jobs/:id`

use actix_web::web::Data;
use actix_web::{HttpResponse, get};

use crate::app::Api;
use crate::auth::Caller;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::etag::Known;
use crate::openapi::ReadErrors;
use crate::path::JobPath;
use crate::views::JobView;

/// The state of a job that a 202 named.
#[utoipa::path(
    tag = "Jobs",
    security(("apiKey" = [])),
    params(("id" = String, Path, description = "The job's id")),
    responses((status = 200, description = "The job", body = Success<JobView>), ReadErrors)
)]
#[get("/jobs/{id}")]
pub async fn show_job(caller: Caller, id: JobPath, known: Known, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let found = api.within(api.store.job(caller.project(), id.0)).await?;
    let job = found.ok_or(ApiError::NotFound("job"))?;
    let external_ref = api.within(api.store.external_ref(caller.project(), job.creator_id)).await?;
    known.answer(JobView::of(job, external_ref))
}
