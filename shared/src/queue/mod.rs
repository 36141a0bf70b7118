//! The queue: lanes of jobs in Redis, on apalis. It knows nothing of creators and nothing of SQL.

mod acker;
mod backend;
mod claims;
mod client;
mod heartbeat;
mod keys;
mod lane;
mod link;
mod notice;
mod pool;
mod signals;
mod slots;
mod waiter;

use std::time::Duration;

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, Display, EnumString, IntoStaticStr, VariantArray};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use client::{Depth, Queue, QueueError, Sweep, WorkerInfo};
pub use pool::{Liveness, WorkerPool, WorkerSettings};
pub use waiter::{Waiter, Watching};

use crate::ids::JobId;

/// The most entries that any script handles in one call: Redis does nothing else meanwhile.
const CHUNK: usize = 500;

/// A job that crashed this many workers while it ran alone is not run again; see [`Delivery::is_poison`].
pub const CRASHES_OF_A_POISON: u32 = 3;

/// The queues that a worker serves, each with its own concurrency.
#[derive(
    AsExpression,
    AsRefStr,
    Clone,
    Copy,
    Debug,
    Display,
    EnumString,
    Eq,
    FromSqlRow,
    Hash,
    IntoStaticStr,
    PartialEq,
    VariantArray,
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
    /// All lanes.
    pub const ALL: [Self; 3] = [Self::Revoke, Self::Sync, Self::Bulk];

    /// The lane's name, as keys, rows and metrics have it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

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
        /// For example `reauthorization_required`. One word.
        code: String,
    },
    /// Something overtook it: its creator was disconnected.
    Cancelled,
}

/// What a handler says became of a job that it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The job is over: it leaves Redis, and its waiters are told.
    Final(Final),
    /// It failed and is to be tried again after this time.
    RetryIn(Duration),
    /// It could not start or go on yet (the budget): it comes back after this time. Not an attempt.
    NotNow(Duration),
    /// There is nothing to do here and nobody to tell: the row says that the job is over, or in another lane.
    Gone,
    /// This version does not know the kind. The job is left for one that does.
    Unknown,
}

/// A job in the hands of a handler.
#[derive(Debug)]
pub struct Delivery {
    /// What was pushed.
    pub message: Message,
    /// Where it came from.
    pub lane: Lane,
    /// How many workers died of it while it ran alone.
    pub crashes: u32,
    /// Cancelled when the job is to be let go of: another worker has it by now, or this one stops.
    pub stop: CancellationToken,
    /// Whether somebody waits for the job. May become true while it runs.
    pub interactive: watch::Receiver<bool>,
}

impl Delivery {
    /// Whether the handler is to declare the job dead instead of running it. A revocation is never dead.
    pub fn is_poison(&self) -> bool {
        self.lane != Lane::Revoke && self.crashes >= CRASHES_OF_A_POISON
    }
}

/// The longest delay that the scripts are given, in ms: 35 thousand years, which Lua's numbers still count exactly.
const LONGEST_DELAY: u64 = 1 << 50;

/// A duration in whole milliseconds, rounded up, as the scripts take it: a short delay is still one.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).min(LONGEST_DELAY)
}
