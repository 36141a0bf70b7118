//! How many forms a session may send. Counted in this process alone, like the API's limits.
//!
//! Each session has its own count: whoever has stolen one can't keep its user from ending it, or from a new password.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use shared::ids::SessionId;

/// How many forms, and how soon more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormQuota {
    /// So many at once.
    pub at_once: NonZeroU32,
    /// One more comes back after this.
    pub each: Duration,
}

impl Default for FormQuota {
    /// More than a hand sends.
    fn default() -> Self {
        Self { at_once: const { NonZeroU32::new(120).unwrap() }, each: Duration::from_millis(500) }
    }
}

impl FormQuota {
    fn quota(self) -> Quota {
        // None where no time passes between two: then all are let through.
        Quota::with_period(self.each)
            .map_or(Quota::per_second(NonZeroU32::MAX), |quota| quota.allow_burst(self.at_once))
    }
}

/// The limit.
pub struct FormLimit<C: Clock = DefaultClock> {
    sessions: RateLimiter<SessionId, DefaultKeyedStateStore<SessionId>, C, NoOpMiddleware<C::Instant>>,
}

impl FormLimit {
    /// Nobody has sent one yet.
    pub fn new(quota: FormQuota) -> Self {
        Self { sessions: RateLimiter::keyed(quota.quota()) }
    }
}

impl<C: Clock> FormLimit<C> {
    /// Counts a form, or tells how long to wait for the next one.
    pub fn count(&self, session: SessionId) -> Result<(), Duration> {
        self.sessions.check_key(&session).map_err(|until| until.wait_time_from(self.sessions.clock().now()))
    }

    /// Forgets who has been quiet.
    pub fn forget_quiet(&self) {
        self.sessions.retain_recent();
        self.sessions.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn a_session_sends_a_minutes_forms_at_once_and_then_two_a_second() {
        let clock = FakeRelativeClock::default();
        let store = DefaultKeyedStateStore::default();
        let limit = FormLimit { sessions: RateLimiter::new(FormQuota::default().quota(), store, clock.clone()) };
        let (stolen, own) = (SessionId::new(), SessionId::new());
        assert_eq!((0..200).filter(|_| limit.count(stolen).is_ok()).count(), 120);
        assert_eq!(limit.count(stolen), Err(Duration::from_millis(500)));
        assert_eq!(limit.count(own), Ok(()), "each has its own");
        clock.advance(Duration::from_secs(2));
        assert_eq!((0..200).filter(|_| limit.count(stolen).is_ok()).count(), 4);
        clock.advance(Duration::from_secs(60));
        limit.forget_quiet();
        assert_eq!((0..200).filter(|_| limit.count(stolen).is_ok()).count(), 120);
    }
}
