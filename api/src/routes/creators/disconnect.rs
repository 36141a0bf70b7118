//! `DELETE /api/v1/creators/:id`: gone from every read at once, and erased by the job that is waited for.

use actix_web::web::Data;
use actix_web::{HttpResponse, delete};
use serde::Serialize;
use shared::queue::Final;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::app::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::dispatch::{self, Asker};
use crate::envelope::{Success, ok};
use crate::error::ApiError;
use crate::openapi::DisconnectErrors;
use crate::path::CreatorPath;
use crate::prefer::Prefer;
use crate::trace::TraceContext;
use crate::views::JobStatus;
use crate::waiting::{Ending, accepted, wait_for};

/// What came of a disconnect by the time of the answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisconnectResult {
    /// Whether the authorization is revoked and the data deleted.
    pub disconnected: bool,
    /// The job that goes on; ask for it at `/api/v1/jobs/{jobId}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub job_id: Option<String>,
    /// Where that job stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub status: Option<JobStatus>,
}

/// Revokes the app's authorization on the platform, and deletes the creator and all its synced data.
///
/// The creator is gone from every read as soon as this is accepted.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    params(
        ("id" = String, Path, description = "The creator's id"),
        ("Prefer" = Option<String>, Header, description = "`wait=N` (seconds, at most 60) or `respond-async` (RFC 7240)"),
    ),
    responses(
        (status = 200, description = "The creator is gone", body = Success<DisconnectResult>),
        (status = 202, description = "The job goes on until it is done", body = Success<DisconnectResult>, headers(
            ("Location" = String, description = "Where to ask for the job"),
            ("Retry-After" = i64, description = "Seconds after which to ask"),
        )),
        DisconnectErrors,
    )
)]
#[delete("/creators/{id}")]
pub async fn disconnect_creator(
    caller: Caller,
    id: CreatorPath,
    prefer: Prefer,
    trace: TraceContext,
    _body: JsonBody,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    // What a slow Redis costs is part of the wait that the client asked for.
    let deadline = Instant::now() + prefer.wait(api.settings.sync_wait);
    let queued = dispatch::disconnect(&api, caller.project(), id.0, trace, Asker::Key(caller.key())).await?;
    let response = match wait_for(&api, caller.project(), queued, deadline).await {
        // A revocation is cancelled only by what has erased the creator already.
        Ending::Last(Final::Done | Final::Cancelled) => {
            ok(DisconnectResult { disconnected: true, job_id: None, status: None })
        }
        Ending::Last(Final::Failed { code }) => return Err(ApiError::from_job(&code)),
        Ending::Open { id, status } => {
            accepted(id, DisconnectResult { disconnected: false, job_id: Some(id.to_string()), status: Some(status) })
        }
    };
    Ok(prefer.say(response))
}
