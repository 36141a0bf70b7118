//! What the log says, and how.

use clap::Args;
use strum::EnumString;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::SettingsError;
use super::parse::{or_default, quoted};

const FILTER: &str = "RUST_LOG";
const FORMAT: &str = "METRIQLAB_LOG_FORMAT";
/// The HTTP server tells of each of its threads, apalis of each lane.
const DEFAULT_FILTER: &str = "info,actix_server=warn,apalis_core=warn";
const DEFAULT_FORMAT: &str = "text";
const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The address of the traces alone, which goes before the general one.
const OTLP_TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// The log, which goes to standard error.
#[derive(Args, Clone)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// What is logged: a level, or a filter like `info,api=debug`.
    #[arg(long = "log", value_name = "FILTER", env = FILTER, default_value = DEFAULT_FILTER, global = true)]
    pub log_filter: String,
    /// How it is logged: `text` or `json`, one object a line.
    #[arg(long, value_name = "FORMAT", env = FORMAT, default_value = DEFAULT_FORMAT, global = true)]
    pub log_format: String,
    /// Where traces go: the base address of an OpenTelemetry collector that speaks OTLP over HTTP, for example
    /// `http://localhost:4318`. Off if absent; the other `OTEL_` variables are honoured.
    #[arg(long, value_name = "URL", env = OTLP_ENDPOINT, default_value = "", hide_default_value = true, global = true)]
    pub otlp_endpoint: String,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// The log.
#[derive(Debug)]
pub struct LogSettings {
    /// What is logged.
    pub filter: EnvFilter,
    /// How.
    pub format: LogFormat,
    /// The full address that takes traces, if any does.
    pub otlp_endpoint: Option<Url>,
}

impl LogArgs {
    /// The log's settings.
    pub fn check(&self) -> Result<LogSettings, SettingsError> {
        let filter = or_default(&self.log_filter, DEFAULT_FILTER);
        let format = or_default(&self.log_format, DEFAULT_FORMAT);
        Ok(LogSettings {
            filter: EnvFilter::try_new(filter).map_err(|_| {
                let problem = format!("{} is no filter; write one like `info` or `info,api=debug`", quoted(filter));
                SettingsError::wrong(FILTER, problem)
            })?,
            format: format.parse().map_err(|_| {
                SettingsError::wrong(FORMAT, format!("{} is not one of `text` and `json`", quoted(format)))
            })?,
            otlp_endpoint: if is_off() { None } else { otlp_endpoint(&self.otlp_endpoint)? },
        })
    }
}

/// Whether the environment says that nothing is to be exported, by OpenTelemetry's own words.
fn is_off() -> bool {
    let says = |variable, word: &str| std::env::var(variable).is_ok_and(|value| value.eq_ignore_ascii_case(word));
    says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none")
}

/// Where traces go: the address for traces as it is, or their path at the general one.
fn otlp_endpoint(base: &str) -> Result<Option<Url>, SettingsError> {
    let exact = std::env::var(OTLP_TRACES_ENDPOINT).unwrap_or_default();
    let (variable, address) = match (exact.trim(), base.trim()) {
        ("", "") => return Ok(None),
        ("", base) => (OTLP_ENDPOINT, format!("{}/v1/traces", base.trim_end_matches('/'))),
        (exact, _) => (OTLP_TRACES_ENDPOINT, exact.to_owned()),
    };
    let url = Url::parse(&address).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let problem = "it is no address of a collector; write one like `http://localhost:4318`";
    Ok(Some(url.ok_or_else(|| SettingsError::wrong(variable, problem))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_go_to_their_path_at_the_collector() {
        let at = |base: &str| otlp_endpoint(base).map(|url| url.map(String::from));
        assert_eq!(at(""), Ok(None));
        for base in ["http://collector:4318", "http://collector:4318/"] {
            assert_eq!(at(base), Ok(Some("http://collector:4318/v1/traces".into())));
        }
        assert_eq!(at("https://host/otlp"), Ok(Some("https://host/otlp/v1/traces".into())));
        for wrong in ["collector:4318", "grpc://collector", "not a url"] {
            assert!(matches!(at(wrong), Err(SettingsError::Wrong { variable: OTLP_ENDPOINT, .. })), "{wrong}");
        }
    }
}
