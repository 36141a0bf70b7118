//! Budgets for tests, the platform's own count of what arrives, and a Redis that may be stopped.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use shared::budget::{Budget, BudgetError, BudgetSettings, Permit, UsageLog, UsageLogError};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

pub const VIDEOS: &str = "/v2/video/list/";
pub const PROFILE: &str = "/v2/user/info/";

/// When a request is given up.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(200);

/// Longest wait for an answer; only a failing test waits so long.
const SOON: Duration = Duration::from_secs(60);

pub fn redis_url() -> String {
    std::env::var("METRIQLAB_TEST_REDIS_URL").expect(
        "METRIQLAB_TEST_REDIS_URL is not set: run the tests with `make test`, which starts the servers they need",
    )
}

pub fn fresh_prefix() -> String {
    format!("test:{}", Uuid::new_v4())
}

/// `quota` requests in a `window`, given up after [`REQUEST_TIMEOUT`].
pub fn settings(quota: u32, window: Duration) -> BudgetSettings {
    BudgetSettings { quota, window, slack: Duration::from_millis(20), request_timeout: REQUEST_TIMEOUT }
}

/// When a budget was last used, where no flush reaches: what Postgres keeps in production. Shared by all its clones.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<HashMap<String, (Instant, u32)>>>, Arc<AtomicBool>);

impl Notes {
    /// From now on it fails, or works again.
    pub fn set_away(&self, away: bool) {
        self.1.store(away, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), UsageLogError> {
        if self.1.load(Ordering::SeqCst) { Err("Postgres is away".into()) } else { Ok(()) }
    }

    /// How often the use of `endpoint` was noted.
    pub fn count(&self, endpoint: &str) -> u32 {
        self.0.lock().unwrap().get(endpoint).map_or(0, |(_, count)| *count)
    }
}

impl UsageLog for Notes {
    fn touched<'a>(&'a self, _app: &'a str, endpoint: &'a str) -> BoxFuture<'a, Result<(), UsageLogError>> {
        if let Err(error) = self.check() {
            return futures::future::ready(Err(error)).boxed();
        }
        let mut notes = self.0.lock().unwrap();
        let note = notes.entry(endpoint.to_owned()).or_insert((Instant::now(), 0));
        *note = (Instant::now(), note.1 + 1);
        futures::future::ready(Ok(())).boxed()
    }

    fn last_used_age<'a>(
        &'a self,
        _app: &'a str,
        endpoint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Duration>, UsageLogError>> {
        let age = self.0.lock().unwrap().get(endpoint).map(|(at, _)| at.elapsed());
        futures::future::ready(self.check().map(|()| age)).boxed()
    }
}

/// `processes` budgets of one app, each with its own connection and coordinators, as so many processes have.
pub fn fleet(processes: usize, settings: BudgetSettings) -> Vec<Arc<Budget>> {
    let (prefix, notes) = (fresh_prefix(), Notes::default());
    (0..processes).map(|_| Arc::new(budget_at(&redis_url(), &prefix, settings, &notes))).collect()
}

pub fn budget_at(url: &str, prefix: &str, settings: BudgetSettings, notes: &Notes) -> Budget {
    Budget::new(url, prefix, "app", settings, notes.clone()).expect("a good URL")
}

pub fn interactive(yes: bool) -> watch::Receiver<bool> {
    watch::channel(yes).1
}

pub async fn permit(budget: &Budget, is_interactive: bool, max_wait: Duration) -> Result<Permit, BudgetError> {
    budget.permit(VIDEOS, None, interactive(is_interactive), Some(max_wait)).await
}

/// What the log says to an interactive caller. Asked again while it says nothing: a machine that stands still for
/// longer than a caller waits for its word shows nothing of the budget.
pub async fn told(budget: &Budget, endpoint: &'static str, max_wait: Duration) -> Result<Permit, BudgetError> {
    let began = Instant::now();
    loop {
        let told = budget.permit(endpoint, None, interactive(true), Some(max_wait)).await;
        if !matches!(told, Err(BudgetError::Unavailable)) || began.elapsed() > SOON {
            return told;
        }
    }
}

/// One that is free now, without waiting for it.
pub async fn at_once(budget: &Budget) -> Result<Permit, BudgetError> {
    told(budget, VIDEOS, Duration::ZERO).await
}

/// All that can be had at once, without waiting.
pub async fn take_all(budget: &Budget) -> Vec<Permit> {
    let mut permits = Vec::new();
    loop {
        match at_once(budget).await {
            Ok(permit) => permits.push(permit),
            Err(refused) => {
                assert!(matches!(refused, BudgetError::NotBefore(_)), "{refused}");
                return permits;
            }
        }
    }
}

/// The platform's own account: when each request arrived, and whether a client could have sent it so late.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<(Instant, bool)>>>);

impl Arrivals {
    /// One request: `there` to the platform, `back` with its answer.
    pub async fn request(&self, permit: Permit, there: Duration, back: Duration) {
        // In this order: wherever this process stands still from here on, it shows.
        let sent = Instant::now();
        let was_fresh = permit.fresh();
        sleep(there).await;
        let arrived = Instant::now();
        self.0.lock().unwrap().push((arrived, was_fresh && arrived - sent <= REQUEST_TIMEOUT));
        sleep(back).await;
        permit.settle().await;
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Those that a client could have sent so.
    pub fn in_time(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|(_, counts)| *counts).count()
    }

    /// The shortest time in which so many requests came after another one.
    pub fn quickest(&self, number: usize) -> Duration {
        let mut at: Vec<Instant> = self.0.lock().unwrap().iter().map(|(at, _)| *at).collect();
        at.sort_unstable();
        at.windows(number + 1).map(|span| span[number] - span[0]).min().expect("so many requests")
    }

    /// The most requests in any sliding `window`. Those do not count that no client would have sent, for their permit
    /// was stale, or would have given up on their way: this process stood still, and the log need not know of them any
    /// more.
    pub fn most_within(&self, window: Duration) -> usize {
        let mut at: Vec<Instant> =
            self.0.lock().unwrap().iter().filter(|(_, counts)| *counts).map(|(at, _)| *at).collect();
        at.sort_unstable();
        (0..at.len())
            .map(|from| at[from..].iter().take_while(|until| **until - at[from] < window).count())
            .max()
            .unwrap_or(0)
    }
}

/// A Redis of a test's own, that it may flush and stop. It ends with the test.
pub struct OwnRedis {
    directory: TempDir,
    appends: bool,
    process: Option<Child>,
}

impl OwnRedis {
    /// Not started yet.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), appends: true, process: None }
    }

    /// One that forgets all when it is stopped, and waits for no disk when it starts.
    pub fn forgetful() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), appends: false, process: None }
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("redis.sock").display())
    }

    /// Starts it, with what it knew when it was stopped, and waits until it answers. It writes before it answers, and
    /// does not wait for the disk: it is killed here, and its machine is not.
    pub async fn start(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", if self.appends { "yes" } else { "no" }])
            .args(["--appendfsync", "no", "--dir"])
            .arg(self.directory.path())
            .arg("--unixsocket")
            .arg(self.directory.path().join("redis.sock"))
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.process = Some(child);
        let client = redis::Client::open(self.url()).expect("a URL");
        let deadline = Instant::now() + SOON;
        loop {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                && redis::cmd("PING").exec_async(&mut connection).await.is_ok()
            {
                return;
            }
            assert!(Instant::now() < deadline, "redis-server does not start");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// As a crash of the machine's memory would: no goodbye.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it runs");
            process.wait().expect("it ran");
        }
    }

    /// Pauses it (`STOP`) or lets it go on (`CONT`).
    pub fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([&format!("-{signal}"), &process]).status().expect("kill is installed");
        assert!(status.success());
    }

    /// A connection past the budget. It waits for [`SOON`]: redis-rs's own half a second is little where a machine
    /// stands still.
    pub async fn connection(&self) -> MultiplexedConnection {
        let limits = AsyncConnectionConfig::new().set_connection_timeout(Some(SOON)).set_response_timeout(Some(SOON));
        let client = redis::Client::open(self.url()).expect("a URL");
        client.get_multiplexed_async_connection_with_config(&limits).await.expect("Redis runs")
    }

    pub async fn run(&self, command: &str) {
        redis::cmd(command).exec_async(&mut self.connection().await).await.expect("Redis runs");
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill();
    }
}
