//! A worker: does the jobs, keeps the schedule, sweeps up what Redis forgot, and tells how it is.

mod health;
mod jobs;
mod lanes;
mod measure;
mod outage;
mod pace;
mod pruner;
mod scheduler;
mod sweeper;
mod watchdog;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shared::platforms::tiktok::TikTok;
use shared::queue::{Gates, ProgressVoice, Queue, WorkerPool};
use shared::settings::WorkerSettings;
use shared::store::Store;
use shared::store::paces::Pace;
use shared::telemetry::Metrics;
use shared::tokens::Tokens;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a stop waits for the renewals of tokens that are under way: a call to the platform, which takes 12 s with its
/// turn, and a write.
const SETTLE: Duration = Duration::from_secs(15);

/// How long a deaf worker's stop may take beyond the grace before its process is ended the hard way.
const TO_STOP: Duration = Duration::from_secs(30);

/// What a worker works with.
pub struct WorkerConfig {
    /// How much it does at a time, and where it tells how it is.
    pub settings: WorkerSettings,
    /// How long [`Worker::stop`] waits for the jobs that run.
    pub grace: Duration,
    /// Postgres.
    pub store: Store,
    /// Redis.
    pub queue: Queue,
    /// The tokens.
    pub tokens: Tokens,
    /// TikTok, with the fleet's budget of calls to it.
    pub tiktok: TikTok,
    /// The process's metrics, if they are to be served.
    pub metrics: Option<Metrics>,
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address of metrics and health can't be had.
    #[error("METRIQLAB_METRICS_BIND: can't listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// There is no thread left.
    #[error("can't start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running worker.
pub struct Worker {
    pool: WorkerPool,
    tokens: Tokens,
    grace: Duration,
    /// Ends sweeper, scheduler, pruner, the look at the lanes and the word on the pace.
    stopping: CancellationToken,
    background: TaskTracker,
    health: Option<health::Server>,
    /// Cancelled when the worker is found deaf; none, if nobody looks.
    deaf: Option<CancellationToken>,
}

/// Starts a worker. It needs neither Postgres nor Redis to start: it goes to work when they are there.
pub fn start(config: WorkerConfig) -> Result<Worker, StartError> {
    measure::describe();
    let WorkerConfig { settings, grace, store, queue, tokens, tiktok, metrics } = config;
    let context = Arc::new(jobs::Context {
        store: store.clone(),
        queue: queue.clone(),
        tokens: tokens.clone(),
        tiktok: tiktok.clone(),
        voice: ProgressVoice::start(&queue),
        cadence: settings.cadence,
    });
    let pool_settings =
        shared::queue::WorkerSettings { concurrency: settings.concurrency, ..shared::queue::WorkerSettings::default() };
    let pace = Pace { cadence: settings.cadence, quota: tiktok.quota() };
    let gates = Gates::closed();
    let pool = WorkerPool::start_gated(&queue, pool_settings, &gates, move |delivery| {
        jobs::handle(Arc::clone(&context), delivery)
    });
    let (liveness, is_measured) = (pool.liveness(), metrics.is_some());
    let health = match settings.metrics_bind {
        Some(address) => {
            let liveness = liveness.clone();
            let (store, queue, slots) = (store.clone(), queue.clone(), settings.concurrency);
            let state = health::State::new(store, queue, liveness, metrics, slots);
            Some(health::serve(address, state, tiktok.clone()).map_err(|source| StartError::Bind { address, source })?)
        }
        None => None,
    };
    let (stopping, background) = (CancellationToken::new(), TaskTracker::new());
    if is_measured {
        let measuring = measure::watch(settings.concurrency, liveness.clone());
        background.spawn(stopping.clone().run_until_cancelled_owned(measuring));
    }
    let watched =
        |after| watchdog::start(after, liveness.clone(), &queue, stopping.clone(), grace.saturating_add(TO_STOP));
    let deaf = settings.deaf_after.map(watched).transpose()?;
    background.spawn(stopping.clone().run_until_cancelled_owned(sweeper::run(store.clone(), queue.clone())));
    let (held, lanes) = watch::channel(None);
    background.spawn(stopping.clone().run_until_cancelled_owned(lanes::run(store.clone(), gates.clone(), held)));
    let (holds, outage) = watch::channel(false);
    background.spawn(stopping.clone().run_until_cancelled_owned(outage::run(tiktok.clone(), gates, holds)));
    let scheduler = scheduler::run(store.clone(), queue, settings.cadence.every, lanes, outage);
    background.spawn(stopping.clone().run_until_cancelled_owned(scheduler));
    background.spawn(stopping.clone().run_until_cancelled_owned(pace::run(store.clone(), pace)));
    background.spawn(stopping.clone().run_until_cancelled_owned(pruner::run(store, settings.history_keep)));
    Ok(Worker { pool, tokens, grace, stopping, background, health, deaf })
}

impl Worker {
    /// The address of metrics and health, if they are served.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(health::Server::addr)
    }

    /// Waits until the worker is found deaf, if that is looked for: it lives, and fetches nothing although Redis answers. Stop
    /// it then, soon: after the grace and half a minute its process ends by itself.
    pub async fn deaf(&self) {
        match &self.deaf {
            Some(deaf) => deaf.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Takes no new job, finishes what runs within the grace, gives the rest back, and saves every renewed token.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.background.close();
        self.pool.stop(self.grace).await;
        self.background.wait().await;
        // Bounded: with Postgres away there is nowhere to save to.
        let _ = tokio::time::timeout(SETTLE, self.tokens.settle()).await;
        if let Some(health) = self.health {
            health.stop().await;
        }
    }
}
