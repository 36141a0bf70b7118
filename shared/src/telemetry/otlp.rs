//! Spans on their way to an OpenTelemetry collector: protobuf over HTTP, sent by reqwest from a thread of the exporter's own.
//!
//! Whatever becomes of the collector, nobody waits for it: a queue of 2,048 spans lies between, and what does not fit is
//! dropped. The standard variables are honoured: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`
//! (and `_ARG`), `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_*`, `OTEL_SDK_DISABLED`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::{TelemetryError, causes};

/// How long a collector may take for one batch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last spans.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Our own crates: what others trace is not ours to show, and may hold what is nobody's business.
const OURS: [&str; 4] = ["api", "worker", "shared", "metriqlab"];

/// The exporter; [`Exporter::shut_down`] sends what is left.
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Exports to `endpoint`, the full address of the collector's traces, as the service `name` unless the environment has
    /// another. Sends from the runtime that it is called in.
    pub(super) fn new(endpoint: &str, name: &'static str) -> Result<Self, TelemetryError> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(TelemetryError::Client)?;
        let client = Sender { client, runtime: Handle::current(), fails: AtomicBool::new(false) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
        let resource = Resource::builder();
        let resource = if is_named() { resource } else { resource.with_service_name(name) };
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        Ok(Self(provider.build()))
    }

    /// Takes the spans of our own crates, and what they warn of.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let tracer = self.0.tracer("metriqlab");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        let layer = layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
        layer.with_filter(filter_fn(is_exported).with_max_level_hint(LevelFilter::DEBUG))
    }

    /// Sends the last spans, for a bounded time, and ends. Blocks the thread.
    pub(super) fn shut_down(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_WORDS) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Whether the environment names the service.
fn is_named() -> bool {
    let attributes = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty()) || attributes.contains("service.name=")
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    let level = if metadata.is_span() { Level::DEBUG } else { Level::WARN };
    OURS.contains(&root) && *metadata.level() <= level
}

/// reqwest, as the exporter wants it. It runs in our runtime: the exporter's thread has none.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    /// Said once an outage, not once a batch.
    fails: AtomicBool,
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let answer = client.execute(reqwest::Request::try_from(request)?).await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        });
        let result: Result<_, HttpError> = match sent.await {
            Ok(Ok(answer)) => Ok(answer),
            // Without the address: it may hold a password.
            Ok(Err(error)) => Err(error.without_url().into()),
            Err(error) => Err(error.into()),
        };
        self.tell(&result);
        let (status, body) = result?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Ok(response)
    }
}

impl Sender {
    fn tell(&self, result: &Result<(reqwest::StatusCode, Bytes), HttpError>) {
        let trouble = match result {
            Ok((status, _)) if status.is_success() => None,
            Ok((status, _)) => Some(format!("it answers {status}")),
            Err(error) => Some(causes(error.as_ref())),
        };
        match trouble {
            Some(error) if !self.fails.swap(true, Ordering::Relaxed) => {
                tracing::warn!(error, "the OTLP collector takes no spans; they are dropped until it does");
            }
            None if self.fails.swap(false, Ordering::Relaxed) => tracing::info!("the OTLP collector takes spans again"),
            _ => {}
        }
    }
}
