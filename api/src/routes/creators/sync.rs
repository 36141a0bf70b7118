//! `POST /api/v1/creators/:id/sync`: one INSERT, a push, and the wait for the job's last word.

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use serde::Serialize;
use shared::ids::{CreatorId, JobId, ProjectId};
use shared::queue::Final;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::app::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::dispatch;
use crate::envelope::{Success, ok};
use crate::error::ApiError;
use crate::idempotency::Idempotency;
use crate::openapi::SyncErrors;
use crate::overtaken::About;
use crate::path::CreatorPath;
use crate::prefer::Prefer;
use crate::trace::TraceContext;
use crate::views::JobStatus;
use crate::waiting::{Ending, accepted, wait_for};

/// What came of a sync by the time of the answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncResult {
    /// Whether it is done: then a read shows what the platform said.
    pub synced: bool,
    /// The job that goes on; ask for it at `/api/v1/jobs/{jobId}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub job_id: Option<String>,
    /// Where that job stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub status: Option<JobStatus>,
}

impl SyncResult {
    /// It is done.
    pub const DONE: Self = Self { synced: true, job_id: None, status: None };

    /// It goes on as this job, which stands there.
    pub fn open(job: JobId, status: JobStatus) -> Self {
        Self { synced: false, job_id: Some(job.to_string()), status: Some(status) }
    }
}

/// Pulls a creator's profile, counters and videos from its platform.
///
/// Answers when the job is done. Who asks for the same creator at the same time shares one job.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    params(
        ("id" = String, Path, description = "The creator's id"),
        ("Prefer" = Option<String>, Header, description = "`wait=N` (seconds, at most 60) or `respond-async` (RFC 7240)"),
    ),
    responses(
        (status = 200, description = "The sync is done", body = Success<SyncResult>),
        (status = 202, description = "The sync goes on", body = Success<SyncResult>, headers(
            ("Location" = String, description = "Where to ask for the job"),
            ("Retry-After" = i64, description = "Seconds after which to ask"),
        )),
        SyncErrors,
    )
)]
#[post("/creators/{id}/sync")]
pub async fn sync_creator(
    caller: Caller,
    id: CreatorPath,
    prefer: Prefer,
    trace: TraceContext,
    idempotency: Idempotency,
    body: JsonBody,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let work = sync(Data::clone(&api), caller.project(), id.0, prefer, trace);
    idempotency.answer_once(&api, caller, &body, About::Sync, Box::pin(work)).await
}

async fn sync(
    api: Data<Api>,
    project: ProjectId,
    creator: CreatorId,
    prefer: Prefer,
    trace: TraceContext,
) -> Result<HttpResponse, ApiError> {
    // What a slow Redis costs is part of the wait that the client asked for.
    let deadline = Instant::now() + prefer.wait(api.settings.sync_wait);
    let queued = dispatch::sync(&api, project, creator, trace, None).await?;
    let response = match wait_for(&api, project, queued, deadline).await {
        Ending::Last(Final::Done) => ok(SyncResult::DONE),
        // Only a disconnect cancels a sync.
        Ending::Last(Final::Cancelled) => return Err(ApiError::NotFound("creator")),
        Ending::Last(Final::Failed { code }) => return Err(ApiError::from_job(&code)),
        Ending::Open { id, status } => accepted(id, SyncResult::open(id, status)),
    };
    Ok(prefer.say(response))
}
