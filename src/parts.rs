//! From settings to the parts that the API and the workers are made of. None of them connects before it is used.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use api::{ApiConfig, ApiServer, FormQuota};
use futures::FutureExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use shared::budget::{Budget, BudgetSettings};
use shared::cadence::Cadence;
use shared::crypto::KeyRing;
use shared::platforms::tiktok::{TikTok, TikTokSettings as TikTokApp};
use shared::queue::{Queue, Waiter};
use shared::settings::{ApiSettings, DatabaseSettings, RedisSettings, TikTokSettings, WorkerSettings};
use shared::store::Store;
use shared::telemetry::Metrics;
use shared::tokens::Tokens;
use worker::{Worker, WorkerConfig};

/// Connections to Postgres of one process: enough to keep it busy, and few enough that ten processes fit into the hundred
/// that a server has by default.
pub const CONNECTIONS: usize = 16;
/// Those of an API process: the handlers have a pool of their own.
pub const API_CONNECTIONS: usize = 2 * CONNECTIONS;
/// How long a statement of the API may take before Postgres ends it: the client gets a 503 (the API itself gives up after
/// 10 s), and the connection is free for others. A worker's may take longer: it erases whole creators.
const API_STATEMENT_TIMEOUT: Duration = Duration::from_secs(8);

/// What every process of the system has.
#[derive(Clone)]
pub struct Parts {
    database_url: SecretString,
    store: Store,
    queue: Queue,
    tiktok: TikTok,
    tokens: Tokens,
    keyring: Arc<KeyRing>,
}

/// The settings that every process of the system needs.
pub struct Common {
    /// Postgres.
    pub database: DatabaseSettings,
    /// Redis.
    pub redis: RedisSettings,
    /// The keys of the tokens at rest.
    pub keyring: KeyRing,
    /// The TikTok app.
    pub tiktok: TikTokSettings,
}

impl Parts {
    /// The parts of one process. `redirect_uri` is where TikTok sends a creator's browser; a worker has no use for it.
    /// Must be called inside a Tokio runtime.
    pub fn new(common: Common, redirect_uri: String) -> anyhow::Result<Self> {
        let Common { database, redis, keyring, tiktok: app } = common;
        let store = Store::open(&database.url, CONNECTIONS)?;
        let redis_url = redis.url.expose_secret();
        let queue = Queue::connect(redis_url, &redis.prefix)?;
        let limits = BudgetSettings { window: app.rate_window, ..BudgetSettings::per_minute(app.rate_per_minute) };
        let budget = Budget::new(redis_url, &redis.prefix, &app.client_key, limits, store.clone())?;
        let app_name = app.client_key.clone();
        let tiktok = TikTok::new(
            TikTokApp {
                client_key: app.client_key,
                client_secret: app.client_secret,
                auth_url: app.auth_url,
                api_url: app.api_url,
                pkce: app.pkce,
                scopes: app.scopes,
                redirect_uri,
                request_timeout: limits.request_timeout,
            },
            Arc::new(budget),
        )?;
        let keyring = Arc::new(keyring);
        let tokens = Tokens::new(store.clone(), tiktok.clone(), Arc::clone(&keyring), app_name);
        Ok(Self { database_url: database.url, store, queue, tiktok, tokens, keyring })
    }

    /// Starts the API, on `listener` if that is bound to its address already. `cadence` is as the workers have it.
    pub async fn start_api(
        self,
        settings: ApiSettings,
        listener: Option<TcpListener>,
        grace: Duration,
        metrics: Metrics,
        cadence: Cadence,
    ) -> anyhow::Result<ApiServer> {
        let Self { database_url, queue, tiktok, tokens, keyring, .. } = self;
        let store = Store::open_with_timeout(&database_url, CONNECTIONS, API_STATEMENT_TIMEOUT)?;
        let finals = store.clone();
        let waiter = Waiter::start(&queue, move |ids| {
            let store = finals.clone();
            async move { store.last_words(&ids).await }.boxed()
        });
        tokio::spawn(shared::telemetry::watch(metrics.clone(), store.clone(), queue.clone(), tiktok.clone()));
        let bind = settings.bind;
        let forms = FormQuota::default();
        let config =
            ApiConfig { settings, grace, store, queue, waiter, tiktok, tokens, keyring, metrics, cadence, forms };
        let started = match listener {
            Some(listener) => api::start_on(listener, config).await,
            None => api::start(config).await,
        };
        started.map_err(|error| anyhow::anyhow!("METRIQLAB_BIND: can't listen on {bind}: {error}"))
    }

    /// Starts a worker. `metrics` is what it serves, if it serves any.
    pub fn start_worker(
        self,
        settings: WorkerSettings,
        grace: Duration,
        metrics: Option<Metrics>,
    ) -> anyhow::Result<Worker> {
        let Self { store, queue, tiktok, tokens, .. } = self;
        Ok(worker::start(WorkerConfig { settings, grace, store, queue, tokens, tiktok, metrics })?)
    }

    /// Postgres.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
