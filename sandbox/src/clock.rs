//! Virtual time: the real clock plus an offset that tests move, or a moment that stands still.
//!
//! Tokens, codes, videos, counters and image links live in virtual time. The rate limit and the delays of answers do
//! not: they are about real seconds.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::state::lock;

#[derive(Default)]
pub(crate) struct Clock {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    offset_ms: i64,
    frozen_at_ms: Option<i64>,
}

impl Clock {
    /// Virtual time, milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        let inner = lock(&self.inner);
        inner.frozen_at_ms.unwrap_or_else(|| real_ms().saturating_add(inner.offset_ms))
    }

    /// Virtual time, seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.now_ms().div_euclid(1000)
    }

    /// Moves the clock, forwards or backwards.
    pub(crate) fn advance(&self, seconds: i64) {
        let mut inner = lock(&self.inner);
        let by = seconds.saturating_mul(1000);
        inner.offset_ms = inner.offset_ms.saturating_add(by);
        inner.frozen_at_ms = inner.frozen_at_ms.map(|at| at.saturating_add(by));
    }

    /// Sets the clock to a moment.
    pub(crate) fn set(&self, now_ms: i64) {
        let mut inner = lock(&self.inner);
        inner.offset_ms = now_ms.saturating_sub(real_ms());
        inner.frozen_at_ms = inner.frozen_at_ms.map(|_| now_ms);
    }

    /// Stops the clock where it is, or lets it go on from there.
    pub(crate) fn freeze(&self, frozen: bool) {
        let now = self.now_ms();
        let mut inner = lock(&self.inner);
        inner.offset_ms = now.saturating_sub(real_ms());
        inner.frozen_at_ms = frozen.then_some(now);
    }

    /// Whether time stands still.
    pub(crate) fn is_frozen(&self) -> bool {
        lock(&self.inner).frozen_at_ms.is_some()
    }
}

/// The machine's time, milliseconds since 1970.
fn real_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_clock_moves_only_when_told() {
        let clock = Clock::default();
        clock.set(1_700_000_000_000);
        clock.freeze(true);
        let before = clock.now_ms();
        assert_eq!(clock.now_ms(), before);
        clock.advance(60);
        assert_eq!(clock.now_ms(), before + 60_000);
        clock.set(1_700_000_000_000);
        assert_eq!(clock.now_ms(), 1_700_000_000_000);
        clock.freeze(false);
        assert!(!clock.is_frozen());
        assert!(clock.now_ms() - 1_700_000_000_000 < 5_000);
    }
}
