//! How many answers that last may be open: each is a connection that is held, and reads again and again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use shared::ids::UserId;
use tokio_util::sync::CancellationToken;

/// Who has a place. They are a user's, not a session's: somebody may sign in again and again.
#[derive(Debug)]
pub struct Seats {
    of_a_user: usize,
    /// Of this process.
    of_all: usize,
    /// Whether a user's newest one takes the place of the oldest; else it gets none.
    newest_count: bool,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    users: HashMap<UserId, VecDeque<(u64, CancellationToken)>>,
    all: usize,
    next: u64,
}

/// One answer's place, free again when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    user: UserId,
    number: u64,
    lost: CancellationToken,
}

impl Seat {
    /// A place for one more answer to `user`, which may cost their oldest one its own. `None` if there is none.
    pub fn take(seats: &Arc<Seats>, user: UserId) -> Option<Self> {
        let (number, lost) = seats.take(user)?;
        Some(Self { seats: Arc::clone(seats), user, number, lost })
    }

    /// Until a newer answer takes the place.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.free(self.user, self.number);
    }
}

impl Seats {
    /// For the streams of live progress: the page that was opened last is the one that is looked at.
    pub fn live() -> Arc<Self> {
        Self::new(8, 256, true)
    }

    /// For exports: what is half read goes on.
    pub fn exports() -> Arc<Self> {
        Self::new(4, 64, false)
    }

    fn new(of_a_user: usize, of_all: usize, newest_count: bool) -> Arc<Self> {
        Arc::new(Self { of_a_user, of_all, newest_count, taken: Mutex::default() })
    }

    fn take(&self, user: UserId) -> Option<(u64, CancellationToken)> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = &mut *taken;
        let has = taken.users.get(&user).map_or(0, VecDeque::len);
        let is_full = has >= self.of_a_user;
        if (is_full && !self.newest_count) || (!is_full && taken.all >= self.of_all) {
            return None;
        }
        let own = taken.users.entry(user).or_default();
        match if is_full { own.pop_front() } else { None } {
            Some((_, oldest)) => oldest.cancel(),
            None => taken.all += 1,
        }
        taken.next += 1;
        let lost = CancellationToken::new();
        own.push_back((taken.next, lost.clone()));
        Some((taken.next, lost))
    }

    fn free(&self, user: UserId, number: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = taken.users.get_mut(&user) else { return };
        let before = own.len();
        own.retain(|(other, _)| *other != number);
        let (freed, is_empty) = (before - own.len(), own.is_empty());
        taken.all -= freed;
        if is_empty {
            taken.users.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_newest_streams_count_and_the_process_has_a_limit() {
        let seats = Seats::new(4, 10, true);
        let user = UserId::new();
        let taken: Vec<_> = (0..5).filter_map(|_| seats.take(user)).collect();
        let lost: Vec<bool> = taken.iter().map(|(_, lost)| lost.is_cancelled()).collect();
        assert_eq!(lost, [true, false, false, false, false]);
        let others: Vec<_> = (0..10).map_while(|_| seats.take(UserId::new())).collect();
        assert_eq!(others.len(), 6);
        assert!(seats.take(user).is_some(), "it takes the place of one of its own");
        for (number, _) in &taken {
            seats.free(user, *number);
            seats.free(user, *number);
        }
        assert!(seats.take(UserId::new()).is_some());
        let taken = seats.taken.lock().unwrap();
        assert_eq!(taken.all, taken.users.values().map(VecDeque::len).sum::<usize>());
    }

    #[test]
    fn an_export_that_is_half_read_keeps_its_place() {
        let seats = Seats::new(2, 3, false);
        let (one, other) = (UserId::new(), UserId::new());
        let first = Seat::take(&seats, one).expect("a place");
        let second = Seat::take(&seats, one).expect("a place");
        assert!(Seat::take(&seats, one).is_none());
        assert!(!first.lost.is_cancelled() && !second.lost.is_cancelled());
        let third = Seat::take(&seats, other).expect("a place");
        assert!(Seat::take(&seats, other).is_none(), "the process has no more");
        drop((first, third));
        assert!(Seat::take(&seats, one).is_some());
        drop(second);
        let taken = seats.taken.lock().unwrap();
        assert_eq!((taken.all, taken.users.len()), (0, 0));
    }
}
