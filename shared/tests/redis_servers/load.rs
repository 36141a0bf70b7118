//! Work to do meanwhile, and what counts it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use shared::budget::{Budget, BudgetError, BudgetSettings, Permit, UsageLog, UsageLogError};
use shared::ids::JobId;
use shared::queue::{Delivery, Final, Lane, Message, Outcome, Queue, Sweep, WorkerPool, WorkerSettings};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::servers::SOON;

pub const ENDPOINT: &str = "/v2/video/list/";

/// How often each job ran.
#[derive(Clone, Default)]
pub struct Runs(Arc<Mutex<HashMap<JobId, usize>>>);

impl Runs {
    pub fn of(&self, id: JobId) -> usize {
        self.0.lock().unwrap().get(&id).copied().unwrap_or(0)
    }

    pub fn missing(&self, jobs: &[Message]) -> usize {
        jobs.iter().filter(|job| self.of(job.id) == 0).count()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

pub fn settings() -> WorkerSettings {
    WorkerSettings {
        concurrency: 8,
        heartbeat: Duration::from_millis(200),
        dead_after: Duration::from_secs(2),
        safety_poll: Duration::from_secs(1),
        retry_after: Duration::from_millis(10),
        unknown_after: Duration::from_millis(300),
    }
}

/// A worker whose jobs take a millisecond, and count.
pub fn worker(queue: &Queue, runs: &Runs) -> WorkerPool {
    let runs = runs.clone();
    WorkerPool::start(queue, settings(), move |delivery: Delivery| {
        let runs = runs.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            *runs.0.lock().unwrap().entry(delivery.message.id).or_default() += 1;
            Outcome::Final(Final::Done)
        }
    })
}

pub fn message() -> Message {
    Message { id: JobId::new(), kind: "noop".to_owned(), trace: None, group: None }
}

/// Pushes until Redis takes it, as a caller does who has a sweeper behind it.
pub async fn push(queue: &Queue, lane: Lane, job: &Message) {
    let began = Instant::now();
    while queue.push(lane, job, None).await.is_err() {
        assert!(began.elapsed() < SOON, "no push");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Pushes jobs into all lanes, one by one, until it is told to stop; gives them.
pub fn pusher(queue: &Queue, mut stop: watch::Receiver<bool>) -> tokio::task::JoinHandle<Vec<Message>> {
    let queue = queue.clone();
    tokio::spawn(async move {
        let mut jobs = Vec::new();
        while !*stop.borrow_and_update() {
            for lane in Lane::ALL {
                let job = message();
                push(&queue, lane, &job).await;
                jobs.push(job);
            }
        }
        jobs
    })
}

/// What the sweeper does: pushes again what no lane knows and what has not run.
pub async fn sweep(queue: &Queue, runs: &Runs, jobs: &[Message]) {
    let open: Vec<JobId> = jobs.iter().map(|job| job.id).filter(|id| runs.of(*id) == 0).collect();
    if let Ok(Sweep::Unknown(unknown)) = queue.unknown(&open).await {
        let lost: Vec<Message> = jobs.iter().filter(|job| unknown.contains(&job.id)).cloned().collect();
        let _ = queue.push_many(Lane::Sync, &lost).await;
    }
}

/// The platform's own account of requests: when each arrived.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<Instant>>>);

impl Arrivals {
    pub fn note(&self) {
        self.0.lock().unwrap().push(Instant::now());
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The most requests in any sliding `window`.
    pub fn most_within(&self, window: Duration) -> usize {
        let at = self.0.lock().unwrap().clone();
        (0..at.len())
            .map(|from| at[from..].iter().take_while(|until| **until - at[from] < window).count())
            .max()
            .unwrap_or(0)
    }
}

/// When the budget was last used, where no failover reaches.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Option<Instant>>>);

impl UsageLog for Notes {
    fn touched<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), UsageLogError>> {
        *self.0.lock().unwrap() = Some(Instant::now());
        futures::future::ready(Ok(())).boxed()
    }

    fn last_used_age<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Duration>, UsageLogError>> {
        let age = self.0.lock().unwrap().map(|at| at.elapsed());
        futures::future::ready(Ok(age)).boxed()
    }
}

pub fn budget(url: &str, prefix: &str, quota: u32, window: Duration, notes: &Notes) -> Arc<Budget> {
    let settings =
        BudgetSettings { quota, window, slack: Duration::from_millis(20), request_timeout: Duration::from_millis(200) };
    Arc::new(Budget::new(url, prefix, "app", settings, notes.clone()).expect("a good URL"))
}

async fn permit(budget: &Budget, max_wait: Duration) -> Result<Permit, BudgetError> {
    budget.permit(ENDPOINT, None, watch::channel(true).1, Some(max_wait)).await
}

/// The log's word on it. Asked again while there is none: in the seconds of a failover, or where this machine stands
/// still.
pub async fn told(budget: &Budget, max_wait: Duration) -> Result<Permit, BudgetError> {
    let began = Instant::now();
    loop {
        let told = permit(budget, max_wait).await;
        if !matches!(told, Err(BudgetError::Unavailable)) || began.elapsed() > SOON {
            return told;
        }
    }
}

/// Makes requests for as long as it may, each noted as it arrives; gives the number of times that there was no budget.
pub fn requester(
    budget: &Arc<Budget>,
    arrivals: &Arrivals,
    mut stop: watch::Receiver<bool>,
) -> tokio::task::JoinHandle<()> {
    let (budget, arrivals) = (Arc::clone(budget), arrivals.clone());
    tokio::spawn(async move {
        while !*stop.borrow_and_update() {
            if let Ok(permit) = permit(&budget, Duration::from_secs(1)).await {
                arrivals.note();
                permit.settle().await;
            }
        }
    })
}
