//! How many requests without a good key each address has left. By hand, since what was counted must be given back when the
//! key turns out to be good, and since the number of addresses is the sender's choice: the memory for them has an end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are counted each for itself: a few megabytes.
const MAX_ADDRESSES: usize = 100_000;
/// Between two searches for addresses that have been quiet, when there are too many.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// Counts by GCRA: `limit` requests at once, and then one in each `window / limit`.
pub struct Strangers {
    limit: NonZeroU32,
    window: Duration,
    capacity: usize,
    seen: Mutex<Seen>,
}

/// Where a request was counted: at its address, or (`None`) with all those whose address is unknown or found no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(Option<IpAddr>);

#[derive(Default)]
struct Seen {
    /// When a place has its whole allowance again, if nothing more comes.
    full_at: HashMap<Place, Instant>,
    searched: Option<Instant>,
}

impl Strangers {
    /// `limit` requests in each `window`.
    pub fn new(limit: NonZeroU32, window: Duration) -> Self {
        Self { limit, window, capacity: MAX_ADDRESSES, seen: Mutex::default() }
    }

    /// Requests in a window.
    pub fn limit(&self) -> NonZeroU32 {
        self.limit
    }

    /// Counts a request, or tells how long its address has to wait for the next.
    pub fn count(&self, address: Option<IpAddr>, present: Instant) -> Result<Place, Duration> {
        let mut seen = self.lock();
        let place = seen.place(address, self.capacity, present);
        let full_at = seen.full_at.get(&place).map_or(present, |full_at| (*full_at).max(present));
        let wait = (full_at + self.interval()).saturating_duration_since(present).saturating_sub(self.window);
        if !wait.is_zero() {
            return Err(wait);
        }
        seen.full_at.insert(place, full_at + self.interval());
        Ok(place)
    }

    /// Takes back what was counted.
    pub fn give_back(&self, place: Place) {
        if let Some(full_at) = self.lock().full_at.get_mut(&place) {
            *full_at = full_at.checked_sub(self.interval()).unwrap_or(*full_at);
        }
    }

    /// Forgets those who have their whole allowance again.
    pub fn forget_quiet(&self, present: Instant) {
        let mut seen = self.lock();
        seen.forget_quiet(present);
        seen.full_at.shrink_to_fit();
    }

    fn interval(&self) -> Duration {
        self.window / self.limit.get()
    }

    /// A panic elsewhere leaves the map whole: every change is one call.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// A search goes through all addresses: so there is one a second at most, and who finds no room after it is counted
    /// with the others who do not.
    fn place(&mut self, address: Option<IpAddr>, capacity: usize, present: Instant) -> Place {
        let place = Place(address);
        if self.full_at.len() < capacity || self.full_at.contains_key(&place) {
            return place;
        }
        if self.searched.is_none_or(|searched| present.saturating_duration_since(searched) >= SEARCH_EVERY) {
            self.searched = Some(present);
            self.forget_quiet(present);
        }
        if self.full_at.len() < capacity { place } else { Place(None) }
    }

    fn forget_quiet(&mut self, present: Instant) {
        self.full_at.retain(|_, full_at| *full_at > present);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(number))
    }

    fn strangers(limit: u32, capacity: usize) -> Strangers {
        let limit = NonZeroU32::new(limit).expect("a limit");
        Strangers { capacity, ..Strangers::new(limit, Duration::from_secs(60)) }
    }

    #[test]
    fn a_burst_and_then_an_even_flow() {
        let (strangers, start) = (strangers(3, 10), Instant::now());
        for _ in 0..3 {
            strangers.count(Some(address(1)), start).expect("a burst of three");
        }
        assert_eq!(strangers.count(Some(address(1)), start), Err(Duration::from_secs(20)));
        let later = start + Duration::from_secs(20);
        strangers.count(Some(address(1)), later).expect("one in 20 s");
        assert_eq!(strangers.count(Some(address(1)), later), Err(Duration::from_secs(20)));
        let much_later = start + Duration::from_secs(600);
        assert_eq!((0..10).filter(|_| strangers.count(Some(address(1)), much_later).is_ok()).count(), 3);
    }

    #[test]
    fn what_is_given_back_can_be_used_again() {
        let (strangers, start) = (strangers(1, 10), Instant::now());
        for _ in 0..5 {
            let place = strangers.count(Some(address(1)), start).expect("it was given back");
            strangers.give_back(place);
        }
    }

    #[test]
    fn those_who_find_no_room_share_one_allowance() {
        let (strangers, start) = (strangers(2, 100), Instant::now());
        for number in 0..100 {
            strangers.count(Some(address(number)), start).expect("room");
        }
        let newcomers = (100..1_000).filter(|number| strangers.count(Some(address(*number)), start).is_ok()).count();
        assert_eq!(newcomers, 2);
        assert_eq!(strangers.lock().full_at.len(), 101, "the memory has an end");
        strangers.count(Some(address(5)), start).expect("who is counted already keeps its own");
        // A minute later all are quiet, and make room.
        let later = start + Duration::from_secs(61);
        assert_eq!((100..150).filter(|number| strangers.count(Some(address(*number)), later).is_ok()).count(), 50);
    }

    #[test]
    fn a_search_for_room_is_rare() {
        let (strangers, start) = (strangers(60, 2), Instant::now());
        strangers.count(Some(address(1)), start).expect("room");
        strangers.count(Some(address(2)), start).expect("room");
        strangers.count(Some(address(3)), start).expect("the shared allowance");
        // Both are quiet by now, but the last search was less than a second ago.
        let soon = start + Duration::from_millis(999);
        strangers.count(Some(address(4)), soon).expect("the shared allowance");
        assert!(!strangers.lock().full_at.contains_key(&Place(Some(address(4)))));
    }
}
