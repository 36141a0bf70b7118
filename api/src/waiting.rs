//! Waiting for a job's last word, and what is said when it has not come: 202, with where to ask again.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use serde::Serialize;
use shared::ids::{JobId, ProjectId};
use shared::queue::Final;
use tokio::time::{Instant, timeout};

use crate::app::Api;
use crate::dispatch::Queued;
use crate::envelope::Success;
use crate::views::JobStatus;

/// When a client that got a 202 is asked to look again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long the row's read may hold up a 202.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// How waiting ended.
pub enum Ending {
    /// The job had its last word.
    Last(Final),
    /// It is still open.
    Open {
        /// The job.
        id: JobId,
        /// Where it stands.
        status: JobStatus,
    },
}

/// Waits for a job until `deadline`, or until the server stops.
pub async fn wait_for(api: &Api, project: ProjectId, queued: Queued, deadline: Instant) -> Ending {
    if let Some(word) = queued.ended {
        return Ending::Last(word);
    }
    if deadline > Instant::now() {
        let word = tokio::select! {
            biased;
            word = queued.watching.wait(deadline) => word,
            () = api.stopping.cancelled() => None,
        };
        if let Some(word) = word {
            return Ending::Last(word);
        }
    }
    match timeout(STATUS_TIMEOUT, api.store.job(project, queued.id)).await {
        Ok(Ok(Some(job))) => match job.last_word() {
            Some(word) => Ending::Last(word),
            None => Ending::Open { id: queued.id, status: job.state.into() },
        },
        // The row stands, whether it can be read right now or not.
        _ => Ending::Open { id: queued.id, status: JobStatus::Queued },
    }
}

/// 202: accepted, and where to ask.
pub fn accepted<T: Serialize>(job: JobId, data: T) -> HttpResponse {
    HttpResponse::Accepted()
        .insert_header((header::LOCATION, format!("/api/v1/jobs/{job}")))
        .insert_header((header::RETRY_AFTER, RETRY_AFTER.as_secs()))
        .json(Success { success: true, data })
}
