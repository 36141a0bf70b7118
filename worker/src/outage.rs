//! An outage of the platform's holds the bulk lane: nobody waits for its jobs, and each would come to a breaker that lets
//! nothing through. One at a time is let in to look whether it is over.

use std::time::Duration;

use rand::Rng as _;
use shared::platforms::tiktok::TikTok;
use shared::queue::{Gates, Lane, Passage};
use tokio::sync::watch;

/// The pause between two looks, within these: processes drift apart, so that one of them takes the look that is due before
/// the others find that it is.
const PAUSE: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(800));
/// How long Redis may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

/// Keeps the bulk lane's gate as the breakers have it, and `held` for those who feed it, until it is dropped. What this
/// process's own calls meet it hears at once. Without Redis the last word goes on to hold: nothing is fetched anyway.
pub(crate) async fn run(tiktok: TikTok, gates: Gates, held: watch::Sender<bool>) {
    let [mut profiles, mut listings] = tiktok.heard_of_outage();
    loop {
        if let Ok(Ok(probe_in)) = tokio::time::timeout(WITHIN, tiktok.outage()).await {
            gates.restrict(Lane::Bulk, passage(probe_in));
            note(&held, probe_in.is_some());
        }
        let pause = rand::rng().random_range(PAUSE.0..=PAUSE.1);
        tokio::select! {
            _ = profiles.changed() => {}
            _ = listings.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let heard = *profiles.borrow_and_update() || *listings.borrow_and_update();
        if heard && !*held.borrow() {
            // What is fetched until the look's answer comes would meet it, too.
            gates.restrict(Lane::Bulk, Passage::Nothing);
        }
    }
}

fn passage(probe_in: Option<Duration>) -> Passage {
    match probe_in {
        None => Passage::All,
        Some(Duration::ZERO) => Passage::One,
        Some(_) => Passage::Nothing,
    }
}

fn note(held: &watch::Sender<bool>, is_held: bool) {
    if !held.send_if_modified(|before| std::mem::replace(before, is_held) != is_held) {
        return;
    }
    if is_held {
        tracing::warn!("the platform fails for everybody: the bulk lane is held");
    } else {
        tracing::info!("the bulk lane is held no more");
    }
}
