//! An outage of the platform's holds the bulk lane: nobody waits for its jobs, and each would come to a breaker that lets
//! nothing through. When a look is due, each process lets one in to see whether it is over.

use std::time::{Duration, Instant};

use rand::Rng as _;
use shared::platforms::tiktok::TikTok;
use shared::queue::{Gates, Lane, Passage};
use tokio::sync::watch;

/// The pause between two looks, within these: processes drift apart, so that one of them takes the look that is due before
/// the others find that it is.
const PAUSE: (Duration, Duration) = (Duration::from_millis(400), Duration::from_millis(800));
/// How long Redis may take to answer.
const WITHIN: Duration = Duration::from_secs(2);
/// How long a job that was let in may take to its look: it waits for its turn at the platform, and may have another endpoint
/// to call first. Then one more is let in, for it may have ended without a look.
const LOOKS_WITHIN: Duration = Duration::from_secs(10);

/// Keeps the bulk lane's gate as the breakers have it, and `held` for those who feed it, until it is dropped. What this
/// process's own calls meet it hears at once. Without Redis the last word goes on to hold: nothing is fetched anyway.
pub(crate) async fn run(tiktok: TikTok, gates: Gates, held: watch::Sender<bool>) {
    let [mut profiles, mut listings] = tiktok.heard_of_outage();
    let mut looks = Looks::default();
    loop {
        if let Ok(Ok(probe_in)) = tokio::time::timeout(WITHIN, tiktok.outage()).await {
            if let Some(passage) = looks.passage(probe_in, gates.passage(Lane::Bulk), Instant::now()) {
                gates.restrict(Lane::Bulk, passage);
            }
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

/// Who was let in to look.
#[derive(Debug, Default)]
struct Looks {
    /// When the last one was, while the look that was due then has not been taken.
    let_in: Option<Instant>,
}

impl Looks {
    /// How much is to be let through a gate that lets `now_through`; `None`: leave it.
    fn passage(&mut self, probe_in: Option<Duration>, now_through: Passage, now: Instant) -> Option<Passage> {
        if probe_in != Some(Duration::ZERO) {
            self.let_in = None;
            return Some(if probe_in.is_some() { Passage::Nothing } else { Passage::All });
        }
        match self.let_in {
            // Nobody has come: its time begins when somebody does.
            Some(_) if now_through == Passage::One => {
                self.let_in = Some(now);
                None
            }
            Some(at) if now.saturating_duration_since(at) < LOOKS_WITHIN => None,
            _ => {
                self.let_in = Some(now);
                Some(Passage::One)
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Option<Duration> = Some(Duration::ZERO);
    const LATER: Option<Duration> = Some(Duration::from_secs(5));

    #[test]
    fn one_is_let_in_for_each_look_and_another_only_if_it_takes_none() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(looks.passage(None, Passage::All, at(0)), Some(Passage::All));
        assert_eq!(looks.passage(LATER, Passage::All, at(0)), Some(Passage::Nothing));
        assert_eq!(looks.passage(DUE, Passage::Nothing, at(5)), Some(Passage::One));
        // It has gone through, and is on its way to its look.
        for second in 5..15 {
            assert_eq!(looks.passage(DUE, Passage::Nothing, at(second)), None);
        }
        assert_eq!(looks.passage(DUE, Passage::Nothing, at(15)), Some(Passage::One), "never shut for ever");
        // Nobody is there to be let in; the one who comes has as long as the others.
        for second in 15..40 {
            assert_eq!(looks.passage(DUE, Passage::One, at(second)), None);
        }
        assert_eq!(looks.passage(DUE, Passage::Nothing, at(48)), None);
        assert_eq!(looks.passage(DUE, Passage::Nothing, at(49)), Some(Passage::One));
        // A look was taken, here or elsewhere; at the next one somebody is let in at once.
        assert_eq!(looks.passage(LATER, Passage::Nothing, at(50)), Some(Passage::Nothing));
        assert_eq!(looks.passage(DUE, Passage::Nothing, at(51)), Some(Passage::One));
        assert_eq!(looks.passage(None, Passage::Nothing, at(52)), Some(Passage::All));
    }
}
