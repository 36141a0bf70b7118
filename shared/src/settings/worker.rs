//! A worker process.

use std::net::SocketAddr;

use clap::Args;

use super::SettingsError;
use super::parse::{address, number, or_default};

const CONCURRENCY: &str = "METRIQLAB_WORKER_CONCURRENCY";
const METRICS_BIND: &str = "METRIQLAB_METRICS_BIND";
const DEFAULT_CONCURRENCY: &str = "32";
const MAX_CONCURRENCY: usize = 4096;
const OFF: &str = "off";

/// A worker process.
#[derive(Args, Clone)]
#[command(next_help_heading = "Worker")]
pub struct WorkerArgs {
    /// Jobs at a time in one worker process.
    #[arg(long = "concurrency", alias = "worker-concurrency", value_name = "N", env = CONCURRENCY, default_value = DEFAULT_CONCURRENCY)]
    pub worker_concurrency: String,
    /// Address of the worker's `/metrics`, `/healthz` and `/readyz`, or `off`.
    #[arg(long, value_name = "ADDRESS", env = METRICS_BIND, default_value = OFF)]
    pub metrics_bind: String,
}

/// A worker process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Jobs at a time.
    pub concurrency: usize,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; `None` for nowhere.
    pub metrics_bind: Option<SocketAddr>,
}

impl WorkerArgs {
    /// The worker's settings.
    pub fn check(&self) -> Result<WorkerSettings, SettingsError> {
        let concurrency = or_default(&self.worker_concurrency, DEFAULT_CONCURRENCY);
        let metrics_bind = or_default(&self.metrics_bind, OFF);
        Ok(WorkerSettings {
            concurrency: number(CONCURRENCY, concurrency, 1, MAX_CONCURRENCY)?,
            metrics_bind: if metrics_bind == OFF { None } else { Some(address(METRICS_BIND, metrics_bind)?) },
        })
    }
}
