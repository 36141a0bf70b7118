//! Jobs on their way from a lane's fetcher through apalis to their handler, and the duty to report how they end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tracing::warn;

use super::lane::{LaneState, lock};
use super::slots::{Slot, SuspectPermit};
use super::{Delivery, Outcome};

/// A job on its way through apalis: what the handler gets, and the duty to report its end.
#[derive(Debug)]
pub(super) struct Job {
    pub delivery: Delivery,
    pub lease: Lease,
}

/// The duty to report an end. Dropped without one (a panic, a cancelled task), it reports a retry.
pub(super) struct Lease {
    lane: Arc<LaneState>,
    number: u64,
    reported: bool,
    _slot: Slot,
    _suspect: Option<SuspectPermit>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Lease {
    pub(super) fn new(lane: Arc<LaneState>, number: u64, slot: Slot, suspect: Option<SuspectPermit>) -> Self {
        Self { lane, number, reported: false, _slot: slot, _suspect: suspect }
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.reported = true;
        self.lane.ended(self.number, outcome);
    }

    /// Lets go without a word: whoever stops the pool gives the claim, of this number, back.
    pub(super) fn abandon(mut self) -> u64 {
        self.reported = true;
        self.number
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.reported {
            warn!(lane = %self.lane.lane(), "a handler ended without an outcome: the job will be tried again");
            self.lane.ended(self.number, Outcome::RetryIn(self.lane.settings.retry_after));
        }
    }
}

/// Fetched jobs that apalis has not taken yet. Apart from the apalis worker, so that they outlive one.
#[derive(Default)]
pub(super) struct Feed {
    jobs: Mutex<VecDeque<(Instant, Job)>>,
    waker: AtomicWaker,
}

impl Feed {
    pub(super) fn push(&self, jobs: impl IntoIterator<Item = Job>) {
        let now = Instant::now();
        lock(&self.jobs).extend(jobs.into_iter().map(|job| (now, job)));
        self.waker.wake();
    }

    pub(super) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Job> {
        // Registered before the look, so that a push in between is seen.
        self.waker.register(cx.waker());
        match lock(&self.jobs).pop_front() {
            Some((_, job)) => Poll::Ready(job),
            None => Poll::Pending,
        }
    }

    pub(super) fn drain(&self) -> Vec<Job> {
        lock(&self.jobs).drain(..).map(|(_, job)| job).collect()
    }

    /// How long the first job has lain here: a worker that lives takes it at once.
    pub(super) fn oldest(&self) -> Option<Duration> {
        lock(&self.jobs).front().map(|(since, _)| since.elapsed())
    }
}
