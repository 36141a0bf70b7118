//! A job, as a 202 named it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::store::jobs::{Job, JobState};
use utoipa::ToSchema;

use super::{instant, instant_or_null};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// It waits for its turn.
    Queued,
    /// A worker is busy with it.
    Running,
    /// It failed, and will be tried again.
    Retrying,
    /// Its effect is there.
    Done,
    /// It was given up; `error` says why.
    Failed,
    /// Its creator was disconnected, or an operator discarded it.
    Cancelled,
}

/// Why a job failed, the last time it did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobError)]
pub struct JobErrorView {
    /// For programs: one of the API's error codes.
    #[schema(example = "platform_error")]
    pub code: String,
    /// For people.
    pub message: String,
}

/// The state of a job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Job)]
pub struct JobView {
    /// The job's id.
    pub id: String,
    /// `sync` or `revoke`.
    #[schema(example = "sync")]
    pub kind: String,
    /// The creator that it is about, who may be gone.
    pub creator_id: String,
    /// Your own name for that creator; null if it has none, or is gone.
    #[schema(required, example = "user-4711")]
    pub external_ref: Option<String>,
    /// Where it stands.
    pub status: JobStatus,
    /// How often it was started, without the starts that a crash or the quota undid.
    pub attempts: i32,
    /// Why it failed, the last time it did.
    #[schema(required)]
    pub error: Option<JobErrorView>,
    /// When it was asked for.
    #[serde(serialize_with = "instant")]
    pub created_at: DateTime<Utc>,
    /// When it was done, given up or cancelled.
    #[serde(serialize_with = "instant_or_null")]
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
}

impl From<JobState> for JobStatus {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Waiting | JobState::Enqueued => Self::Queued,
            JobState::Running => Self::Running,
            JobState::Retrying => Self::Retrying,
            JobState::Done => Self::Done,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

impl JobView {
    /// A job, of a creator whom the client calls so.
    pub fn of(job: Job, external_ref: Option<String>) -> Self {
        // A job that was done after a failed try keeps that try's words in its row; they are no error of it any more.
        let failed = !matches!(job.state, JobState::Done | JobState::Cancelled);
        let error = job.error_code.filter(|_| failed);
        Self {
            id: job.id.to_string(),
            kind: job.kind.to_string(),
            creator_id: job.creator_id.to_string(),
            external_ref,
            status: job.state.into(),
            attempts: job.attempts,
            error: error.map(|code| JobErrorView { code, message: job.error.unwrap_or_default() }),
            created_at: job.created_at,
            finished_at: job.finished_at,
        }
    }
}
