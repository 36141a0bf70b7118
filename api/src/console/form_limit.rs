//! How many forms a signed-in user may send. Counted in this process alone, like the API's limits.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use shared::ids::UserId;

/// Forms of one user in a minute: more than a hand sends. They come back evenly.
pub const PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).unwrap();

/// The limit.
pub struct FormLimit<C: Clock = DefaultClock> {
    users: RateLimiter<UserId, DefaultKeyedStateStore<UserId>, C, NoOpMiddleware<C::Instant>>,
}

impl Default for FormLimit {
    fn default() -> Self {
        Self { users: RateLimiter::keyed(Quota::per_minute(PER_MINUTE)) }
    }
}

impl<C: Clock> FormLimit<C> {
    /// Counts a form, or tells how long to wait for the next one.
    pub fn count(&self, user: UserId) -> Result<(), Duration> {
        self.users.check_key(&user).map_err(|until| until.wait_time_from(self.users.clock().now()))
    }

    /// Forgets who has been quiet.
    pub fn forget_quiet(&self) {
        self.users.retain_recent();
        self.users.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn a_user_sends_a_minutes_forms_at_once_and_then_two_a_second() {
        let clock = FakeRelativeClock::default();
        let store = DefaultKeyedStateStore::default();
        let limit = FormLimit { users: RateLimiter::new(Quota::per_minute(PER_MINUTE), store, clock.clone()) };
        let (ada, bob) = (UserId::new(), UserId::new());
        assert_eq!((0..200).filter(|_| limit.count(ada).is_ok()).count(), 120);
        assert_eq!(limit.count(ada), Err(Duration::from_millis(500)));
        assert_eq!(limit.count(bob), Ok(()), "each has their own");
        clock.advance(Duration::from_secs(2));
        assert_eq!((0..200).filter(|_| limit.count(ada).is_ok()).count(), 4);
        clock.advance(Duration::from_secs(60));
        limit.forget_quiet();
        assert_eq!((0..200).filter(|_| limit.count(ada).is_ok()).count(), 120);
    }
}
