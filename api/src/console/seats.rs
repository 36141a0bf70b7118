//! How many streams may be open: each is a connection that is held, and a read every two seconds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use actix_web::web::Data;
use shared::ids::SessionId;
use tokio_util::sync::CancellationToken;

use crate::app::Api;

/// Streams of one session. Its newest ones count: the page that was opened last is the one that is looked at.
const OF_A_SESSION: usize = 4;
/// Streams of this process.
const OF_ALL: usize = 256;

/// Who watches.
#[derive(Debug, Default)]
pub struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    sessions: HashMap<SessionId, VecDeque<(u64, CancellationToken)>>,
    all: usize,
    next: u64,
}

/// One stream's place, free again when it is dropped.
pub struct Seat {
    api: Data<Api>,
    session: SessionId,
    number: u64,
    lost: CancellationToken,
}

impl Seat {
    /// A place for one more stream of `session`, which may cost its oldest one its own. `None` if all are taken.
    pub fn take(api: &Data<Api>, session: SessionId) -> Option<Self> {
        let (number, lost) = api.console.seats.take(session)?;
        Some(Self { api: Data::clone(api), session, number, lost })
    }

    /// Until a newer stream of the session takes the place.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.api.console.seats.free(self.session, self.number);
    }
}

impl Seats {
    fn take(&self, session: SessionId) -> Option<(u64, CancellationToken)> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = &mut *taken;
        let own = taken.sessions.entry(session).or_default();
        let oldest = if own.len() >= OF_A_SESSION { own.pop_front() } else { None };
        match oldest {
            Some((_, oldest)) => oldest.cancel(),
            None if taken.all >= OF_ALL => {
                if own.is_empty() {
                    taken.sessions.remove(&session);
                }
                return None;
            }
            None => taken.all += 1,
        }
        taken.next += 1;
        let lost = CancellationToken::new();
        own.push_back((taken.next, lost.clone()));
        Some((taken.next, lost))
    }

    fn free(&self, session: SessionId, number: u64) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = taken.sessions.get_mut(&session) else { return };
        let before = own.len();
        own.retain(|(other, _)| *other != number);
        let (freed, is_empty) = (before - own.len(), own.is_empty());
        taken.all -= freed;
        if is_empty {
            taken.sessions.remove(&session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_newest_streams_count_and_the_process_has_a_limit() {
        let seats = Seats::default();
        let session = SessionId::new();
        let taken: Vec<_> = (0..=OF_A_SESSION).filter_map(|_| seats.take(session)).collect();
        let lost: Vec<bool> = taken.iter().map(|(_, lost)| lost.is_cancelled()).collect();
        assert_eq!(lost, [true, false, false, false, false]);
        let others: Vec<_> = (0..OF_ALL).map_while(|_| seats.take(SessionId::new())).collect();
        assert_eq!(others.len(), OF_ALL - OF_A_SESSION);
        assert!(seats.take(session).is_some(), "it takes the place of one of its own");
        for (number, _) in &taken {
            seats.free(session, *number);
            seats.free(session, *number);
        }
        assert!(seats.take(SessionId::new()).is_some());
        let taken = seats.0.lock().unwrap();
        assert_eq!(taken.all, taken.sessions.values().map(VecDeque::len).sum::<usize>());
    }
}
