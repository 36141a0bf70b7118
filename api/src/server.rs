//! The server's life: bind, serve, stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::web::Data;
use shared::cadence::Cadence;
use shared::crypto::KeyRing;
use shared::overview::Looker;
use shared::platforms::tiktok::TikTok;
use shared::queue::{ProgressEar, Queue, Waiter};
use shared::settings::ApiSettings;
use shared::store::Store;
use shared::telemetry::Metrics;
use shared::tokens::Tokens;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{Api, build};
use crate::auth::KeyCache;
use crate::console::{Console, FormQuota};
use crate::error_docs::ErrorDocs;
use crate::limits::Limits;
use crate::observe::describe_metrics;
use crate::routes::health::Probe;

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may idle between two requests; above the minute that most proxies keep theirs.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a connection that is being closed may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests per minute of an address that shows no good key.
const STRANGERS_PER_MINUTE: u32 = 600;
/// Between two clean-ups of the limits' memory.
const UPKEEP: Duration = Duration::from_secs(30);

/// What the server is made of.
pub struct ApiConfig {
    /// The API's section of the settings.
    pub settings: ApiSettings,
    /// How long [`ApiServer::stop`] waits for requests that are under way.
    pub grace: Duration,
    /// Postgres.
    pub store: Store,
    /// Redis's lanes.
    pub queue: Queue,
    /// Who is told of a job's last word.
    pub waiter: Waiter,
    /// TikTok's client.
    pub tiktok: TikTok,
    /// Tokens at rest.
    pub tokens: Tokens,
    /// Seals what is stored and holds a secret.
    pub keyring: Arc<KeyRing>,
    /// The process's metrics.
    pub metrics: Metrics,
    /// The schedule, as the workers have it: for the forecast.
    pub cadence: Cadence,
    /// How many forms a session of the dashboard may send.
    pub forms: FormQuota,
}

/// A running server.
pub struct ApiServer {
    addr: SocketAddr,
    handle: ServerHandle,
    stopping: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
    upkeep: JoinHandle<()>,
}

/// Binds `settings.bind` and serves; see [`start_on`].
pub async fn start(config: ApiConfig) -> io::Result<ApiServer> {
    let listener = TcpListener::bind(config.settings.bind)?;
    start_on(listener, config).await
}

/// Serves in the background, on threads of its own, on a listener that is bound already: for who must know the port before
/// there is a server. Must be called inside a Tokio runtime, on which what outlives a request runs.
pub async fn start_on(listener: TcpListener, config: ApiConfig) -> io::Result<ApiServer> {
    describe_metrics();
    let stopping = CancellationToken::new();
    let addr = listener.local_addr()?;
    let grace = config.grace;
    let api = Data::new(state(config, stopping.clone()));
    let shared = Data::clone(&api);
    let server = HttpServer::new(move || build(Data::clone(&shared)))
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(CLOSE_TIMEOUT)
        .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
        .shutdown_timeout(grace.as_secs().max(1))
        .disable_signals()
        .listen(listener)?
        .run();
    let handle = server.handle();
    let serving = tokio::spawn(server);
    let upkeep = tokio::spawn(keep_up(api));
    Ok(ApiServer { addr, handle, stopping, serving, upkeep })
}

fn state(config: ApiConfig, stopping: CancellationToken) -> Api {
    Api {
        limits: Limits::new(config.settings.rate_per_minute, STRANGERS_PER_MINUTE),
        keys: KeyCache::default(),
        console: Console::new(config.forms),
        looker: Looker::of(config.store.clone(), config.queue.clone(), &config.tiktok, config.cadence),
        readiness: Probe::default(),
        error_docs: ErrorDocs::under(&config.settings.public_url),
        settings: config.settings,
        store: config.store,
        progress: ProgressEar::start(&config.queue),
        queue: config.queue,
        waiter: config.waiter,
        tiktok: config.tiktok,
        tokens: config.tokens,
        keyring: config.keyring,
        metrics: config.metrics,
        stopping,
        runtime: Handle::current(),
    }
}

async fn keep_up(api: Data<Api>) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        api.limits.forget_quiet();
        api.console.forget_quiet();
    }
}

impl ApiServer {
    /// Where it listens: the real port, also if 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops accepting, answers 202 to who waits for a job, ends the streams, and finishes what is under way, for the grace at most.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.handle.stop(true).await;
        self.upkeep.abort();
        match self.serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the server ended with an error"),
            Err(error) => tracing::warn!(%error, "the server's task ended early"),
        }
    }
}
