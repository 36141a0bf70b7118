//! The limits at the front door: requests per minute of a key, and of an address that shows no good key.
//!
//! Both are counted in this process alone (CONTRACT, `METRIQLAB_API_RATE`: "key and API process"), by GCRA: a burst of a
//! whole minute's requests, then an even flow.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use shared::ids::ApiKeyId;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::strangers::{Place, Strangers};

const WINDOW: Duration = Duration::from_secs(60);
/// Look-ups at a time for all addresses that are over their limit: few of the connections to Postgres, and enough for a
/// good key from such an address to be found.
const TURNS: usize = 2;
/// How long such a look-up waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(2);

type KeyLimiter = RateLimiter<ApiKeyId, DefaultKeyedStateStore<ApiKeyId>, DefaultClock, StateInformationMiddleware>;

/// Both limits.
pub struct Limits {
    keys: Option<(KeyLimiter, NonZeroU32)>,
    strangers: Option<Strangers>,
    turns: Semaphore,
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

/// Leave to look up what a request shows: it counts as a stranger's until it turns out to be somebody's.
pub struct Admission<'a> {
    limits: &'a Limits,
    entry: Entry<'a>,
}

enum Entry<'a> {
    /// There is no limit.
    Free,
    /// The address had this request left.
    Counted(Place),
    /// It had none left, and this request has one of the few turns. Held for as long as the look-up takes.
    Turn { refusal: Refusal, _turn: SemaphorePermit<'a> },
}

impl Limits {
    /// `per_minute` requests for each key and `strangers_per_minute` for each address without a good key; 0 turns a
    /// limit off.
    pub fn new(per_minute: u32, strangers_per_minute: u32) -> Self {
        let keys = NonZeroU32::new(per_minute).map(|limit| {
            let limiter = RateLimiter::keyed(Quota::per_minute(limit));
            (limiter.with_middleware::<StateInformationMiddleware>(), limit)
        });
        let strangers = NonZeroU32::new(strangers_per_minute).map(|limit| Strangers::new(limit, WINDOW));
        Self { keys, strangers, turns: Semaphore::new(TURNS) }
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

    /// Counts a request that shows nothing good, and for which nothing had to be looked up.
    pub fn count_stranger(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(strangers) = &self.strangers else { return Ok(()) };
        let counted = strangers.count(address.map(subscriber), Instant::now());
        counted.map(drop).map_err(|retry_after| Refusal { limit: strangers.limit(), retry_after })
    }

    /// Asks for a look-up in Postgres for who may turn out to be a stranger. Anybody can write a well-formed key, so a
    /// flood of them must not become a flood of queries; and it must not shut out a good key from the same address, which
    /// behind a proxy all clients share. So an address that is over its limit waits for one of a few turns.
    pub async fn admit(&self, address: Option<IpAddr>) -> Result<Admission<'_>, Refusal> {
        let admission = |entry| Admission { limits: self, entry };
        let Some(strangers) = &self.strangers else { return Ok(admission(Entry::Free)) };
        let retry_after = match strangers.count(address.map(subscriber), Instant::now()) {
            Ok(place) => return Ok(admission(Entry::Counted(place))),
            Err(retry_after) => retry_after,
        };
        let refusal = Refusal { limit: strangers.limit(), retry_after };
        match tokio::time::timeout(TURN_WAIT, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(admission(Entry::Turn { refusal, _turn: turn })),
            _ => Err(refusal),
        }
    }

    /// Forgets whoever has been quiet for long enough to have a full allowance again; to be called now and then.
    pub fn forget_quiet(&self) {
        if let Some((limiter, _)) = &self.keys {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        if let Some(strangers) = &self.strangers {
            strangers.forget_quiet(Instant::now());
        }
    }
}

impl Admission<'_> {
    /// The request is somebody's: it does not count as a stranger's.
    pub fn known(self) {
        if let (Entry::Counted(place), Some(strangers)) = (self.entry, &self.limits.strangers) {
            strangers.give_back(place);
        }
    }

    /// The request is nobody's: refused as such, or for the limit if it came over it.
    pub fn unknown(self) -> Result<(), Refusal> {
        match self.entry {
            Entry::Free | Entry::Counted(_) => Ok(()),
            Entry::Turn { refusal, .. } => Err(refusal),
        }
    }
}

/// Whom an address stands for: an IPv6 subscriber has a /64 of them (RFC 6177).
pub fn subscriber(address: IpAddr) -> IpAddr {
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
    /// How long until the next request is let in.
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// `Retry-After` and the limit's headers.
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let wait = whole_seconds(self.retry_after).max(1);
        // As in an answer to a request that was let in: when all of it is back, and not the next one alone.
        let reset = whole_seconds(self.retry_after + WINDOW * (self.limit.get() - 1) / self.limit.get());
        let mut headers = headers_of(self.limit, 0, reset);
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
        let full = Refusal { limit: NonZeroU32::new(5).expect("not zero"), retry_after: Duration::from_secs(12) };
        let headers = full.headers();
        let header =
            |name: &str| headers.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value.clone());
        assert_eq!(header("ratelimit"), Some(HeaderValue::from_static("\"default\";r=0;t=60")), "until all is back");
        assert_eq!(header("retry-after"), Some(HeaderValue::from(12)), "until one is");
    }

    #[test]
    fn zero_turns_a_limit_off() {
        let limits = Limits::new(0, 0);
        let key = ApiKeyId::new();
        assert!((0..10_000).all(|_| limits.count_key(key) == Ok(None) && limits.count_stranger(None).is_ok()));
    }

    #[tokio::test]
    async fn who_turns_out_to_be_somebody_is_not_counted() {
        let limits = Limits::new(0, 2);
        for _ in 0..10 {
            limits.admit(None).await.expect("admitted").known();
        }
        for _ in 0..2 {
            assert!(limits.admit(None).await.expect("admitted").unknown().is_ok());
        }
        assert!(limits.count_stranger(None).is_err());
    }

    #[tokio::test]
    async fn over_the_limit_there_are_a_few_turns_and_no_more() {
        let limits = Limits::new(0, 1);
        limits.count_stranger(None).expect("the first");
        let turns = [limits.admit(None).await.expect("a turn"), limits.admit(None).await.expect("a turn")];
        assert!(limits.admit(None).await.is_err());
        assert!(turns.into_iter().all(|turn| turn.unknown().is_err()), "a stranger is over the limit all the same");
        limits.admit(None).await.expect("a turn again").known();
        assert!(limits.count_stranger(None).is_err(), "a turn counts for nothing");
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
