//! The commands, one file each.

mod api;
mod doctor;
mod healthcheck;
mod jobs;
mod kept;
mod keys;
mod migrate;
mod project;
mod queue;
mod resync;
mod rotate_encryption;
mod sandbox;
mod status;
mod up;
mod users;
mod worker;

use clap::Subcommand;

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    /// The whole system on one machine, with a Postgres and a Redis of its own under `.metriqlab/`
    Up(Box<up::Args>),
    /// The API server alone
    Api(Box<api::Args>),
    /// A worker process alone
    Worker(Box<worker::Args>),
    /// A stand-in for TikTok, for development and tests
    Sandbox(Box<sandbox::Args>),
    /// Applies the migrations to the database, and ends
    Migrate(migrate::Args),
    /// Makes, lists and revokes API keys
    Keys(keys::Args),
    /// Makes users of the dashboard
    Users(users::Args),
    /// Syncs many creators, when the quota has room for them; or sets how often a project's are synced
    Resync(resync::Args),
    /// Checks an installation: settings, servers, keys, the TikTok app; says what is wrong and what to do
    Doctor(Box<doctor::Args>),
    /// Encrypts every stored token with the first key of the list, while everything runs
    RotateEncryption(rotate_encryption::Args),
    /// The fleet at a glance: lanes, workers, quota, creators, and whether the cadence fits the quota
    Status(Box<status::Args>),
    /// Lists jobs, tries dead ones again, puts them away
    Jobs(jobs::Args),
    /// Pauses, resumes and drains a lane of jobs, for the whole fleet at once
    Queue(queue::Args),
    /// Asks a URL, and fails if it does not answer well
    #[command(hide = true)]
    Healthcheck(healthcheck::Args),
}

impl Command {
    /// The name of the service that it is in traces; what only passes by has none.
    pub fn service(&self) -> Option<&'static str> {
        match self {
            Self::Api(_) => Some("metriqlab-api"),
            Self::Worker(_) => Some("metriqlab-worker"),
            Self::Up(_) => Some("metriqlab"),
            _ => None,
        }
    }
}

/// Runs a command to its end.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => up::run(*args).await,
        Command::Api(args) => api::run(&args).await,
        Command::Worker(args) => worker::run(&args).await,
        Command::Sandbox(args) => sandbox::run(&args).await,
        Command::Migrate(args) => migrate::run(&args).await,
        Command::Keys(args) => keys::run(args).await,
        Command::Users(args) => users::run(args).await,
        Command::Resync(args) => resync::run(&args).await,
        Command::Doctor(args) => doctor::run(*args).await,
        Command::RotateEncryption(args) => rotate_encryption::run(&args).await,
        Command::Status(args) => status::run(&args).await,
        Command::Jobs(args) => jobs::run(args).await,
        Command::Queue(args) => queue::run(args).await,
        Command::Healthcheck(args) => healthcheck::run(&args).await,
    }
}
