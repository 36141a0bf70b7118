//! What every long-running process has.

use std::time::Duration;

use clap::Args;

use super::SettingsError;
use super::parse::{duration, or_default};

const SHUTDOWN_GRACE: &str = "METRIQLAB_SHUTDOWN_GRACE";
const DEFAULT_GRACE: &str = "30s";
const MAX_GRACE: Duration = Duration::from_secs(3600);

/// How a process ends.
#[derive(Args, Clone)]
pub struct ShutdownArgs {
    /// How long a stop waits for what runs.
    #[arg(long, value_name = "TIME", env = SHUTDOWN_GRACE, default_value = DEFAULT_GRACE)]
    pub shutdown_grace: String,
}

impl ShutdownArgs {
    /// The grace; at most an hour.
    pub fn check(&self) -> Result<Duration, SettingsError> {
        duration(SHUTDOWN_GRACE, or_default(&self.shutdown_grace, DEFAULT_GRACE), MAX_GRACE)
    }
}
