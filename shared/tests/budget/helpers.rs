//! Budgets for tests, the platform's own count of what arrives, and a Redis that may be stopped.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use shared::budget::{Budget, BudgetError, BudgetSettings, Permit, UsageLog, UsageLogError};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

pub const VIDEOS: &str = "/v2/video/list/";
pub const PROFILE: &str = "/v2/user/info/";

pub fn redis_url() -> String {
    std::env::var("METRIQLAB_TEST_REDIS_URL").expect(
        "METRIQLAB_TEST_REDIS_URL is not set: run the tests with `make test`, which starts the servers they need",
    )
}

pub fn fresh_prefix() -> String {
    format!("test:{}", Uuid::new_v4())
}

/// `quota` requests in a `window`, given up after 200 ms.
pub fn settings(quota: u32, window: Duration) -> BudgetSettings {
    BudgetSettings { quota, window, slack: Duration::from_millis(20), request_timeout: Duration::from_millis(200) }
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

/// All that can be had at once, without waiting.
pub async fn take_all(budget: &Budget) -> Vec<Permit> {
    let mut permits = Vec::new();
    while let Ok(permit) = permit(budget, true, Duration::ZERO).await {
        permits.push(permit);
    }
    permits
}

/// The platform's own account: when each request arrived.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<Instant>>>);

impl Arrivals {
    /// One request: `there` to the platform, `back` with its answer.
    pub async fn request(&self, permit: Permit, there: Duration, back: Duration) {
        sleep(there).await;
        self.0.lock().unwrap().push(Instant::now());
        sleep(back).await;
        permit.settle().await;
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The shortest time in which so many requests came after another one.
    pub fn quickest(&self, number: usize) -> Duration {
        let mut at = self.0.lock().unwrap().clone();
        at.sort_unstable();
        at.windows(number + 1).map(|span| span[number] - span[0]).min().expect("so many requests")
    }

    /// The most requests in any sliding `window`.
    pub fn most_within(&self, window: Duration) -> usize {
        let mut at = self.0.lock().unwrap().clone();
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
    process: Option<Child>,
}

impl OwnRedis {
    /// Not started yet.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), process: None }
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("redis.sock").display())
    }

    /// Starts it, with what it knew when it was stopped, and waits until it answers.
    pub async fn start(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "yes", "--dir"])
            .arg(self.directory.path())
            .arg("--unixsocket")
            .arg(self.directory.path().join("redis.sock"))
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.process = Some(child);
        let client = redis::Client::open(self.url()).expect("a URL");
        let deadline = Instant::now() + Duration::from_secs(60);
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

    pub async fn run(&self, command: &str) {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis runs");
        redis::cmd(command).exec_async(&mut connection).await.expect("Redis runs");
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill();
    }
}
