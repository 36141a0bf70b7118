//! A look at an endpoint's budget, for people and dashboards.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::connection::Connection;
use super::{Budget, BudgetError};

static SNAPSHOT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/snapshot.lua")));

/// How an endpoint's budget stands, over the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Entries of the window that are in use.
    pub used: u32,
    /// Requests that the endpoint allows in a window.
    pub quota: u32,
    /// For how long nobody gets a permit, because the platform said 429 or the log was lost; `None` if it is open.
    pub paused_for: Option<Duration>,
}

impl Budget {
    /// How `endpoint`'s budget stands: one call of Redis, which changes nothing.
    pub async fn snapshot(&self, endpoint: &str) -> Result<Snapshot, BudgetError> {
        let base = self.base(endpoint);
        let mut call = SNAPSHOT.prepare_invoke();
        call.key(format!("{base}:log")).key(format!("{base}:state"));
        let answer = Connection::new(self.servers.clone(), &base).invoke::<(u32, u64)>(&call).await;
        let (used, paused) = answer.map_err(|error| {
            tracing::debug!(endpoint, %error, "the budget can't be read");
            BudgetError::Unavailable
        })?;
        let paused_for = (paused > 0).then(|| Duration::from_micros(paused));
        Ok(Snapshot { used, quota: self.quota().requests, paused_for })
    }
}
