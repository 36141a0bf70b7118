//! Says what this worker goes by, so that whoever looks at the fleet need not be told the same settings.

use std::time::Duration;

use rand::Rng as _;
use shared::ids::WorkerId;
use shared::store::Store;
use shared::store::paces::Pace;

/// The pause between two words, within these: who is not heard of for a minute is taken for gone.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));
/// The pause after one that did not get through.
const AGAIN: Duration = Duration::from_secs(1);

/// Says it until it is dropped.
pub(crate) async fn run(store: Store, pace: Pace) {
    let worker = WorkerId::new();
    loop {
        let pause = match store.note_pace(worker, pace).await {
            Ok(()) => rand::rng().random_range(PAUSE.0..=PAUSE.1),
            Err(error) => {
                tracing::debug!(%error, "can't say what this worker goes by");
                AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}
