//! From which lanes a worker process may fetch. Who says so, and where it is kept, is not the queue's business.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::{Lane, Queue, QueueError};

/// What is sent on the control channel, where all else is an id: somebody has changed what holds lanes.
pub(super) const LANES_CHANGED: &str = "lanes";

/// A gate for each lane. Cheap to clone: all clones are the same gates.
#[derive(Clone, Debug)]
pub struct Gates {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    revoke: watch::Sender<bool>,
    sync: watch::Sender<bool>,
    bulk: watch::Sender<bool>,
    changed: Notify,
}

impl Gates {
    /// All lanes are fetched from.
    pub fn open() -> Self {
        Self::new(true)
    }

    /// No lane is, until [`Gates::set`] says otherwise.
    pub fn closed() -> Self {
        Self::new(false)
    }

    fn new(open: bool) -> Self {
        let gate = || watch::Sender::new(open);
        Self { inner: Arc::new(Inner { revoke: gate(), sync: gate(), bulk: gate(), changed: Notify::new() }) }
    }

    /// Lets the worker fetch from `lane`, or holds it: what runs goes on, and nothing new is taken.
    pub fn set(&self, lane: Lane, open: bool) {
        self.gate(lane).send_replace(open);
    }

    /// Whether `lane` is fetched from.
    pub fn is_open(&self, lane: Lane) -> bool {
        *self.gate(lane).borrow()
    }

    /// Waits until somebody may have changed what holds lanes: [`Queue::announce_lanes`], or a gap in hearing it. A call
    /// that came while nobody waited is kept.
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    pub(super) fn ring(&self) {
        self.inner.changed.notify_one();
    }

    pub(super) async fn opened(&self, lane: Lane) {
        // The sender lives as long as `self` does.
        let _ = self.gate(lane).subscribe().wait_for(|open| *open).await;
    }

    fn gate(&self, lane: Lane) -> &watch::Sender<bool> {
        match lane {
            Lane::Revoke => &self.inner.revoke,
            Lane::Sync => &self.inner.sync,
            Lane::Bulk => &self.inner.bulk,
        }
    }
}

impl Queue {
    /// Tells all workers that somebody has changed what holds lanes, so that they look at once.
    pub async fn announce_lanes(&self) -> Result<(), QueueError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&self.channels().control).arg(LANES_CHANGED);
        Ok(self.link(Lane::Sync).command(&publish).await?)
    }
}
