//! The names of all that the queue keeps in Redis.
//!
//! All keys of a lane share one hash tag, so that each script finds its keys in one slot of a Redis Cluster; every key
//! that a script touches is declared to it. The version is raised when the meaning of a key changes.

use super::Lane;

/// The layout's version, a part of every key.
const VERSION: &str = "v1";

/// The keys of one lane.
#[derive(Debug, Clone)]
pub(super) struct LaneKeys {
    /// Hash: id → payload of every job that the lane knows. Being in it is being known.
    pub jobs: String,
    /// List of ids, first in, first out.
    pub ready: String,
    /// List of the ids of suspects: jobs found on a dead worker twice, which run one at a time.
    pub solo: String,
    /// Sorted set: id by the instant at which it is due (ms since 1970, Redis's clock).
    pub delayed: String,
    /// Hash: id → `worker:number` of who holds it. The number is of the worker's own counting and never used twice.
    pub claims: String,
    /// Hash: id → how often it was found on a dead worker.
    pub crashes: String,
    /// Sorted set: worker by its last heartbeat (ms, Redis's clock).
    pub workers: String,
    /// String: the instant (ms, Redis's clock) at which the first heartbeat found an empty Redis. It changes with a flush.
    pub epoch: String,
    base: String,
}

impl LaneKeys {
    pub(super) fn new(prefix: &str, lane: Lane) -> Self {
        let base = format!("{{{prefix}:{lane}}}:{VERSION}");
        let key = |name: &str| format!("{base}:{name}");
        Self {
            jobs: key("jobs"),
            ready: key("ready"),
            solo: key("solo"),
            delayed: key("delayed"),
            claims: key("claims"),
            crashes: key("crashes"),
            workers: key("workers"),
            epoch: key("epoch"),
            base,
        }
    }

    /// Sorted set: the ids that this worker holds, by the number of the claim.
    pub(super) fn inflight(&self, worker: &str) -> String {
        format!("{}:inflight:{worker}", self.base)
    }
}

/// The pub/sub channels of a deployment.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    /// A lane's name: it has something new.
    pub wake: String,
    /// An id: its holder is to treat it as interactive.
    pub control: String,
    /// Lines of `id outcome`: jobs that ended.
    pub done: String,
}

impl Channels {
    pub(super) fn new(prefix: &str) -> Self {
        Self { wake: format!("{prefix}:wake"), control: format!("{prefix}:control"), done: format!("{prefix}:done") }
    }
}
