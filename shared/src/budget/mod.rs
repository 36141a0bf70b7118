//! The fleet's one budget of requests to a platform.
//!
//! A platform allows so many requests to each of its endpoints in a sliding window, for the whole app. The authority is a
//! sliding log in Redis, one per app and endpoint, shared by all processes and kept by one atomic script on Redis's own
//! clock (`scripts/grant.lua`). A permit stands for one request: it is reserved at the grant, and its entry is free again a
//! window and a little slack after the response. Whenever the platform counted that request (at its arrival, somewhere
//! between grant and response), its own window is over by then: so the quota is never exceeded, whatever the latency.
//!
//! Each process has one coordinator a budget and endpoint (`coordinator.rs`), which keeps its callers in two queues, of
//! each group in turn, and asks the log for them: interactive ones first, bulk ones evenly spaced over the fleet.

#[cfg(test)]
mod account;
mod backstop;
mod breaker;
mod connection;
mod coordinator;
#[cfg(test)]
mod faults;
mod log;
mod permit;
#[cfg(test)]
mod simulation;
mod snapshot;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, histogram};
use rand::Rng as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use breaker::Breaker;
use connection::Connection;
use coordinator::{Command, Coordinator, NextTurns, Waiter, WaiterId};
use log::{Limits, SlidingLog};
use permit::Leaving;

pub use breaker::{Admission, BreakerState};
pub use permit::Permit;
pub use snapshot::Snapshot;

use crate::redis_servers::{RedisServers, RedisUrlError};
use crate::turns::Group;

/// How old a permit may get before its request is sent; [`Permit::fresh`] tells. The log counts on it.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// How long a caller waits for a Redis or a Postgres that is out of reach, if its own `max_wait` is not over before.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause that a platform's `Retry-After` can ask for: a slip of theirs must not shut us out for ever.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Who waits for a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for the answer: gets whatever entry is free, before all bulk callers of the fleet.
    Interactive,
    /// Nobody waits: evenly spaced, so that an interactive caller finds an entry soon.
    Bulk,
}

impl Class {
    /// As the metrics say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }
}

/// What the platform allows, and how its requests are made.
#[derive(Debug, Clone, Copy)]
pub struct BudgetSettings {
    /// Requests in a window, to each endpoint.
    pub quota: u32,
    /// The platform's sliding window.
    pub window: Duration,
    /// Added to the window, for clocks that do not run alike.
    pub slack: Duration,
    /// When a request is given up: no answer comes later than this after it was sent.
    pub request_timeout: Duration,
}

/// Requests in a sliding window, to each endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The requests.
    pub requests: u32,
    /// The window.
    pub window: Duration,
}

impl BudgetSettings {
    /// `quota` requests a minute, 50 ms of slack, requests of at most 10 s.
    pub fn per_minute(quota: u32) -> Self {
        Self {
            quota,
            window: Duration::from_secs(60),
            slack: Duration::from_millis(50),
            request_timeout: Duration::from_secs(10),
        }
    }

    fn limits(&self) -> Limits {
        let keep = self.window + self.slack;
        Limits { quota: self.quota.max(1), window: self.window, keep, hold: FRESH_FOR + self.request_timeout + keep }
    }
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// There is none within `max_wait`. Come back after this time: then, not sooner, one may be free.
    #[error("no budget for another {}", humantime::format_duration(*.0))]
    NotBefore(Duration),
    /// Redis or Postgres is out of reach, so nobody can say what is left. Nothing may be sent.
    #[error("the budget can't be read: Redis or Postgres is out of reach")]
    Unavailable,
}

/// A usage log's own error, told to the log alone.
pub type UsageLogError = Box<dyn std::error::Error + Send + Sync>;

/// When each budget was last used, kept where a flush of Redis does not reach: in Postgres. It tells a log that was lost
/// (its entries still count at the platform) from one that never was.
pub trait UsageLog: Send + Sync + 'static {
    /// Notes that `endpoint`'s budget is used now. Called before the request goes out, at most once a second.
    fn touched<'a>(&'a self, app: &'a str, endpoint: &'a str) -> BoxFuture<'a, Result<(), UsageLogError>>;
    /// How long ago that was last noted, by any process; `None` if never.
    fn last_used_age<'a>(
        &'a self,
        app: &'a str,
        endpoint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Duration>, UsageLogError>>;
}

/// Where the callers of one endpoint go, and what they are told of the wait.
#[derive(Clone)]
struct Counter {
    commands: mpsc::UnboundedSender<Command>,
    next_turns: watch::Receiver<Option<NextTurns>>,
}

/// The budget of one app of a platform, by endpoint. One per process and app; cheap to share by reference or `Arc`.
pub struct Budget {
    servers: RedisServers,
    prefix: String,
    app: String,
    /// Tells this process's permits from those of others.
    process: String,
    settings: BudgetSettings,
    usage: Arc<dyn UsageLog>,
    coordinators: Mutex<HashMap<&'static str, Counter>>,
    breakers: Mutex<HashMap<&'static str, Arc<Breaker>>>,
}

impl Budget {
    /// The budget of `app` in the Redis at `url`, under `prefix`. Does not connect yet: it works with Redis away, and
    /// reconnects by itself.
    pub fn new(
        url: &str,
        prefix: &str,
        app: &str,
        settings: BudgetSettings,
        usage: impl UsageLog,
    ) -> Result<Self, RedisUrlError> {
        describe_metrics();
        Ok(Self {
            servers: RedisServers::parse(url)?,
            prefix: prefix.to_owned(),
            app: app.to_owned(),
            process: hex::encode(rand::rng().random::<[u8; 8]>()),
            settings,
            usage: Arc::new(usage),
            coordinators: Mutex::default(),
            breakers: Mutex::default(),
        })
    }

    /// What the platform allows.
    pub fn quota(&self) -> Quota {
        Quota { requests: self.settings.quota.max(1), window: self.settings.window }
    }

    /// Waits for a permit of one request to `endpoint`: at most `max_wait`, and not at all if it is clear that there is
    /// none by then. With none, it waits as long as it takes, but for a Redis out of reach a few seconds only.
    ///
    /// The groups take turns. `interactive` says whether somebody waits for the call; when it turns true, the caller moves to the front queue. A caller that is
    /// dropped loses nothing: a permit on its way to it goes to another. The permit is fresh: one that got old on its way
    /// (this process was stopped, or is overloaded) is given back.
    pub async fn permit(
        &self,
        endpoint: &'static str,
        group: Option<Group>,
        mut interactive: watch::Receiver<bool>,
        max_wait: Option<Duration>,
    ) -> Result<Permit, BudgetError> {
        let deadline = max_wait.and_then(|wait| Instant::now().checked_add(wait));
        loop {
            let permit = self.next_permit(endpoint, group.clone(), &mut interactive, deadline).await?;
            if permit.fresh() {
                return Ok(permit);
            }
            permit.return_unused();
        }
    }

    async fn next_permit(
        &self,
        endpoint: &'static str,
        group: Option<Group>,
        interactive: &mut watch::Receiver<bool>,
        deadline: Option<Instant>,
    ) -> Result<Permit, BudgetError> {
        let began = Instant::now();
        let class = if *interactive.borrow_and_update() { Class::Interactive } else { Class::Bulk };
        let commands = self.counter(endpoint).commands;
        let (answer, answered) = oneshot::channel();
        let id = WaiterId::new();
        let waiter = Waiter { id, group, since: began, deadline, answer, commands: commands.clone() };
        // Only a coordinator that is gone refuses it; then `answer` is dropped, and `answered` says so below.
        let _ = commands.send(Command::Wait(waiter, class));
        let leaving = Leaving(Some(&commands));
        let answer = tokio::select! {
            biased;
            answer = answered => answer.unwrap_or(Err(BudgetError::Unavailable)),
            never = promote_when(interactive, class, id, &commands) => match never {},
            // The coordinator keeps deadlines. This is for one that hangs on a Redis that does not answer.
            () = overdue(deadline) => Err(BudgetError::Unavailable),
        };
        leaving.stay();
        let offer = answer?;
        histogram!("metriqlab_budget_wait_seconds", "endpoint" => endpoint, "class" => class.as_str())
            .record(began.elapsed());
        offer.take().ok_or(BudgetError::Unavailable)
    }

    /// When a caller that waits for `endpoint` now may have its turn: an interactive one of those in front, a bulk one however
    /// many of this process are before it. `None` before the log was asked.
    pub fn next_turn(&self, endpoint: &'static str, class: Class) -> Option<Instant> {
        let turns = *self.counter(endpoint).next_turns.borrow();
        turns.map(|turns| match class {
            Class::Interactive => turns.interactive,
            Class::Bulk => turns.bulk,
        })
    }

    /// A 429 came from `endpoint`, so some other program shares the app: nobody of the fleet gets a permit for
    /// `retry_after`, or, if the platform did not say, for a second, and twice as long at each time that follows closely.
    pub async fn close(&self, endpoint: &'static str, retry_after: Option<Duration>) {
        counter!("metriqlab_budget_closed_total", "endpoint" => endpoint).increment(1);
        let retry_after = retry_after.map(|pause| pause.min(LONGEST_PAUSE));
        match self.log(endpoint).close(retry_after).await {
            Ok(pause) => tracing::warn!(endpoint, ?pause, "too many requests, says the platform: the endpoint pauses"),
            // Without Redis nobody gets a permit anyway.
            Err(error) => tracing::warn!(endpoint, %error, "can't tell the fleet of the platform's 429"),
        }
    }

    /// Asks the breaker of `endpoint`, which may have no quota, before a request is sent. `Err`: it is held after an outage;
    /// when to come back. `budget/breaker.rs` says who is held and who is let through.
    pub async fn admit(&self, endpoint: &'static str, class: Class) -> Result<Admission, Duration> {
        self.breaker(endpoint).admit(class).await
    }

    /// Whether a request to `endpoint` would be held now, and when to come back: asked before a permit is waited for, which
    /// would be wasted. [`admit`](Self::admit) has the last word.
    pub async fn held(&self, endpoint: &'static str, class: Class) -> Option<Duration> {
        self.breaker(endpoint).held(class).await
    }

    /// Whether `endpoint` is held after an outage, as far as this process has heard by its own requests and looks.
    pub(crate) fn heard_of_outage(&self, endpoint: &'static str) -> watch::Receiver<bool> {
        self.breaker(endpoint).heard()
    }

    /// An admitted request was answered, well or not, by a platform that works.
    pub async fn answered(&self, endpoint: &'static str, admission: Admission) {
        self.breaker(endpoint).answered(admission).await;
    }

    /// A request failed in a way that may pass. `account` tells creators apart, and no more. `Some`: it is called an outage
    /// by now, and the endpoint is held; when to come back.
    pub async fn failed(&self, endpoint: &'static str, account: &str) -> Option<Duration> {
        self.breaker(endpoint).failed(account).await
    }

    /// What the names of an endpoint's keys begin with. Its hash tag keeps them on one node of a cluster.
    fn base(&self, endpoint: &str) -> String {
        format!("{}:budget:{{{}:{endpoint}}}", self.prefix, self.app)
    }

    fn connection(&self, base: &str) -> Connection {
        Connection::new(self.servers.clone(), base)
    }

    fn breaker(&self, endpoint: &'static str) -> Arc<Breaker> {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let base = self.base(endpoint);
            Arc::new(Breaker::new(self.connection(&base), &base, endpoint, self.settings.window))
        };
        Arc::clone(breakers.entry(endpoint).or_insert_with(new))
    }

    fn log(&self, endpoint: &str) -> SlidingLog {
        let base = self.base(endpoint);
        SlidingLog::new(self.connection(&base), &base, self.process.clone(), self.settings.limits())
    }

    fn counter(&self, endpoint: &'static str) -> Counter {
        // The map is whole at every instant, so a panic elsewhere that held the lock did it no harm.
        let mut coordinators = self.coordinators.lock().unwrap_or_else(PoisonError::into_inner);
        match coordinators.get(endpoint) {
            Some(counter) if !counter.commands.is_closed() => counter.clone(),
            _ => {
                let (commands, received) = mpsc::unbounded_channel();
                let (told, next_turns) = watch::channel(None);
                let usage = Arc::clone(&self.usage);
                let coordinator =
                    Coordinator::new(self.app.clone(), endpoint, self.log(endpoint), usage, received, told);
                tokio::spawn(coordinator.run());
                let counter = Counter { commands, next_turns };
                coordinators.insert(endpoint, counter.clone());
                counter
            }
        }
    }
}

/// Moves a bulk caller to the front queue when it becomes interactive; else waits for ever.
async fn promote_when(
    interactive: &mut watch::Receiver<bool>,
    class: Class,
    id: WaiterId,
    commands: &mpsc::UnboundedSender<Command>,
) -> std::convert::Infallible {
    if class == Class::Bulk && interactive.wait_for(|now| *now).await.is_ok() {
        let _ = commands.send(Command::Promote(id));
    }
    std::future::pending().await
}

async fn overdue(deadline: Option<Instant>) {
    match deadline.and_then(|at| at.checked_add(PATIENCE / 5)) {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn describe_metrics() {
    breaker::describe_metrics();
    describe_counter!("metriqlab_budget_permits_total", "Permits handed out, by endpoint and class");
    describe_counter!("metriqlab_budget_unused_total", "Permits that came back without a request");
    describe_counter!("metriqlab_budget_closed_total", "Pauses of an endpoint after a 429");
    describe_counter!("metriqlab_budget_lost_total", "Times that an endpoint's log was started anew");
    describe_gauge!("metriqlab_budget_used", "Entries of the endpoint's window that are in use, over the fleet");
    describe_gauge!("metriqlab_budget_quota", "Requests that the endpoint allows in a window");
    describe_gauge!(
        "metriqlab_budget_ceiling",
        "Requests that are granted in a window: less than the quota after a 429"
    );
    describe_gauge!("metriqlab_budget_waiting", "Callers of this process that wait for a permit, by class");
    describe_histogram!("metriqlab_budget_wait_seconds", "How long callers waited for their permit, by class");
}
