//! How many jobs run at a time in one process, all lanes together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{CHUNK, Lane};

/// The process's slots, in circles: a revocation may take any; syncs leave it one; and of these the bulk lane has three
/// quarters at most, and leaves a waiting client one. So jobs that wait, for the budget or for a platform that hangs, never
/// lock out those that are more urgent. With one slot or two there is less to keep free: of two, syncs may have both, and the
/// bulk lane one.
///
/// Who takes over a dead worker's jobs lends itself as many slots: else they would wait until a job here has had its turn at
/// the budget, though those of the dead worker are free by its death. Lent slots are gone again with the next jobs that end.
#[derive(Debug)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    syncs: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
    /// As many as there are; no more than that is lent.
    size: usize,
    /// Slots that each lane has to give back.
    lent: [Arc<AtomicUsize>; Lane::ALL.len()],
}

/// Some slots, by the circles that they count in, the smallest first; they are free again when it is dropped, but for those
/// that its lane was lent.
#[derive(Debug)]
pub(super) struct Slot {
    circles: Vec<OwnedSemaphorePermit>,
    lent: Arc<AtomicUsize>,
}

impl Slots {
    pub(super) fn new(concurrency: usize) -> Self {
        let all = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let syncs = if all > 2 { all - 1 } else { all };
        let three_quarters = all / 4 * 3 + all % 4 * 3 / 4;
        let bulk = three_quarters.min(syncs.saturating_sub(1)).max(1);
        let [all, syncs, bulk] = [all, syncs, bulk].map(|size| Arc::new(Semaphore::new(size)));
        Self { all, syncs, bulk, size: concurrency.max(1), lent: Default::default() }
    }

    fn lent(&self, lane: Lane) -> &Arc<AtomicUsize> {
        let [revoke, sync, bulk] = &self.lent;
        match lane {
            Lane::Revoke => revoke,
            Lane::Sync => sync,
            Lane::Bulk => bulk,
        }
    }

    /// Lends a lane slots for so many jobs of a dead worker; in all no more than there are.
    pub(super) fn lend(&self, lane: Lane, jobs: usize) {
        let lent = self.lent(lane);
        let count = jobs.min(self.size.saturating_sub(lent.load(Ordering::Acquire)));
        // Counted before they are there: whoever gives one back finds that it was lent.
        lent.fetch_add(count, Ordering::AcqRel);
        // From the largest circle to the smallest: who gets one of the smallest finds room in the others.
        for circle in self.circles(lane).iter().rev() {
            circle.add_permits(count);
        }
    }

    fn circles(&self, lane: Lane) -> Vec<&Arc<Semaphore>> {
        match lane {
            Lane::Revoke => vec![&self.all],
            Lane::Sync => vec![&self.syncs, &self.all],
            Lane::Bulk => vec![&self.bulk, &self.syncs, &self.all],
        }
    }

    /// Waits for a free slot, and takes what else is free then, at most [`CHUNK`].
    pub(super) async fn acquire(&self, lane: Lane) -> Option<Slot> {
        let circles = self.circles(lane);
        let mut held = Vec::with_capacity(circles.len());
        // From the smallest circle to the largest, by everybody: so nobody who waits for one holds what that one waits for.
        for circle in &circles {
            held.push(Arc::clone(circle).acquire_owned().await.ok()?);
        }
        let mut slot = Slot { circles: held, lent: Arc::clone(self.lent(lane)) };
        grow(&mut slot, &circles);
        Some(slot)
    }
}

/// Takes what is free in all circles, or nothing more.
fn grow(slot: &mut Slot, circles: &[&Arc<Semaphore>]) {
    let free = circles.iter().map(|circle| circle.available_permits()).min().unwrap_or(0).min(CHUNK - 1);
    let Ok(count) = u32::try_from(free) else { return };
    let more: Option<Vec<_>> =
        circles.iter().map(|circle| Arc::clone(circle).try_acquire_many_owned(count).ok()).collect();
    for (held, more) in slot.circles.iter_mut().zip(more.into_iter().flatten()) {
        held.merge(more);
    }
}

impl Slot {
    pub(super) fn count(&self) -> usize {
        self.circles.first().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// One of these slots, for one job.
    pub(super) fn split(&mut self) -> Option<Slot> {
        let circles = self.circles.iter_mut().map(|circle| circle.split(1)).collect::<Option<Vec<_>>>()?;
        Some(Self { circles, lent: Arc::clone(&self.lent) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let held = self.count();
        let owed = |lent: usize| (lent > 0 && held > 0).then(|| lent.saturating_sub(held));
        let Ok(lent) = self.lent.fetch_update(Ordering::AcqRel, Ordering::Acquire, owed) else { return };
        for circle in &mut self.circles {
            if let Some(given_back) = circle.split(lent.min(held)) {
                given_back.forget();
            }
        }
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

    async fn most(slots: &Slots, lane: Lane) -> Slot {
        slots.acquire(lane).await.unwrap()
    }

    #[tokio::test]
    async fn each_lane_leaves_room_to_the_more_urgent_ones() {
        for (concurrency, syncs, bulk) in
            [(1, 1, 1), (2, 2, 1), (3, 2, 1), (4, 3, 2), (8, 7, 6), (32, 31, 24), (33, 32, 24)]
        {
            let slots = Slots::new(concurrency);
            assert_eq!(most(&slots, Lane::Revoke).await.count(), concurrency);
            assert_eq!(most(&slots, Lane::Sync).await.count(), syncs, "of {concurrency}");
            let held = most(&slots, Lane::Bulk).await;
            assert_eq!(held.count(), bulk, "of {concurrency}");
            if syncs > bulk {
                let rest = most(&slots, Lane::Sync).await;
                assert_eq!(rest.count() + held.count(), syncs);
            }
        }
    }

    #[tokio::test]
    async fn a_revocation_finds_a_slot_while_syncs_hold_all_that_they_may() {
        let slots = Slots::new(4);
        let _held = [most(&slots, Lane::Bulk).await, most(&slots, Lane::Sync).await];
        assert_eq!(most(&slots, Lane::Revoke).await.count(), 1);
    }

    #[tokio::test]
    async fn lent_slots_are_there_at_once_and_gone_when_jobs_end() {
        let slots = Slots::new(8);
        let mut held = most(&slots, Lane::Bulk).await;
        assert_eq!(held.count(), 6);
        slots.lend(Lane::Bulk, 3);
        let lent = most(&slots, Lane::Bulk).await;
        assert_eq!(lent.count(), 3, "though all that the lane has is held");
        assert_eq!(most(&slots, Lane::Sync).await.count(), 1, "a waiting client's is still free");
        drop(held.split());
        drop(held.split());
        drop(lent);
        assert_eq!(held.count(), 4);
        drop(held);
        assert_eq!(most(&slots, Lane::Bulk).await.count(), 6);
        assert_eq!(most(&slots, Lane::Sync).await.count(), 7);
        assert_eq!(most(&slots, Lane::Revoke).await.count(), 8, "as before");
        slots.lend(Lane::Sync, 100);
        slots.lend(Lane::Sync, 100);
        assert_eq!(most(&slots, Lane::Sync).await.count(), 15, "no more than twice as many");
        assert_eq!(most(&slots, Lane::Revoke).await.count(), 8, "those that were not needed are gone");
    }

    #[tokio::test]
    async fn a_split_slot_frees_itself() {
        let slots = Slots::new(8);
        let mut held = most(&slots, Lane::Bulk).await;
        let one = held.split().unwrap();
        assert_eq!((held.count(), one.count()), (5, 1));
        drop(held);
        assert_eq!(most(&slots, Lane::Bulk).await.count(), 5);
        drop(one);
        assert_eq!(most(&slots, Lane::Bulk).await.count(), 6);
        assert_eq!(most(&slots, Lane::Revoke).await.count(), 8);
    }
}
