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
    /// Hash: the lines of ids that are ready, one for each group, first in, first out; see `scripts/lines.lua`.
    pub lines: String,
    /// Sorted set: the groups that have a line, by the requests given to them.
    pub turns: String,
    /// Sorted set: the groups without a line that were given more requests than the others, by how many.
    pub ahead: String,
    /// String: the requests that were given to the group whose turn it was last.
    pub clock: String,
    /// List of the ids of suspects: jobs found on a dead worker twice, which run one at a time.
    pub solo: String,
    /// Sorted set: id by the instant at which it is due (ms since 1970, Redis's clock).
    pub delayed: String,
    /// Hash: id → `worker:number` of who holds it. The number is of the worker's own counting and never used twice.
    pub claims: String,
    /// Hash: id → how often it was found at work on a dead worker.
    pub crashes: String,
    /// Set of claims, `worker:number`, whose jobs only wait for their turn at something.
    pub waiting: String,
    /// Sorted set: worker by its last heartbeat (ms, Redis's clock).
    pub workers: String,
    /// Hash: `last`, the last heartbeat of any worker, and `since`, since when they have come without a long gap (ms,
    /// Redis's clock).
    pub reached: String,
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
            lines: key("lines"),
            turns: key("turns"),
            ahead: key("ahead"),
            clock: key("clock"),
            solo: key("solo"),
            delayed: key("delayed"),
            claims: key("claims"),
            crashes: key("crashes"),
            waiting: key("waiting"),
            workers: key("workers"),
            reached: key("reached"),
            epoch: key("epoch"),
            base,
        }
    }

    /// The keys that the scripts behind `scripts/lines.lua` begin with, in its order.
    pub(super) fn of_lines(&self) -> [&String; 5] {
        [&self.jobs, &self.lines, &self.turns, &self.ahead, &self.clock]
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
    /// An id: its holder is to treat it as interactive. Or `lanes`: what holds lanes has changed.
    pub control: String,
    /// Lines of `id outcome`: jobs that ended.
    pub done: String,
    /// Ids, one a line: somebody watches these jobs.
    pub watched: String,
    /// Lines of `id progress`: how far jobs are that somebody watches.
    pub progress: String,
}

impl Channels {
    pub(super) fn new(prefix: &str) -> Self {
        let channel = |name: &str| format!("{prefix}:{name}");
        Self {
            wake: channel("wake"),
            control: channel("control"),
            done: channel("done"),
            watched: channel("watched"),
            progress: channel("progress"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_lane_has_the_lanes_hash_tag() {
        for lane in Lane::ALL {
            let keys = LaneKeys::new("a:b", lane);
            let inflight = keys.inflight("host-1-{x}");
            let tag = format!("{{a:b:{lane}}}:v1:");
            for key in [
                &keys.jobs,
                &keys.lines,
                &keys.turns,
                &keys.ahead,
                &keys.clock,
                &keys.solo,
                &keys.delayed,
                &keys.claims,
                &keys.crashes,
                &keys.waiting,
                &keys.workers,
                &keys.reached,
                &keys.epoch,
                &inflight,
            ] {
                // The tag is what stands between the first brace and the next closing one.
                assert!(key.starts_with(&tag), "{key}");
            }
        }
    }

    #[test]
    fn no_script_looks_at_everything_or_finds_a_key_by_itself() {
        for (name, script) in [
            ("lines", include_str!("scripts/lines.lua")),
            ("push", include_str!("scripts/push.lua")),
            ("fetch", include_str!("scripts/fetch.lua")),
            ("finish", include_str!("scripts/finish.lua")),
            ("release", include_str!("scripts/release.lua")),
            ("wait", include_str!("scripts/wait.lua")),
            ("heartbeat", include_str!("scripts/heartbeat.lua")),
            ("reclaim", include_str!("scripts/reclaim.lua")),
            ("deregister", include_str!("scripts/deregister.lua")),
            ("forget", include_str!("scripts/forget.lua")),
            ("unknown", include_str!("scripts/unknown.lua")),
            ("depth", include_str!("scripts/depth.lua")),
            ("admit", include_str!("../budget/scripts/admit.lua")),
            ("close", include_str!("../budget/scripts/close.lua")),
            ("fail", include_str!("../budget/scripts/fail.lua")),
            ("grant", include_str!("../budget/scripts/grant.lua")),
            ("heal", include_str!("../budget/scripts/heal.lua")),
            ("snapshot", include_str!("../budget/scripts/snapshot.lua")),
            ("start", include_str!("../budget/scripts/start.lua")),
        ] {
            // `local log, state = KEYS[1], KEYS[2]`
            let names: Vec<&str> = script
                .lines()
                .filter_map(|line| line.strip_prefix("local ")?.split_once(" = KEYS["))
                .flat_map(|(names, _)| names.split(", "))
                .collect();
            for line in script.lines().filter(|line| line.contains("redis.call(")) {
                for call in line.split("redis.call(").skip(1) {
                    let first: String = call.split(')').next().unwrap_or_default().to_owned();
                    let key = first.split(", ").nth(1).unwrap_or_default();
                    let declared = first.contains("KEYS[")
                        || names.contains(&key)
                        || first == "'TIME'"
                        || first.starts_with("'PUBLISH', ARGV[");
                    assert!(declared, "{name}: {line}");
                }
                for all in ["'KEYS'", "HGETALL", "SMEMBERS", "HKEYS", "HVALS", "LREM", "'SCAN'"] {
                    assert!(!line.contains(all), "{name}: {line}");
                }
            }
        }
    }
}
