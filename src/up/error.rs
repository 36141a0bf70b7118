//! What can keep private servers, and the folder they live in, from working.

use std::path::{Path, PathBuf};

/// Why a server or its folder is not to be had: one line, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The server's program is not installed.
    #[error(
        "{name} is not installed: run `make run`, which installs it, or `{install}`; or set {variable} to a server that runs"
    )]
    NotInstalled {
        /// `Postgres` or `Redis`.
        name: &'static str,
        /// The command of this system's package manager.
        install: String,
        /// The variable that points to a server elsewhere.
        variable: &'static str,
    },
    /// The data was written by a version of Postgres that is not installed.
    #[error("the data in {} was written by Postgres {major}, which is not installed: install that version, or move the folder away to begin anew", data.display())]
    OtherVersion {
        /// The data.
        data: PathBuf,
        /// The version that wrote it.
        major: String,
    },
    /// We are root, which Postgres refuses to be, and there is nobody else to be.
    #[error(
        "Postgres does not run as root, and there is no user `postgres` or `nobody` to run it as: make one, or run this as another user"
    )]
    NoAccount,
    /// The server gave up while it started.
    #[error("{name} stopped ({status}): {last_words} (its log: {})", log.display())]
    Stopped {
        /// `Postgres` or `Redis`.
        name: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last line of its log.
        last_words: String,
        /// The log.
        log: PathBuf,
    },
    /// The server did not answer in time.
    #[error("{name} did not answer within {seconds} s: see its log, {}", log.display())]
    Late {
        /// `Postgres` or `Redis`.
        name: &'static str,
        /// How long we waited.
        seconds: u64,
        /// The log.
        log: PathBuf,
    },
    /// Another process of ours holds the folder.
    #[error("`metriqlab up` runs in this folder already (process {holder}): stop it first, or start in another folder")]
    InUse {
        /// Its process id, as it noted it.
        holder: String,
    },
    /// A query that sets the server up failed.
    #[error("Postgres refused to be set up")]
    Query(#[from] tokio_postgres::Error),
    /// A file or a process could not be handled.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What came of it.
        source: std::io::Error,
    },
}

impl ServerError {
    /// For `map_err`: what was tried, with which path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
