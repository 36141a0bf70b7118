//! Logs, metrics, and the process-wide choice of TLS.

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::settings::{LogFormat, LogSettings};

/// Buckets of every histogram whose name ends in `_seconds`: from a tenth of a millisecond, where a job's way through the
/// queue lies, to a minute, the longest wait of a client.
const SECONDS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Why logs or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The process has a log already.
    #[error("the log was set up twice: {0}")]
    Log(#[from] TryInitError),
    /// The process has a recorder already, or the buckets are wrong.
    #[error("the metrics could not be set up: {0}")]
    Metrics(#[from] BuildError),
}

/// The process's metrics, which any thread may render.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// All metrics in Prometheus's text format 0.0.4.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Moves what was observed out of the recorder's buffers, which grow otherwise. Call it every few seconds.
    pub fn run_upkeep(&self) {
        self.0.run_upkeep();
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Sends the log to standard error. Once a process.
///
/// Whatever the filter asks for, no secret gets into it: `tokio_postgres` writes the values of every statement at `debug`,
/// among them what a creator's consent hangs on, and so it has a level of its own that no setting lifts.
pub fn init_log(settings: LogSettings) -> Result<(), TelemetryError> {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match settings.format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let filter = settings.filter.and(filter_fn(shows_no_values).with_max_level_hint(LevelFilter::TRACE));
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}

fn shows_no_values(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("tokio_postgres") || *metadata.level() <= Level::INFO
}

/// Installs the recorder of the `metrics` macros. Once a process.
pub fn init_metrics() -> Result<Metrics, TelemetryError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
        .install_recorder()?;
    Ok(Metrics(handle))
}

/// Chooses rustls's ring as the process's TLS, which reqwest and redis ask for. Any number of times.
pub fn init_tls() {
    // An error says that one is installed already: then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
