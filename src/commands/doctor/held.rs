//! What is held: lanes by an operator, endpoints by an outage of the platform.

use secrecy::ExposeSecret as _;
use shared::budget::{Budget, BudgetSettings};
use shared::platforms::tiktok::ENDPOINTS;
use shared::queue::Lane;
use shared::store::Store;
use shared::store::lanes::{LaneSetting, LaneState};

use super::report::Check;
use super::settings::Settings;
use super::within;

pub(super) async fn lanes(store: Option<&Store>) -> Vec<Check> {
    const NAME: &str = "lanes";
    // Without a schema or a Postgres, theirs is the line that says so.
    let Some(store) = store else { return Vec::new() };
    let Ok(settings) = within(store.lane_settings()).await else { return Vec::new() };
    let checks: Vec<Check> =
        Lane::ALL.into_iter().filter_map(|lane| lane_check(NAME, lane, settings.of(lane))).collect();
    if checks.is_empty() { vec![Check::ok(NAME, "all are open")] } else { checks }
}

fn lane_check(name: &'static str, lane: Lane, setting: LaneSetting) -> Option<Check> {
    let lane = lane.as_str();
    let what = match setting.state {
        LaneState::Open => return None,
        LaneState::Paused => "is paused: its jobs wait",
        LaneState::Draining => "drains: what is scheduled or bulk waits in Postgres",
        LaneState::Unknown => "has a state of a later version: its jobs wait",
    };
    let since =
        setting.changed_at.map(|at| format!(", since {}", at.format("%Y-%m-%d %H:%M:%S UTC"))).unwrap_or_default();
    Some(Check::warn(name, format!("{lane} {what}{since}"), format!("`metriqlab queue resume {lane}` lets them run")))
}

/// Whether an endpoint is held after an outage.
pub(super) async fn breakers(settings: &Settings, store: Option<&Store>) -> Option<Check> {
    const NAME: &str = "outages";
    let (redis, app, store) = (settings.redis.as_ref()?, settings.tiktok.as_ref()?, store?);
    let limits = BudgetSettings { window: app.rate_window, ..BudgetSettings::per_minute(app.rate_per_minute) };
    let budget = Budget::new(redis.url.expose_secret(), &redis.prefix, &app.client_key, limits, store.clone()).ok()?;
    let mut held = Vec::new();
    for endpoint in ENDPOINTS {
        // Without Redis, its is the line that says so.
        if let Some(wait) = within(budget.snapshot(endpoint)).await.ok()?.probe_in() {
            held.push(format!("{endpoint} (next look in {} s)", wait.as_secs()));
        }
    }
    if held.is_empty() {
        return Some(Check::ok(NAME, "no endpoint of TikTok is held"));
    }
    let found = format!("TikTok fails for everybody, and is not called: {}", held.join(", "));
    let remedy = "see TikTok's status page and the way out to it; it ends by itself with the first good answer";
    Some(Check::warn(NAME, found, remedy))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::report::Level;
    use super::*;

    #[test]
    fn a_lane_that_is_not_open_is_said_with_since_when_and_how_to_open_it() {
        let check =
            |state| lane_check("lanes", Lane::Bulk, LaneSetting { state, changed_at: Some(DateTime::UNIX_EPOCH) });
        assert_eq!(check(LaneState::Open), None);
        for state in [LaneState::Paused, LaneState::Draining, LaneState::Unknown] {
            let check = check(state).expect("a warning");
            assert_eq!(check.level, Level::Warn);
            assert!(check.found.contains("since 1970-01-01 00:00:00 UTC"), "{}", check.found);
            assert!(check.remedy.is_some_and(|remedy| remedy.contains("queue resume bulk")));
        }
    }
}
