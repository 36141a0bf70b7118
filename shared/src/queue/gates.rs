//! From which lanes a worker process may fetch. Who says so, and where it is kept, is not the queue's business.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::{Lane, Queue, QueueError};

/// What is sent on the control channel, where all else is an id: somebody has changed what holds lanes.
pub(super) const LANES_CHANGED: &str = "lanes";

/// How much a lane lets through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Passage {
    /// Whatever there are slots for.
    #[default]
    All,
    /// One job, and then nothing.
    One,
    /// Nothing.
    Nothing,
}

/// A gate for each lane. Cheap to clone: all clones are the same gates.
#[derive(Clone, Debug)]
pub struct Gates {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    revoke: watch::Sender<Gate>,
    sync: watch::Sender<Gate>,
    bulk: watch::Sender<Gate>,
    changed: Notify,
}

/// Two have a word on it, and neither lets through what the other holds.
#[derive(Debug, Clone, Copy)]
struct Gate {
    open: bool,
    passage: Passage,
}

impl Gate {
    fn passage(self) -> Passage {
        if self.open { self.passage } else { Passage::Nothing }
    }
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
        let gate = || watch::Sender::new(Gate { open, passage: Passage::All });
        Self { inner: Arc::new(Inner { revoke: gate(), sync: gate(), bulk: gate(), changed: Notify::new() }) }
    }

    /// Lets the worker fetch from `lane`, or holds it: what runs goes on, and nothing new is taken.
    pub fn set(&self, lane: Lane, open: bool) {
        self.gate(lane).send_modify(|gate| gate.open = open);
    }

    /// Lets so much through where the gate is open.
    pub fn restrict(&self, lane: Lane, passage: Passage) {
        self.gate(lane).send_modify(|gate| gate.passage = passage);
    }

    /// How much `lane` lets through now.
    pub fn passage(&self, lane: Lane) -> Passage {
        self.gate(lane).borrow().passage()
    }

    /// Waits until somebody may have changed what holds lanes: [`Queue::announce_lanes`], or a gap in hearing it. A call
    /// that came while nobody waited is kept.
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    pub(super) fn ring(&self) {
        self.inner.changed.notify_one();
    }

    /// Something of `lane` went through: if it was to be one, that was it.
    pub(super) fn went_through(&self, lane: Lane) {
        self.gate(lane).send_if_modified(|gate| {
            let was_the_one = gate.passage == Passage::One;
            if was_the_one {
                gate.passage = Passage::Nothing;
            }
            was_the_one
        });
    }

    pub(super) async fn opened(&self, lane: Lane) {
        // The sender lives as long as `self` does.
        let _ = self.gate(lane).subscribe().wait_for(|gate| gate.passage() != Passage::Nothing).await;
    }

    fn gate(&self, lane: Lane) -> &watch::Sender<Gate> {
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
