//! A look at an endpoint's budget, for people and dashboards.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{RedisError, Script};

use super::breaker::{self, BreakerState};
use super::connection::Connection;
use super::log::{Limits, micros, or_empty};
use super::{Budget, BudgetError};

static SNAPSHOT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/snapshot.lua")));

/// How an endpoint's budget stands, over the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Entries of the window that are in use.
    pub used: u32,
    /// Requests that the endpoint allows in a window.
    pub quota: u32,
    /// Requests that are granted in a window: the quota, or less for a while after a 429.
    pub ceiling: u32,
    /// For how long nobody gets a permit, because the platform said 429 or the log was lost; `None` if it is open.
    pub paused_for: Option<Duration>,
    /// Whether the endpoint is held after an outage.
    pub breaker: BreakerState,
}

impl Budget {
    /// How `endpoint`'s budget stands: one call of Redis, which changes nothing.
    pub async fn snapshot(&self, endpoint: &str) -> Result<Snapshot, BudgetError> {
        let base = self.base(endpoint);
        look(&mut self.connection(&base), &base, self.settings.limits(), None).await.map_err(|error| {
            tracing::debug!(endpoint, %error, "the budget can't be read");
            BudgetError::Unavailable
        })
    }
}

/// Looks at the keys `base:…`; by the server's own clock, if there is no other.
pub(super) async fn look(
    redis: &mut Connection,
    base: &str,
    limits: Limits,
    clock: Option<u64>,
) -> Result<Snapshot, RedisError> {
    let mut call = SNAPSHOT.prepare_invoke();
    call.key(format!("{base}:log")).key(format!("{base}:state")).key(breaker::key(base));
    call.arg(or_empty(clock)).arg(limits.quota).arg(micros(limits.window));
    let (used, ceiling, paused, probe): (u32, u32, u64, i64) = redis.invoke(&call).await?;
    let probe_in = u64::try_from(probe).map(Duration::from_micros);
    Ok(Snapshot {
        used,
        quota: limits.quota,
        ceiling,
        paused_for: (paused > 0).then(|| Duration::from_micros(paused)),
        breaker: probe_in.map_or(BreakerState::Closed, |probe_in| BreakerState::Open { probe_in }),
    })
}
