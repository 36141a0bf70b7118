//! Reports the ends of jobs to Redis, in batches, in a task of its own: it goes on while the lane is full and while it drains.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::claims::{End, Verb};
use super::lane::LaneState;
use super::{CHUNK, Lane, Message, Outcome, notice};

/// Pauses between two tries while Redis is away; the last one is repeated.
const BACKOFF_MS: [u64; 5] = [50, 100, 250, 500, 1000];

/// How long a report may still take when the worker stops.
const LAST_TRY: Duration = Duration::from_secs(1);

/// Takes ends from `ends` and carries each to Redis, until `closing` finds it with nothing to do or without success.
pub(super) async fn run(
    lane: Arc<LaneState>,
    mut ends: mpsc::UnboundedReceiver<(u64, Outcome)>,
    closing: CancellationToken,
) {
    let mut batch = Vec::with_capacity(CHUNK);
    loop {
        tokio::select! {
            biased;
            count = ends.recv_many(&mut batch, CHUNK) => if count == 0 { return },
            () = closing.cancelled() => return,
        }
        let numbers: Vec<u64> = batch.iter().map(|(number, _)| *number).collect();
        let finish = async {
            let ends = resolve(&lane, std::mem::take(&mut batch)).await;
            persist(&lane, &ends).await;
        };
        tokio::select! {
            biased;
            () = finish => {}
            // Redis is away: what we hold is found by the others once it is back.
            () = async { closing.cancelled().await; tokio::time::sleep(LAST_TRY).await } => return,
        }
        lane.confirm(&numbers);
    }
}

/// What is to be written for each end. A bulk job that a client waits for by now comes back in the sync lane.
async fn resolve(lane: &LaneState, batch: Vec<(u64, Outcome)>) -> Vec<End> {
    let mut ends = Vec::with_capacity(batch.len());
    let mut moving = Vec::new();
    {
        let running = lane.running();
        for (number, outcome) in batch {
            let Some(held) = running.get(&number) else { continue };
            count(lane.lane(), &outcome);
            let verb = match (outcome, held.job) {
                (Outcome::Final(last_word), Some(id)) => Verb::Final(notice::encode(id, &last_word)),
                (Outcome::Final(_) | Outcome::Gone, _) => Verb::Gone,
                (Outcome::RetryIn(delay) | Outcome::NotNow(delay), _) => {
                    if lane.lane() == Lane::Bulk && *held.interactive.borrow() && !held.lost {
                        moving.push(serde_json::from_slice::<Message>(&held.payload));
                        Verb::Gone
                    } else {
                        Verb::Delay(delay)
                    }
                }
                (Outcome::Unknown, _) => Verb::Delay(lane.settings.unknown_after),
            };
            let (group, cost) = (held.group.clone(), held.spent.get());
            ends.push(End { claim: held.claim.clone(), verb, group, cost });
        }
    }
    for message in moving {
        // At once: the delay was that of a lane on which nobody waits. Pushed before it leaves here: whoever dies in between
        // leaves it twice, never nowhere.
        let Ok(message) = message else { continue };
        let mut tries = 0;
        while let Err(error) = lane.claims.queue.push(Lane::Sync, &message, None).await {
            debug!(%error, "can't move a job to the sync lane yet");
            tokio::time::sleep(pause(tries)).await;
            tries += 1;
        }
    }
    ends
}

async fn persist(lane: &LaneState, ends: &[End]) {
    if ends.is_empty() {
        return;
    }
    let mut tries = 0;
    loop {
        match lane.claims.finish(ends).await {
            Ok(0) => return,
            Ok(lost) => {
                metrics::counter!("metriqlab_queue_finishes_refused_total", "lane" => lane.lane().as_str())
                    .increment(lost as u64);
                debug!(lane = %lane.lane(), lost, "ends of claims that were not ours any more");
                return;
            }
            Err(error) => {
                debug!(lane = %lane.lane(), %error, "can't report ends yet");
                tokio::time::sleep(pause(tries)).await;
                tries += 1;
            }
        }
    }
}

fn pause(tries: usize) -> Duration {
    Duration::from_millis(BACKOFF_MS.get(tries).or(BACKOFF_MS.last()).copied().unwrap_or_default())
}

fn count(lane: Lane, outcome: &Outcome) {
    let (lane, outcome) = (lane.as_str(), outcome.name());
    metrics::counter!("metriqlab_queue_finished_total", "lane" => lane, "outcome" => outcome).increment(1);
}
