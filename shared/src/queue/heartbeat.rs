//! Twice a second each worker says that it lives, registers its claims anew, and looks for the dead.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::RedisResult;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::CHUNK;
use super::backend::Control;
use super::claims::ClaimId;
use super::lane::LaneState;

/// A job that lies in the feed for so long has an apalis worker that does not take jobs.
const DEAF_AFTER: Duration = Duration::from_secs(5);

/// A lane, how to reach its apalis worker, and what its heartbeats have found so far.
struct Pulse {
    lane: Arc<LaneState>,
    control: Arc<Control>,
    /// The epoch under which our claims were registered last.
    epoch: String,
    /// Heartbeats in a row that found more claims in Redis than we know of.
    surplus: u32,
    /// When a beat failed last.
    failed: Option<Instant>,
}

/// Beats for all lanes until `stop`, for each by itself: in a cluster, a node that hangs must not keep the others from
/// hearing of us. No lane fetches before its first good beat: then the epoch is known under which its claims are made, and
/// one that is gone later under the same epoch was taken over or has ended, not lost in a flush.
pub(super) async fn run(lanes: Vec<(Arc<LaneState>, Arc<Control>)>, stop: CancellationToken) {
    let pulses = lanes.into_iter().map(|(lane, control)| {
        let pulse = Pulse { lane, control, epoch: String::new(), surplus: 0, failed: None };
        pulse.run(stop.clone())
    });
    futures::future::join_all(pulses).await;
}

impl Pulse {
    async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.lane.settings.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.watch();
            let beat = self.beat().await;
            for dead in self.dead(beat) {
                self.take_over(&dead).await;
            }
        }
    }

    /// The dead of a beat. Redis names none unless it was in somebody's reach for long enough; that it was not in ours says
    /// that it may have been out of theirs, too.
    fn dead(&mut self, beat: RedisResult<Vec<String>>) -> Vec<String> {
        let dead = match beat {
            Ok(dead) => dead,
            Err(error) => {
                self.failed = Some(Instant::now());
                if !self.lane.registered.is_cancelled() {
                    // No fetch is made yet that could hear it.
                    self.lane.note_refusal(&error);
                }
                return Vec::new();
            }
        };
        let was_cut_off = self.failed.is_some_and(|at| at.elapsed() < self.lane.settings.dead_after);
        if was_cut_off { Vec::new() } else { dead }
    }

    /// A worker that lives takes a job from the feed at once.
    fn watch(&self) {
        if self.lane.feed.oldest().is_some_and(|age| age > DEAF_AFTER) {
            self.control.deaf.notify_one();
        }
    }

    /// Answers the workers that were not heard of for too long.
    async fn beat(&mut self) -> RedisResult<Vec<String>> {
        let held: Vec<(ClaimId, Arc<[u8]>)> = {
            let running = self.lane.running();
            let held = running.values().filter(|held| !held.lost);
            held.map(|held| (held.claim.clone(), held.payload.clone())).collect()
        };
        let mut epoch = String::new();
        let mut dead = Vec::new();
        let mut inflight = 0;
        let chunks: Vec<_> = if held.is_empty() { vec![&[][..]] } else { held.chunks(CHUNK).collect() };
        for chunk in chunks {
            let beat = self.lane.claims.beat(&self.epoch, self.lane.settings.dead_after, chunk).await?;
            self.lose(beat.lost.iter().filter_map(|position| chunk.get(*position)).map(|(claim, _)| claim));
            (epoch, dead, inflight) = (beat.epoch, beat.dead, beat.inflight);
        }
        if !self.epoch.is_empty() && self.epoch != epoch {
            warn!(lane = %self.lane.lane(), claims = held.len(), "Redis was emptied: running jobs are registered anew");
        }
        self.epoch = epoch;
        self.lane.registered.cancel();
        self.reconcile(inflight);
        dead.retain(|name| *name != self.lane.claims.worker);
        Ok(dead)
    }

    /// These claims are somebody else's by now: their handlers are told to let go.
    fn lose<'a>(&self, claims: impl Iterator<Item = &'a ClaimId>) {
        let mut running = self.lane.running();
        for claim in claims {
            // An end that was reported while the heartbeat was on its way is no loss.
            if let Some(held) = running.get_mut(&claim.number).filter(|held| !held.ended) {
                held.lost = true;
                held.stop.cancel();
                metrics::counter!("metriqlab_queue_claims_lost_total", "lane" => self.lane.lane().as_str())
                    .increment(1);
                warn!(lane = %self.lane.lane(), id = %String::from_utf8_lossy(&claim.id), "another worker has this job by now");
            }
        }
    }

    /// Claims that Redis has and we do not: for a moment they are a fetch under way; if they stay, its answer was lost.
    fn reconcile(&mut self, inflight: usize) {
        let known = self.lane.running().values().filter(|held| !held.lost).count();
        self.surplus = if inflight > known { self.surplus + 1 } else { 0 };
        if self.surplus >= 2 {
            self.surplus = 0;
            self.lane.reconcile.store(true, Ordering::Release);
            self.lane.wake.notify_one();
        }
    }

    async fn take_over(&self, dead: &str) {
        match self.lane.claims.reclaim(dead, self.lane.settings.dead_after).await {
            Ok(0) => {}
            Ok(jobs) => {
                metrics::counter!("metriqlab_queue_reclaimed_total", "lane" => self.lane.lane().as_str())
                    .increment(jobs);
                info!(lane = %self.lane.lane(), worker = dead, jobs, "took back the jobs of a dead worker");
                self.lane.make_room(jobs);
            }
            Err(error) => debug!(lane = %self.lane.lane(), worker = dead, %error, "can't take over yet"),
        }
    }
}
