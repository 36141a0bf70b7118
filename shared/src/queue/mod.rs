//! The queue: lanes of jobs in Redis, on apalis. It knows nothing of creators and nothing of SQL.

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, Display, EnumString, VariantArray};

use crate::ids::JobId;

/// The queues that a worker serves, each with its own concurrency.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, AsRefStr, Display, EnumString, FromSqlRow, VariantArray,
)]
#[strum(serialize_all = "lowercase")]
#[diesel(sql_type = Text)]
pub enum Lane {
    /// Disconnects: interactive, and never given up.
    Revoke,
    /// Syncs that somebody waits for, and the first one of a new connection.
    Sync,
    /// Scheduled and bulk resyncs.
    Bulk,
}

impl Lane {
    /// Whether somebody waits for this lane's jobs, so that they go first to the budget.
    pub fn is_interactive(self) -> bool {
        !matches!(self, Self::Bulk)
    }
}

/// What travels through Redis for a job: ids alone; a worker reads the rest from Postgres.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The job's row, and the message's own id: a push is idempotent by it.
    pub id: JobId,
    /// The job's kind by name, so that a worker that does not know it yet leaves it alone.
    pub kind: String,
    /// W3C trace context of the request that queued the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// The last word on a job: what its waiters are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Final {
    /// Its effect is there.
    Done,
    /// It was given up; `code` is the contract's error code.
    Failed {
        /// For example `reauthorization_required`.
        code: String,
    },
    /// Something overtook it: its creator was disconnected.
    Cancelled,
}
