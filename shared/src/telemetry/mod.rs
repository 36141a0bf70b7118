//! Logs, metrics, traces, and the process-wide choice of TLS.

mod fleet;
mod log;
mod otlp;
mod process;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::settings::LogSettings;

/// Buckets of every histogram whose name ends in `_seconds`: from a tenth of a millisecond, where a job's way through the
/// queue lies, to a minute, the longest wait of a client.
const SECONDS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// What a job has waited may be more: the backlog of a bulk resync takes hours.
const LONG_WAITS: &[f64] = &[300.0, 1800.0, 3600.0, 6.0 * 3600.0, 24.0 * 3600.0];

/// Why logs or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The process has a log already.
    #[error("the log was set up twice: {0}")]
    Log(#[from] TryInitError),
    /// The process has a recorder already, or the buckets are wrong.
    #[error("the metrics could not be set up: {0}")]
    Metrics(#[from] BuildError),
    /// The exporter of spans refuses its settings.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
    Exporter(String),
    /// The exporter's HTTP client refuses its settings.
    #[error("the exporter of spans could not be set up: {0}")]
    Client(#[source] reqwest::Error),
}

pub use fleet::watch;

/// The process's metrics, which any thread may render.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    scraped: Arc<Mutex<Instant>>,
}

impl Metrics {
    /// All metrics in Prometheus's text format 0.0.4.
    pub fn render(&self) -> String {
        *self.scraped.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.handle.render()
    }

    /// How long nobody has asked for them; at first, how long they have been there.
    fn unscraped_for(&self) -> Duration {
        self.scraped.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Moves what was observed out of the recorder's buffers, which grow otherwise.
    fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The process's log and traces. [`Tracing::shut_down`] it before the end.
#[must_use = "the last spans are exported when it is shut down"]
pub struct Tracing(Option<otlp::Exporter>);

impl std::fmt::Debug for Tracing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tracing").field(&self.0.is_some()).finish()
    }
}

impl Tracing {
    /// Sends the last spans, within three seconds or not at all. Blocks the thread, and needs the runtime that
    /// [`init_log`] was called in.
    pub fn shut_down(self) {
        if let Some(exporter) = self.0 {
            exporter.shut_down();
        }
    }
}

/// Sends the log to standard error and, if the settings name a collector, spans to it as the `service`; `None` is none.
/// Once a process, inside a Tokio runtime, after [`init_tls`]. Without a collector spans cost what the log makes of them.
pub fn init_log(settings: LogSettings, service: Option<&'static str>) -> Result<Tracing, TelemetryError> {
    let exporter = match settings.otlp_endpoint.zip(service) {
        Some((endpoint, service)) => Some(otlp::Exporter::new(endpoint.as_str(), service)?),
        None => None,
    };
    let spans = exporter.as_ref().map(otlp::Exporter::layer);
    let log = log::layer(settings.format, settings.filter);
    tracing_subscriber::registry().with(log).with(spans).try_init()?;
    Ok(Tracing(exporter))
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// Installs the recorder of the `metrics` macros. Once a process.
pub fn init_metrics() -> Result<Metrics, TelemetryError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full("metriqlab_jobs_wait_seconds".into()), &[SECONDS, LONG_WAITS].concat())?
        .install_recorder()?;
    metrics::describe_histogram!(
        "metriqlab_postgres_wait_seconds",
        metrics::Unit::Seconds,
        "How long callers waited for a connection to Postgres"
    );
    Ok(Metrics { handle, scraped: Arc::new(Mutex::new(Instant::now())) })
}

/// Chooses rustls's ring as the process's TLS, which reqwest and redis ask for. Any number of times.
pub fn init_tls() {
    // An error says that one is installed already: then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
