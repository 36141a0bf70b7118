//! A look at an endpoint's budget, for people and dashboards.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::gauge;
use redis::{RedisError, Script};

use super::breaker::{self, BreakerState};
use super::connection::Connection;
use super::log::{Limits, micros, on_ceiling, or_empty};
use super::{Budget, BudgetError};

static SNAPSHOT: LazyLock<Script> = LazyLock::new(|| on_ceiling(include_str!("scripts/snapshot.lua")));

/// How long a look for the gauges may take; the next one comes soon.
const READ_WITHIN: Duration = Duration::from_secs(2);

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

impl Snapshot {
    /// When the next look at an endpoint that is held is due; `None` if it is not.
    pub fn probe_in(&self) -> Option<Duration> {
        match self.breaker {
            BreakerState::Open { probe_in } => Some(probe_in),
            BreakerState::Closed => None,
        }
    }
}

impl Budget {
    /// How `endpoint`'s budget stands: one call of Redis, which changes nothing.
    pub async fn snapshot(&self, endpoint: &'static str) -> Result<Snapshot, BudgetError> {
        let base = self.base(endpoint);
        let breaker = self.breaker(endpoint);
        let heard = breaker.heard();
        let read = look(&mut *breaker.looks().await, &base, self.settings.limits(), None).await;
        let snapshot = read.map_err(|error| {
            tracing::debug!(endpoint, %error, "the budget can't be read");
            BudgetError::Unavailable
        })?;
        // What this process's requests have met meanwhile is newer.
        if !heard.has_changed().unwrap_or(false) {
            breaker.show(snapshot.probe_in().is_some());
        }
        Ok(snapshot)
    }

    /// Reads how `endpoint` stands and sets its gauges.
    pub async fn measure(&self, endpoint: &'static str, has_quota: bool) {
        let read = tokio::time::timeout(READ_WITHIN, self.snapshot(endpoint)).await;
        show(endpoint, has_quota, read.ok().and_then(Result::ok).as_ref());
    }
}

/// Sets the gauges of `endpoint` to what was read, so that they are right also in a process that calls nobody. `None`: Redis
/// was away, and what is not known is neither zero nor what it was. An endpoint without a quota has a breaker alone.
pub(super) fn show(endpoint: &'static str, has_quota: bool, read: Option<&Snapshot>) {
    let is_open = |snapshot: &Snapshot| f64::from(u8::from(snapshot.probe_in().is_some()));
    breaker::show(endpoint, read.map_or(f64::NAN, is_open));
    if has_quota {
        let known = |value: fn(&Snapshot) -> u32| read.map_or(f64::NAN, |snapshot| f64::from(value(snapshot)));
        gauge!("metriqlab_budget_used", "endpoint" => endpoint).set(known(|snapshot| snapshot.used));
        gauge!("metriqlab_budget_ceiling", "endpoint" => endpoint).set(known(|snapshot| snapshot.ceiling));
        gauge!("metriqlab_budget_quota", "endpoint" => endpoint).set(known(|snapshot| snapshot.quota));
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
