//! The limits at the front door: requests per minute of a key, and of an address that shows no good key.
//!
//! Both are counted in this process alone (CONTRACT, `METRIQLAB_API_RATE`: "key and API process"), by governor's GCRA:
//! a burst of a whole minute's requests, then an even flow.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use shared::ids::ApiKeyId;

const WINDOW: Duration = Duration::from_secs(60);
/// More addresses than this are not remembered: then those that have been quiet for a minute go.
const MAX_ADDRESSES: usize = 100_000;

type KeyLimiter = RateLimiter<ApiKeyId, DefaultKeyedStateStore<ApiKeyId>, DefaultClock, StateInformationMiddleware>;
type AddressLimiter = RateLimiter<IpAddr, DefaultKeyedStateStore<IpAddr>, DefaultClock, NoOpMiddleware>;

/// Both limits.
pub struct Limits {
    keys: Option<(KeyLimiter, NonZeroU32)>,
    strangers: Option<(AddressLimiter, NonZeroU32)>,
}

/// What a key has left after a request that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    limit: NonZeroU32,
    remaining: u32,
}

/// A request that was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    limit: NonZeroU32,
    retry_after: Duration,
}

impl Limits {
    /// `per_minute` requests for each key and `strangers_per_minute` for each address without a good key; 0 turns a
    /// limit off.
    pub fn new(per_minute: u32, strangers_per_minute: u32) -> Self {
        let keys = NonZeroU32::new(per_minute).map(|limit| {
            let limiter = RateLimiter::keyed(Quota::per_minute(limit));
            (limiter.with_middleware::<StateInformationMiddleware>(), limit)
        });
        let strangers =
            NonZeroU32::new(strangers_per_minute).map(|limit| (RateLimiter::keyed(Quota::per_minute(limit)), limit));
        Self { keys, strangers }
    }

    /// Counts a request of a good key. `None`: there is no limit.
    pub fn count_key(&self, key: ApiKeyId) -> Result<Option<Allowance>, Refusal> {
        let Some((limiter, limit)) = &self.keys else { return Ok(None) };
        match limiter.check_key(&key) {
            Ok(snapshot) => Ok(Some(Allowance { limit: *limit, remaining: snapshot.remaining_burst_capacity() })),
            Err(not_until) => {
                let retry_after = not_until.wait_time_from(limiter.clock().now());
                Err(Refusal { limit: *limit, retry_after })
            }
        }
    }

    /// Counts a request without a good key. It never stands in the way of a good key from the same address: behind a
    /// proxy, all clients share one.
    pub fn count_stranger(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let Some((limiter, limit)) = &self.strangers else { return Ok(()) };
        if limiter.len() > MAX_ADDRESSES {
            limiter.retain_recent();
        }
        let address = address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), subscriber);
        limiter.check_key(&address).map_err(|not_until| Refusal {
            limit: *limit,
            retry_after: not_until.wait_time_from(limiter.clock().now()),
        })
    }

    /// Forgets whoever has been quiet for long enough to have a full allowance again; to be called now and then.
    pub fn forget_quiet(&self) {
        if let Some((limiter, _)) = &self.keys {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        if let Some((limiter, _)) = &self.strangers {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// Whom an address stands for: an IPv6 subscriber has a /64 of them (RFC 6177).
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl Allowance {
    /// Writes the headers of a request that was let in.
    pub fn write(self, headers: &mut HeaderMap) {
        let used = self.limit.get().saturating_sub(self.remaining);
        let reset = whole_seconds(WINDOW * used / self.limit.get());
        for (name, value) in headers_of(self.limit, self.remaining, reset) {
            headers.insert(name, value);
        }
    }
}

impl Refusal {
    /// `Retry-After` and the limit's headers.
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let wait = whole_seconds(self.retry_after).max(1);
        let mut headers = headers_of(self.limit, 0, wait);
        headers.push((RETRY_AFTER, HeaderValue::from(wait)));
        headers
    }
}

/// The two fields of draft-ietf-httpapi-ratelimit-headers, and the three that clients knew before it.
fn headers_of(limit: NonZeroU32, remaining: u32, reset: u64) -> Vec<(HeaderName, HeaderValue)> {
    let policy = format!("\"default\";q={limit};w={}", WINDOW.as_secs());
    let state = format!("\"default\";r={remaining};t={reset}");
    let mut headers = vec![
        (HeaderName::from_static("ratelimit-limit"), HeaderValue::from(limit.get())),
        (HeaderName::from_static("ratelimit-remaining"), HeaderValue::from(remaining)),
        (HeaderName::from_static("ratelimit-reset"), HeaderValue::from(reset)),
    ];
    for (name, text) in [("ratelimit-policy", policy), ("ratelimit", state)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.push((HeaderName::from_static(name), value));
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gets_its_burst_and_then_a_time() {
        let limits = Limits::new(3, 0);
        let key = ApiKeyId::new();
        for left in [2, 1, 0] {
            assert_eq!(limits.count_key(key).expect("let in").expect("a limit").remaining, left);
        }
        let refusal = limits.count_key(key).expect_err("the burst is used");
        assert!(refusal.retry_after <= Duration::from_secs(20), "3 a minute is one in 20 s");
        assert!(limits.count_key(ApiKeyId::new()).is_ok(), "another key has its own");
    }

    #[test]
    fn zero_turns_a_limit_off() {
        let limits = Limits::new(0, 0);
        let key = ApiKeyId::new();
        assert!((0..10_000).all(|_| limits.count_key(key) == Ok(None) && limits.count_stranger(None).is_ok()));
    }

    #[test]
    fn an_ipv6_subscriber_is_one_stranger() {
        let limits = Limits::new(0, 1);
        let at = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        assert!(limits.count_stranger(at("2001:db8::1")).is_ok());
        assert!(limits.count_stranger(at("2001:db8::ffff")).is_err());
        assert!(limits.count_stranger(at("2001:db8:0:1::1")).is_ok());
        assert!(limits.count_stranger(at("192.0.2.1")).is_ok());
        assert!(limits.count_stranger(at("::ffff:192.0.2.1")).is_err());
    }
}
