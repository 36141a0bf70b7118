//! Settings: every one an environment variable and a flag, one struct a section.
//!
//! A command flattens the `…Args` of the sections that it needs; `check` turns each into values that are right, before
//! anything starts. A wrong value is one line that names the variable and says what to do. An empty variable counts as
//! absent, since that is what `NAME=` means in an environment file. Nothing here shows a secret in `Debug`.

mod api;
mod log;
mod network;
mod parse;
mod process;
mod sandbox;
mod servers;
mod tiktok;
mod worker;

pub use api::{ApiArgs, ApiSettings, DEFAULT_BIND, PUBLIC_URL, PublicUrl};
pub use log::{LogArgs, LogFormat, LogSettings};
pub use network::{MalformedNetwork, Network};
pub use process::ShutdownArgs;
pub use sandbox::{
    SANDBOX_BIND, SANDBOX_CLIENT_KEY, SANDBOX_CLIENT_SECRET, SANDBOX_REDIRECT_URIS, SandboxApp, SandboxArgs,
    SandboxLatency, SandboxSettings,
};
pub use servers::{DatabaseArgs, DatabaseSettings, EncryptionArgs, RedisArgs, RedisSettings};
pub use tiktok::{QuotaSettings, TikTokArgs, TikTokSettings};
pub use worker::{ResyncArgs, WorkerArgs, WorkerSettings, resync_every, resync_every_text};

/// A setting that can't be used: one line, never with a secret in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// It is required and absent.
    #[error("{variable} is not set: {remedy}")]
    Missing {
        /// The environment variable.
        variable: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Its value can't be used.
    #[error("{variable}: {problem}")]
    Wrong {
        /// The environment variable.
        variable: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The list of encryption keys can't be used.
    #[error(transparent)]
    EncryptionKey(#[from] crate::crypto::KeyRingError),
}

impl SettingsError {
    fn wrong(variable: &'static str, problem: impl Into<String>) -> Self {
        Self::Wrong { variable, problem: problem.into() }
    }
}
