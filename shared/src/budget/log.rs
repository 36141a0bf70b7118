//! The sliding log in Redis: what the scripts take and answer.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{RedisError, Script};

use super::LONGEST_PAUSE;
use super::connection::Connection;

static GRANT: LazyLock<Script> = LazyLock::new(|| on_ceiling(include_str!("scripts/grant.lua")));
static START: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/start.lua")));
static CLOSE: LazyLock<Script> = LazyLock::new(|| on_ceiling(include_str!("scripts/close.lua")));

/// A script that goes by the ceiling.
pub(super) fn on_ceiling(script: &str) -> Script {
    Script::new(&[include_str!("scripts/ceiling.lua"), script].concat())
}

/// How long an interactive caller that got nothing holds bulk grants back unless its process asks again; it asks every
/// [`RECHECK`](super::coordinator::RECHECK). If the process dies, the fleet's bulk work loses no more than this.
const HOLD_BACK: Duration = Duration::from_millis(1_500);
/// The first pause after a 429 that did not say how long.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// A permit's number within its process and endpoint.
pub(super) type PermitNumber = u64;

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Requests in a window; at least 1.
    pub(super) quota: u32,
    pub(super) window: Duration,
    /// How long an entry is held after the response.
    pub(super) keep: Duration,
    /// How long an entry is held after the grant if no response is noted.
    pub(super) hold: Duration,
}

/// What a process brings to its turn.
#[derive(Debug, Default)]
pub(super) struct Ask<'a> {
    /// Permits whose response has come.
    pub(super) settled: &'a [PermitNumber],
    /// Permits to take back.
    pub(super) unused: &'a [PermitNumber],
    /// The number of the first permit to grant.
    pub(super) first: PermitNumber,
    /// How many from there on may have been granted by a turn whose answer was lost.
    pub(super) doubtful: usize,
    pub(super) interactive: usize,
    pub(super) bulk: usize,
}

/// What it takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    /// Entries in use, over the fleet.
    pub(super) entries: u32,
    /// The first permits are for interactive callers,
    pub(super) interactive: u32,
    /// the next ones for bulk callers.
    pub(super) bulk: u32,
    /// The next interactive one comes no sooner than this from now,
    pub(super) interactive_wait: Duration,
    /// and the next bulk one than this.
    pub(super) bulk_wait: Duration,
    /// What is granted in a window: the quota, or less for a while after a 429.
    pub(super) ceiling: u32,
}

pub(super) struct SlidingLog {
    connection: Connection,
    log: String,
    state: String,
    waiting: String,
    process: String,
    limits: Limits,
    /// The newest grant that this process has seen. A log that knows only older ones has lost some.
    seen: u64,
    /// Instead of Redis's own clock: so that a simulated hour takes seconds.
    clock: Option<u64>,
}

impl SlidingLog {
    /// The log under the keys `base:…`; `base` holds a hash tag, so that they live on one node of a cluster.
    pub(super) fn new(connection: Connection, base: &str, process: String, limits: Limits) -> Self {
        Self {
            connection,
            log: format!("{base}:log"),
            state: format!("{base}:state"),
            waiting: format!("{base}:waiting"),
            process,
            limits,
            seen: 0,
            clock: None,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Sets the clock that the scripts go by from now on.
    #[cfg(test)]
    pub(super) fn set_clock(&mut self, micros: u64) {
        self.clock = Some(micros);
    }

    /// One turn. `None`: the log was lost, nothing is granted; [`start`](Self::start) it.
    pub(super) async fn grant(&mut self, ask: &Ask<'_>) -> Result<Option<Granted>, RedisError> {
        let Limits { quota, window, keep, hold } = self.limits;
        let mut call = GRANT.prepare_invoke();
        call.key(&self.log).key(&self.state).key(&self.waiting);
        call.arg(or_empty(self.clock)).arg(quota).arg(micros(window)).arg(micros(keep)).arg(micros(hold));
        call.arg(self.seen).arg(&self.process).arg(ask.first).arg(ask.doubtful);
        call.arg(ask.interactive).arg(ask.bulk).arg(micros(HOLD_BACK));
        call.arg(ask.settled.len());
        for number in ask.settled.iter().chain(ask.unused) {
            call.arg(number);
        }
        let answer: Option<(u64, u32, u32, u32, u64, u64, u32)> = self.connection.invoke(&call).await?;
        let Some((used, entries, interactive, bulk, interactive_wait, bulk_wait, ceiling)) = answer else {
            return Ok(None);
        };
        self.seen = self.seen.max(used);
        let (interactive_wait, bulk_wait) = (Duration::from_micros(interactive_wait), Duration::from_micros(bulk_wait));
        Ok(Some(Granted { entries, interactive, bulk, interactive_wait, bulk_wait, ceiling }))
    }

    /// Starts a log that was lost, when its budget was last noted as used `age` ago, at most `noted_every` before the
    /// use itself. Its entries, whoever took them, may still count at the platform: until they can't, nothing is granted.
    pub(super) async fn start(&mut self, age: Option<Duration>, noted_every: Duration) -> Result<(), RedisError> {
        let blocked = age.map_or(Duration::ZERO, |age| (self.limits.hold + noted_every).saturating_sub(age));
        let mut call = START.prepare_invoke();
        call.key(&self.log).key(&self.state);
        call.arg(or_empty(self.clock)).arg(micros(self.limits.hold)).arg(self.seen).arg(micros(blocked));
        self.connection.invoke(&call).await
    }

    /// Grants nothing to anybody for `asked`, or for a pause that doubles from time to time, and less than before after it;
    /// answers for how long it is closed.
    pub(super) async fn close(&mut self, asked: Option<Duration>) -> Result<Duration, RedisError> {
        let mut call = CLOSE.prepare_invoke();
        call.key(&self.state);
        call.arg(or_empty(self.clock)).arg(or_empty(asked.map(micros))).arg(micros(SHORTEST_PAUSE));
        call.arg(micros(self.limits.window.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))).arg(micros(self.limits.hold));
        call.arg(self.limits.quota).arg(micros(self.limits.window));
        Ok(Duration::from_micros(self.connection.invoke(&call).await?))
    }
}

/// Whole microseconds; what does not fit is longer than anybody waits.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// As the scripts take what may be absent: redis-rs would leave the argument out.
pub(super) fn or_empty(value: Option<u64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
