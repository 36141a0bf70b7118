//! Whether an answer that was kept for an `Idempotency-Key` still says what is true.
//!
//! A client that sends a request again wants to know what became of it. A consent whose state was used leads nowhere, and a
//! job that was queued then may be done by now.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::Value;
use shared::ids::ProjectId;
use shared::queue::Final;

use crate::app::Api;
use crate::envelope::ok;
use crate::error::ApiError;
use crate::routes::connect::tiktok::state_hash;
use crate::routes::creators::sync::SyncResult;
use crate::waiting::accepted;

/// What a kept answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A consent: good while its state can be used.
    Consent,
    /// A sync: told by its job's row.
    Sync,
    /// A batch: accepted is accepted.
    Batch,
}

/// What is to be said in place of a kept answer.
pub enum Present {
    /// The same again.
    Same,
    /// What has become of it since.
    Newer(HttpResponse),
    /// It leads nowhere any more: the request is a new one.
    Nothing,
}

/// Looks what a kept answer is worth now.
pub async fn present(
    api: &Api,
    project: ProjectId,
    about: About,
    status: StatusCode,
    body: &str,
) -> Result<Present, ApiError> {
    match (about, status) {
        (About::Consent, StatusCode::OK) => {
            let state = field(body, "state").unwrap_or_default();
            let usable = api.within(api.store.has_state(&state_hash(&state))).await?;
            Ok(if usable { Present::Same } else { Present::Nothing })
        }
        (About::Sync, StatusCode::ACCEPTED) => sync(api, project, body).await,
        _ => Ok(Present::Same),
    }
}

/// A job that failed is asked for anew, as it would be had its failure been the answer.
async fn sync(api: &Api, project: ProjectId, body: &str) -> Result<Present, ApiError> {
    let Some(id) = field(body, "jobId").and_then(|id| id.parse().ok()) else { return Ok(Present::Nothing) };
    let Some(job) = api.within(api.store.job(project, id)).await? else { return Ok(Present::Nothing) };
    Ok(match job.last_word() {
        None => Present::Newer(accepted(id, SyncResult::open(id, job.state.into()))),
        Some(Final::Done) => Present::Newer(ok(SyncResult::DONE)),
        Some(Final::Failed { .. } | Final::Cancelled) => Present::Nothing,
    })
}

fn field(body: &str, name: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    Some(body.get("data")?.get(name)?.as_str()?.to_owned())
}
