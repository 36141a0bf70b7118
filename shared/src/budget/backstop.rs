//! A second line behind the log: what one process may send, whatever Redis says.
//!
//! A token bucket (`governor`) as deep as the quota and filled at its rate lets everything pass that a sliding log of that
//! quota lets pass. The tenth that is added to both is for the way between Redis's clock and ours. So it speaks only when
//! the log is wrong: then a process sends at most about twice the quota in a window, not everything it has.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

pub(super) struct Backstop {
    limiter: Option<DefaultDirectRateLimiter>,
    clock: DefaultClock,
    /// Taken, and given back unused: these may be taken again.
    refunds: u32,
}

impl Backstop {
    pub(super) fn new(quota: u32, window: Duration) -> Self {
        let raised = NonZeroU32::new(quota.saturating_add(quota / 10).saturating_add(1)).unwrap_or(NonZeroU32::MAX);
        let limiter = window.checked_div(raised.get()).and_then(Quota::with_period);
        Self {
            // A window so short that it has no period in nanoseconds needs no backstop.
            limiter: limiter.map(|quota| RateLimiter::direct(quota.allow_burst(raised))),
            clock: DefaultClock::default(),
            refunds: 0,
        }
    }

    /// Takes one, or says for how long there is none.
    pub(super) fn take(&mut self) -> Result<(), Duration> {
        if self.refunds > 0 {
            self.refunds -= 1;
            return Ok(());
        }
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check().map_err(|denied| denied.wait_time_from(self.clock.now()))
    }

    /// One that was taken was not used.
    pub(super) fn refund(&mut self) {
        self.refunds = self.refunds.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_quota_at_once_passes_and_twice_does_not() {
        let mut backstop = Backstop::new(600, Duration::from_secs(60));
        assert!((0..600).all(|_| backstop.take().is_ok()));
        assert!((0..600).any(|_| backstop.take().is_err()));
    }

    #[test]
    fn what_came_back_unused_does_not_count() {
        let mut backstop = Backstop::new(10, Duration::from_secs(3600));
        for _ in 0..1_000 {
            backstop.take().expect("nothing was used");
            backstop.refund();
        }
        assert!((0..10).all(|_| backstop.take().is_ok()));
    }
}
