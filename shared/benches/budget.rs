//! What a permit costs: how fast one comes at idle, and how many a second, beside plain INCRs on the same server.
//!
//! `make bench BENCHES=budget`; it needs `METRIQLAB_TEST_REDIS_URL`.

#![expect(clippy::expect_used, reason = "a benchmark that can't go on must say why")]

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use shared::budget::{Budget, BudgetSettings, UsageLog, UsageLogError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

const CALLERS: u32 = 64;
const PER_CALLER: u32 = 2_000;

/// Keeps nothing: what is measured is Redis and the coordinator.
struct Nowhere;

impl UsageLog for Nowhere {
    fn touched<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), UsageLogError>> {
        futures::future::ready(Ok(())).boxed()
    }

    fn last_used_age<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Duration>, UsageLogError>> {
        futures::future::ready(Ok(None)).boxed()
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let url = std::env::var("METRIQLAB_TEST_REDIS_URL").expect("set METRIQLAB_TEST_REDIS_URL, or run `make bench`");
    let connection =
        redis::Client::open(url.as_str()).expect("a URL").get_connection_manager().await.expect("Redis runs");
    let counter = format!("bench:{}", Uuid::new_v4());
    let increments = per_second(|| {
        let (mut connection, counter) = (connection.clone(), counter.clone());
        async move {
            for _ in 0..PER_CALLER {
                redis::cmd("INCR").arg(&counter).exec_async(&mut connection).await.expect("Redis runs");
            }
        }
    })
    .await;
    redis::cmd("DEL").arg(&counter).exec_async(&mut connection.clone()).await.expect("Redis runs");

    let budget = Arc::new(budget(&url));
    let mut waits = Vec::new();
    for _ in 0..2_000 {
        let asked = Instant::now();
        one_permit(&budget).await;
        waits.push(asked.elapsed());
    }
    waits.sort_unstable();
    let part = |of: usize| waits.get(waits.len() * of / 100).copied().unwrap_or_default();
    let permits = per_second(|| {
        let budget = Arc::clone(&budget);
        async move {
            for _ in 0..PER_CALLER {
                one_permit(&budget).await;
            }
        }
    })
    .await;

    println!("permit at idle: {:?} p50, {:?} p99", part(50), part(99));
    println!("permits granted and settled, {CALLERS} callers: {permits:.0}/s");
    println!("for comparison, INCR, {CALLERS} callers on one connection: {increments:.0}/s");
}

/// A quota that is never used up.
fn budget(url: &str) -> Budget {
    let settings = BudgetSettings { window: Duration::from_secs(1), ..BudgetSettings::per_minute(10_000_000) };
    Budget::new(url, &format!("bench:{}", Uuid::new_v4()), "app", settings, Nowhere).expect("a URL")
}

async fn one_permit(budget: &Budget) {
    budget.permit("endpoint", None, watch::channel(true).1, None).await.expect("Redis runs").settle().await;
}

/// How often a second `CALLERS` tasks, each of which does something `PER_CALLER` times, do it.
async fn per_second<F: Future<Output = ()> + Send + 'static>(caller: impl Fn() -> F) -> f64 {
    let began = Instant::now();
    let tasks: JoinSet<()> = (0..CALLERS).map(|_| caller()).collect();
    tasks.join_all().await;
    f64::from(CALLERS * PER_CALLER) / began.elapsed().as_secs_f64()
}
