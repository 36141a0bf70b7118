//! What the log says, and how.

use clap::Args;
use strum::EnumString;
use tracing_subscriber::EnvFilter;

use super::SettingsError;
use super::parse::{or_default, quoted};

const FILTER: &str = "RUST_LOG";
const FORMAT: &str = "METRIQLAB_LOG_FORMAT";
/// The HTTP server tells of each of its threads, apalis of each lane.
const DEFAULT_FILTER: &str = "info,actix_server=warn,apalis_core=warn";
const DEFAULT_FORMAT: &str = "text";

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
        })
    }
}
