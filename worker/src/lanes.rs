//! What operators have said of the lanes, brought from Postgres to this process: within a second, and at once where the
//! signal through Redis arrives.

use std::time::Duration;

use shared::queue::{Gates, Lane};
use shared::store::Store;
use shared::store::lanes::{LaneSettings, LaneState};
use strum::VariantArray as _;
use tokio::sync::watch;

/// Between two looks: one small query. CONTRACT: at once, for the whole fleet, also with Redis away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps `gates` and `known` as Postgres has it, until it is dropped. Without Postgres the last word goes on to hold; before
/// the first one all gates stay closed, for no job can start without Postgres anyway.
pub(crate) async fn run(store: Store, gates: Gates, known: watch::Sender<Option<LaneSettings>>) {
    let mut warned = false;
    loop {
        match store.lane_settings().await {
            Ok(settings) => {
                let before = known.send_replace(Some(settings));
                for lane in Lane::VARIANTS {
                    apply(*lane, settings.of(*lane).state, before.map(|before| before.of(*lane).state), &gates);
                }
            }
            Err(error) if error.is_unavailable() => tracing::debug!(%error, "can't look whether lanes are held"),
            // Held until then, if it was never known. Once, not every second.
            Err(error) if !warned => {
                tracing::warn!(%error, "can't look whether lanes are held: has `metriqlab migrate` been run?");
                warned = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = gates.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn apply(lane: Lane, state: LaneState, before: Option<LaneState>, gates: &Gates) {
    if before == Some(state) {
        return;
    }
    gates.set(lane, state.is_fetched());
    match (state, before) {
        (LaneState::Open, None) => {}
        (LaneState::Unknown, _) => {
            tracing::warn!(%lane, "the lane is in a state that this version does not know: it is held");
        }
        (state, _) => tracing::info!(%lane, %state, "an operator's word on the lane"),
    }
}
