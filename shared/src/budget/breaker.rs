//! The breaker of an endpoint: when it fails for everybody, the fleet stops calling it, and looks now and then.
//!
//! It opens when the requests of several accounts fail one after the other, with no good answer in between: that is an
//! outage, and not one creator's trouble or one answer in a hundred that is lost. While it is open, work that nobody waits
//! for is held; it costs no job an attempt and no creator its status. One request is let through as a look, at growing
//! intervals, and the first good answer closes it. Calls that somebody waits for are looks too, one a second over the fleet:
//! so a client is served as soon as the platform is back, and a platform that is down gets no flood; the others fail at once,
//! and their own tries go on.
//!
//! The state is in Redis beside the budget's log, by Redis's clock. Flushed or forgotten, it is a closed breaker. While
//! Redis is away nothing is held by it: the budget lets nothing through anyway.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use rand::Rng as _;
use redis::{FromRedisValue, RedisResult, Script, ScriptInvocation};
use tokio::sync::{Mutex, MutexGuard, watch};

use super::Class;
use super::connection::Connection;
use super::log::{micros, or_empty};

static ADMIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/admit.lua")));
static FAIL: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/fail.lua")));
static HEAL: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/heal.lua")));

/// Accounts whose requests fail in a row, within a window of the platform's, before it is called an outage.
pub(super) const ACCOUNTS: u32 = 5;

/// The breaker's times, as parts of the platform's window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pauses {
    /// For how long a failure counts. Of a minute: a minute.
    within: Duration,
    /// The time from the opening to the first look; it doubles from look to look. Of a minute: 5 s.
    pub(super) first: Duration,
    /// The longest time between two looks. Bulk work goes on so late after an outage at most. Of a minute: a minute.
    pub(super) longest: Duration,
    /// The time between two looks of those that somebody waits for, over the fleet. Of a minute: 1 s.
    pub(super) interactive: Duration,
    /// An open breaker that no failure has touched for so long is forgotten. Of a minute: ten.
    remembered: Duration,
}

impl Pauses {
    pub(super) fn of(window: Duration) -> Self {
        Self {
            within: window,
            first: window / 12,
            longest: window,
            interactive: window / 60,
            remembered: window.saturating_mul(10),
        }
    }
}

/// What admit.lua says: a request may be sent…
const CLOSED: u8 = 0;
/// …or is a look at an endpoint that is held…
const LOOK: u8 = 1;
/// …or may not be sent.
const HELD: u8 = 2;

/// How long Redis may take to answer. The permit that waits for it must not get old.
const PATIENCE: Duration = Duration::from_millis(300);

/// A request may be sent. Hand it back with [`Budget::answered`](super::Budget::answered) or
/// [`Budget::failed`](super::Budget::failed).
#[derive(Debug)]
#[must_use = "the breaker learns from what becomes of a request"]
pub struct Admission {
    /// Whether a good answer would change anything.
    success_is_news: bool,
}

impl Admission {
    /// Of a request that is sent whatever the breaker says.
    pub fn unasked() -> Self {
        Self { success_is_news: true }
    }
}

/// A breaker as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests go out.
    Closed,
    /// The endpoint is not called.
    Open {
        /// When the next look at it is due.
        probe_in: Duration,
    },
}

pub(super) struct Breaker {
    endpoint: &'static str,
    state: String,
    failing: String,
    pauses: Pauses,
    connection: Mutex<Connection>,
    /// Of its own for those who only look: a slow look must not keep a request from being asked for.
    looks: Mutex<Connection>,
    /// Whether it is open, as far as this process has heard.
    open: watch::Sender<bool>,
    /// How long Redis may take to answer.
    patience: Duration,
    /// Instead of Redis's own clock: so that a simulated hour takes seconds.
    clock: Option<u64>,
}

impl Breaker {
    /// The breaker under the keys `base:…`, which are those of the endpoint's log.
    pub(super) fn new(connection: Connection, base: &str, endpoint: &'static str, window: Duration) -> Self {
        // A rate over a counter that appears with its first event misses that event.
        counter!("metriqlab_breaker_opened_total", "endpoint" => endpoint).increment(0);
        counter!("metriqlab_breaker_probes_total", "endpoint" => endpoint).increment(0);
        for class in [Class::Interactive, Class::Bulk] {
            let labels = [("endpoint", endpoint), ("class", class.as_str())];
            counter!("metriqlab_breaker_held_total", &labels).increment(0);
        }
        Self {
            endpoint,
            pauses: Pauses::of(window),
            state: key(base),
            failing: format!("{base}:failing"),
            looks: Mutex::new(connection.apart()),
            connection: Mutex::new(connection),
            open: watch::Sender::new(false),
            patience: PATIENCE,
            clock: None,
        }
    }

    /// Sets the clock that the scripts go by from now on. Real time counts for nothing then: a machine that is slow for a
    /// moment must not look like a Redis that is away.
    #[cfg(test)]
    pub(super) fn set_clock(&mut self, micros: u64) {
        self.clock = Some(micros);
        self.patience = Duration::from_secs(30);
    }

    /// Whether a request may be sent; `Err`: not, and when to come back.
    pub(super) async fn admit(&self, class: Class) -> Result<Admission, Duration> {
        let Some((verdict, wait, news)) = self.ask(class, false).await else {
            return Ok(Admission { success_is_news: false });
        };
        if verdict == HELD {
            return Err(self.hold(class, wait));
        }
        if verdict == LOOK {
            counter!("metriqlab_breaker_probes_total", "endpoint" => self.endpoint).increment(1);
        }
        Ok(Admission { success_is_news: news == 1 })
    }

    /// Whether a request would be held now, and when to come back. Takes no look: a request that is not held is still to be
    /// admitted. Costs nothing while the breaker is closed, as far as this process has heard.
    pub(super) async fn held(&self, class: Class) -> Option<Duration> {
        if !*self.open.borrow() {
            return None;
        }
        let (verdict, wait, _) = self.ask(class, true).await?;
        (verdict == HELD).then(|| self.hold(class, wait))
    }

    /// The script's answer; `None` without Redis.
    async fn ask(&self, class: Class, only_asks: bool) -> Option<(u8, u64, u8)> {
        let mut call = ADMIT.prepare_invoke();
        call.key(&self.state).key(&self.failing).arg(or_empty(self.clock));
        call.arg(u8::from(class == Class::Interactive)).arg(micros(self.pauses.interactive));
        call.arg(micros(self.pauses.longest)).arg(u8::from(only_asks));
        match self.invoke::<(u8, u64, u8)>(&call).await {
            Ok(answer) => {
                self.show(answer.0 != CLOSED);
                Some(answer)
            }
            Err(error) => {
                tracing::debug!(endpoint = self.endpoint, error, "the breaker can't be asked");
                None
            }
        }
    }

    fn hold(&self, class: Class, wait: u64) -> Duration {
        counter!("metriqlab_breaker_held_total", "endpoint" => self.endpoint, "class" => class.as_str()).increment(1);
        jittered(Duration::from_micros(wait))
    }

    /// The endpoint gave an answer: good or bad news for the creator, but it works.
    pub(super) async fn answered(&self, admission: Admission) {
        if !admission.success_is_news {
            return;
        }
        let mut call = HEAL.prepare_invoke();
        call.key(&self.state).key(&self.failing);
        match self.invoke::<u8>(&call).await {
            Ok(was_open) => {
                self.show(false);
                if was_open == 1 {
                    tracing::info!(
                        endpoint = self.endpoint,
                        "the platform has recovered: its endpoint is called again"
                    );
                }
            }
            Err(error) => tracing::debug!(endpoint = self.endpoint, error, "the breaker can't be told"),
        }
    }

    /// A request for `account` failed in a way that may pass. `Some`: the endpoint is held by now, come back then.
    pub(super) async fn failed(&self, account: &str) -> Option<Duration> {
        let mut call = FAIL.prepare_invoke();
        call.key(&self.state).key(&self.failing).arg(or_empty(self.clock)).arg(account);
        call.arg(micros(self.pauses.within)).arg(ACCOUNTS).arg(micros(self.pauses.first));
        call.arg(micros(self.pauses.remembered));
        match self.invoke::<(i64, u8)>(&call).await {
            Ok((wait, opened)) => {
                if opened == 1 {
                    counter!("metriqlab_breaker_opened_total", "endpoint" => self.endpoint).increment(1);
                    tracing::warn!(endpoint = self.endpoint, "the platform fails for everybody: its endpoint is held");
                }
                self.show(wait >= 0);
                u64::try_from(wait).ok().map(|wait| jittered(Duration::from_micros(wait)))
            }
            Err(error) => {
                tracing::debug!(endpoint = self.endpoint, error, "the breaker can't be told");
                None
            }
        }
    }

    /// Notes what was heard of it.
    pub(super) fn show(&self, open: bool) {
        show(self.endpoint, f64::from(u8::from(open)));
        self.open.send_if_modified(|before| std::mem::replace(before, open) != open);
    }

    /// Whether it is open, as far as this process has heard.
    pub(super) fn heard(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// A connection to the node that holds the endpoint's keys, for those who only look.
    pub(super) async fn looks(&self) -> MutexGuard<'_, Connection> {
        self.looks.lock().await
    }

    async fn invoke<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, String> {
        let answer = async { self.connection.lock().await.invoke(call).await };
        let answer: RedisResult<T> =
            tokio::time::timeout(self.patience, answer).await.map_err(|late| late.to_string())?;
        answer.map_err(|error| error.to_string())
    }
}

/// Sets the gauge: 1 open, 0 closed, NaN unknown.
pub(super) fn show(endpoint: &'static str, open: f64) {
    gauge!("metriqlab_breaker_open", "endpoint" => endpoint).set(open);
}

/// Where a breaker's state is.
pub(super) fn key(base: &str) -> String {
    format!("{base}:breaker")
}

/// As much, or up to half more: jobs that were held together do not come back together. Never zero.
fn jittered(wait: Duration) -> Duration {
    wait.max(Duration::from_millis(50)).mul_f64(rand::rng().random_range(1.0..=1.5))
}

/// What is rare begins at 0, so that the first time is seen as a rise.
pub(super) fn begin_metrics(endpoint: &'static str) {
    for rare in ["metriqlab_breaker_opened_total", "metriqlab_breaker_probes_total"] {
        counter!(rare, "endpoint" => endpoint).increment(0);
    }
    for class in [Class::Interactive, Class::Bulk] {
        counter!("metriqlab_breaker_held_total", "endpoint" => endpoint, "class" => class.as_str()).increment(0);
    }
}

pub(super) fn describe_metrics() {
    describe_gauge!("metriqlab_breaker_open", "1 while the endpoint is held after an outage");
    describe_counter!("metriqlab_breaker_opened_total", "Times that this process has found an outage");
    describe_counter!("metriqlab_breaker_held_total", "Requests that were not sent because of an outage, by class");
    describe_counter!("metriqlab_breaker_probes_total", "Requests sent during an outage, to see whether it is over");
}
