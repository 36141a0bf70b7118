//! The rate limit: a sliding window per endpoint and client (or token), counted when a request arrives.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::endpoint::Endpoint;

/// What the window says of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// The next place is free after this.
    Refused(Duration),
}

/// Counts since the start or the last `DELETE /control/limits`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) refused: u64,
    /// The most requests that arrived within one window, refused ones included.
    pub(crate) worst_window: usize,
    /// The most requests that were let through within one window.
    pub(crate) most_passed: usize,
}

#[derive(Default)]
struct Window {
    /// Arrivals of the last window, and whether they were let through.
    arrivals: VecDeque<(Instant, bool)>,
    passed: usize,
}

#[derive(Default)]
pub(crate) struct Limits {
    windows: HashMap<(Endpoint, String), Window>,
    counts: HashMap<Endpoint, Counts>,
}

impl Limits {
    /// Counts an arrival. With `limit` 0 everything passes, and no window is kept.
    pub(crate) fn arrive(
        &mut self,
        endpoint: Endpoint,
        key: &str,
        limit: u32,
        length: Duration,
        now: Instant,
    ) -> Verdict {
        let counts = self.counts.entry(endpoint).or_default();
        if limit == 0 {
            counts.passed += 1;
            return Verdict::Passed;
        }
        let window = self.windows.entry((endpoint, key.to_owned())).or_default();
        window.forget_before(now, length);
        let passes = window.passed < usize::try_from(limit).unwrap_or(usize::MAX);
        window.arrivals.push_back((now, passes));
        counts.worst_window = counts.worst_window.max(window.arrivals.len());
        if passes {
            window.passed += 1;
            counts.passed += 1;
            counts.most_passed = counts.most_passed.max(window.passed);
            return Verdict::Passed;
        }
        counts.refused += 1;
        let oldest = window.arrivals.iter().find(|(_, passed)| *passed).map_or(now, |(at, _)| *at);
        Verdict::Refused((oldest + length).saturating_duration_since(now))
    }

    pub(crate) fn counts(&self, endpoint: Endpoint) -> Counts {
        self.counts.get(&endpoint).copied().unwrap_or_default()
    }

    /// Empties the windows and the counts.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Window {
    fn forget_before(&mut self, now: Instant, length: Duration) {
        while let Some((at, passed)) = self.arrivals.front().copied() {
            if now.saturating_duration_since(at) < length {
                break;
            }
            self.arrivals.pop_front();
            self.passed -= usize::from(passed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        let mut at = |ms: u64| {
            limits.arrive(Endpoint::VideoList, "key", 2, Duration::from_secs(1), start + Duration::from_millis(ms))
        };
        assert_eq!(at(0), Verdict::Passed);
        assert_eq!(at(600), Verdict::Passed);
        assert_eq!(at(900), Verdict::Refused(Duration::from_millis(100)));
        assert_eq!(at(1_000), Verdict::Passed);
        assert_eq!(at(1_599), Verdict::Refused(Duration::from_millis(1)));
        assert_eq!(at(1_600), Verdict::Passed);
        let counts = limits.counts(Endpoint::VideoList);
        assert_eq!((counts.passed, counts.refused, counts.worst_window, counts.most_passed), (4, 2, 4, 2));
        assert_eq!(limits.counts(Endpoint::UserInfo).passed, 0);
    }

    #[test]
    fn keys_and_endpoints_have_windows_of_their_own() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(limits.arrive(Endpoint::VideoList, "a", 1, second, now), Verdict::Passed);
        assert_eq!(limits.arrive(Endpoint::VideoList, "b", 1, second, now), Verdict::Passed);
        assert_eq!(limits.arrive(Endpoint::UserInfo, "a", 1, second, now), Verdict::Passed);
        assert_ne!(limits.arrive(Endpoint::UserInfo, "a", 1, second, now), Verdict::Passed);
    }
}
