//! How many jobs run at a time in one process, all lanes together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{CHUNK, Lane};

/// The process's slots. Interactive lanes may use all of them, the bulk lane three quarters (at least one), so that
/// bulk work never locks a waiting client out.
#[derive(Debug)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
}

/// Some slots; they are free again when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    all: OwnedSemaphorePermit,
    bulk: Option<OwnedSemaphorePermit>,
}

impl Slots {
    pub(super) fn new(concurrency: usize) -> Self {
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(concurrency)),
            bulk: Arc::new(Semaphore::new((concurrency / 4 * 3 + concurrency % 4 * 3 / 4).max(1))),
        }
    }

    /// Waits for a free slot, and takes what else is free then, at most [`CHUNK`].
    pub(super) async fn acquire(&self, lane: Lane) -> Option<Slot> {
        let bulk = match lane {
            Lane::Bulk => Some(self.bulk.clone().acquire_owned().await.ok()?),
            Lane::Revoke | Lane::Sync => None,
        };
        let mut slot = Slot { all: self.all.clone().acquire_owned().await.ok()?, bulk };
        self.grow(&mut slot);
        Some(slot)
    }

    fn grow(&self, slot: &mut Slot) {
        let mut free = self.all.available_permits().min(CHUNK - 1);
        if slot.bulk.is_some() {
            free = free.min(self.bulk.available_permits());
        }
        let Ok(count) = u32::try_from(free) else { return };
        let Ok(all) = self.all.clone().try_acquire_many_owned(count) else { return };
        if let Some(bulk) = slot.bulk.as_mut() {
            let Ok(more) = self.bulk.clone().try_acquire_many_owned(count) else { return };
            bulk.merge(more);
        }
        slot.all.merge(all);
    }
}

impl Slot {
    pub(super) fn count(&self) -> usize {
        self.all.num_permits()
    }

    /// One of these slots, for one job.
    pub(super) fn split(&mut self) -> Option<Slot> {
        let all = self.all.split(1)?;
        let bulk = match self.bulk.as_mut() {
            Some(bulk) => Some(bulk.split(1)?),
            None => None,
        };
        Some(Slot { all, bulk })
    }
}

/// The one slot of a process in which a suspect may run, whatever its lane: if the process dies, it was that one.
#[derive(Debug, Default)]
pub(super) struct SuspectSlot {
    taken: AtomicBool,
    wakes: Vec<Arc<Notify>>,
}

/// The suspect's slot, taken. When it is dropped, the lanes are woken: one of them may have waited for it.
#[derive(Debug)]
pub(super) struct SuspectPermit(Arc<SuspectSlot>);

impl SuspectSlot {
    pub(super) fn new(wakes: Vec<Arc<Notify>>) -> Self {
        Self { taken: AtomicBool::new(false), wakes }
    }

    pub(super) fn try_take(self: &Arc<Self>) -> Option<SuspectPermit> {
        let free = !self.taken.swap(true, Ordering::AcqRel);
        free.then(|| SuspectPermit(self.clone()))
    }
}

impl Drop for SuspectPermit {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
        for wake in &self.0.wakes {
            wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bulk_leaves_a_quarter_to_the_others_and_nobody_exceeds_the_whole() {
        for (concurrency, bulk) in [(1, 1), (2, 1), (4, 3), (32, 24), (33, 24)] {
            let slots = Slots::new(concurrency);
            let held = slots.acquire(Lane::Bulk).await.unwrap();
            assert_eq!(held.count(), bulk, "of {concurrency}");
            if concurrency > 1 {
                let rest = slots.acquire(Lane::Sync).await.unwrap();
                assert_eq!(rest.count() + held.count(), concurrency);
            }
        }
    }

    #[tokio::test]
    async fn interactive_lanes_may_use_every_slot_and_a_split_slot_frees_itself() {
        let slots = Slots::new(8);
        let mut held = slots.acquire(Lane::Revoke).await.unwrap();
        assert_eq!(held.count(), 8);
        let one = held.split().unwrap();
        drop(held);
        assert_eq!(slots.acquire(Lane::Sync).await.unwrap().count(), 7);
        drop(one);
        assert_eq!(slots.acquire(Lane::Sync).await.unwrap().count(), 8);
    }
}
