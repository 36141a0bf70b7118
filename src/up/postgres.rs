//! A private Postgres: loopback alone, a password of its own, all its files in one folder.
//!
//! The folder holds `data`, `password`, `url` (for `psql "$(cat url)"`) and `log`. Only `data` and `password` belong to the
//! account that the server runs as; the folder itself does not, so that this account can't put links in our way.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::process::Command;

use super::account::{Account, give};
use super::binaries;
use super::error::ServerError;
use super::files::{self, PASSAGE, PRIVATE, make_folder};
use super::process::{self, Process};

const NAME: &str = "Postgres";
/// What the name of an unfinished data folder begins with.
const DRAFT: &str = "data.new";
const USER: &str = "metriqlab";
/// How often a start is tried that may succeed the next time.
const ATTEMPTS: u32 = 10;
/// Postgres's own words for its signals: a fast shutdown, then an immediate one, which recovers at the next start.
const STOP: [(Signal, Duration); 2] =
    [(Signal::SIGINT, Duration::from_secs(10)), (Signal::SIGQUIT, Duration::from_secs(5))];

/// How a private Postgres is run.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Its port on loopback; a free one if absent.
    pub port: Option<u16>,
    /// Whether what was committed survives a crash of the machine. Tests do without.
    pub durable: bool,
    /// Connections at a time.
    pub max_connections: u16,
    /// A database to make, if it is not there, and to name in the URL; `postgres` is always there.
    pub database: &'static str,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { port: None, durable: true, max_connections: 100, database: "postgres" }
    }
}

/// A running private Postgres. Dropped, it is killed, and recovers at its next start.
pub struct Postgres {
    process: Process,
    port: u16,
    url: SecretString,
}

impl Postgres {
    /// Starts it in `folder`, which is made if it is not there, but its parent is not. One that an earlier process left
    /// running in that folder is stopped first. Returns when it takes connections.
    pub async fn start(folder: &Path, options: &PostgresOptions) -> Result<Self, ServerError> {
        make_folder(folder, PASSAGE)?;
        let folder = &folder.canonicalize().map_err(ServerError::io("find", folder))?;
        let data = folder.join("data");
        let account = Account::for_data(&data)?;
        stop_leftover(&data).await;
        remove_drafts(folder);
        let major = files::read(&data.join("PG_VERSION"))?;
        let programs = binaries::postgres(major.as_deref(), &data)?;
        if major.is_none() {
            init(&programs, folder, &data, account).await?;
        }
        let password = files::read(&folder.join("password"))?.unwrap_or_default();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = options.port.map_or_else(process::free_port, Ok)?;
            let url = |database: &str| {
                SecretString::from(format!("postgres://{USER}:{password}@127.0.0.1:{port}/{database}"))
            };
            match launch(&programs.postgres, folder, account, options, port, &url("postgres")).await {
                Ok(process) => {
                    make_database(&url("postgres"), options.database).await?;
                    let url = url(options.database);
                    files::write_private(&folder.join("url"), url.expose_secret())?;
                    return Ok(Self { process, port, url });
                }
                Err(error) if attempts == ATTEMPTS => return Err(error),
                // Somebody took the port: the next one.
                Err(error) if options.port.is_none() && process::gave_up_over(&error, "Address already in use") => {}
                // The sessions of a postmaster that was killed notice within moments; nothing tells us when.
                Err(error) if process::gave_up_over(&error, "shared memory block") => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it takes connections, with its password.
    pub fn url(&self) -> &SecretString {
        &self.url
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster's process id, until its end was seen.
    pub fn pid(&self) -> Option<i32> {
        self.process.pid().map(Pid::as_raw)
    }

    /// Waits for an end that nobody asked for, and says what came of it.
    pub async fn died(&mut self) -> ServerError {
        self.process.died().await
    }

    /// Ends it: sessions are cut, and what was committed is on disk. Seconds at most.
    pub async fn stop(self) {
        self.process.stop(&STOP).await;
    }
}

async fn launch(
    program: &Path,
    folder: &Path,
    account: Option<Account>,
    options: &PostgresOptions,
    port: u16,
    url: &SecretString,
) -> Result<Process, ServerError> {
    let data = folder.join("data");
    let mut command = Command::new(program);
    command.arg("-D").arg(&data).stdin(Stdio::null());
    let mut set = |setting: String| {
        command.arg("-c").arg(setting);
    };
    set("listen_addresses=127.0.0.1".into());
    set(format!("port={port}"));
    // No socket: its path may not be longer than 107 bytes, and a folder's may.
    set("unix_socket_directories=".into());
    set(format!("max_connections={}", options.max_connections));
    // Our queries are short; compiling them costs more than it saves.
    set("jit=off".into());
    if !options.durable {
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            set(format!("{setting}=off"));
        }
    }
    let mut process = Process::spawn(NAME, command, account, &data, &folder.join("log"))?;
    process.ready(async || answers(url).await).await?;
    Ok(process)
}

/// Makes the data folder, in a draft that takes its place when it is whole, so that a start that was cut off is no trouble.
/// Each start has a draft of its own: the `initdb` of a start that was killed may live on, and empties its folder when it
/// fails.
async fn init(
    programs: &binaries::Postgres,
    folder: &Path,
    data: &Path,
    account: Option<Account>,
) -> Result<(), ServerError> {
    let draft = folder.join(format!("{DRAFT}.{:016x}", rand::rng().random::<u64>()));
    std::fs::DirBuilder::new().mode(PRIVATE).create(&draft).map_err(ServerError::io("make the folder", &draft))?;
    give(&draft, account)?;
    let password_file = folder.join("password");
    let secret: [u8; 24] = rand::rng().random();
    files::write_private(&password_file, &secret.map(|byte| format!("{byte:02x}")).concat())?;
    give(&password_file, account)?;
    let mut command = Command::new(&programs.initdb);
    command.arg("-D").arg(&draft).args(["-U", USER, "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"]);
    // Not synced: a machine that crashes within the first seconds of a new folder begins anew.
    command.arg("--no-sync").arg("--pwfile").arg(&password_file);
    process::run("initdb", command, account, &draft, &folder.join("log")).await?;
    std::fs::rename(&draft, data).map_err(ServerError::io("make", data))
}

/// Removes what starts that were cut off left. One whose `initdb` still works there may come back: then the next start
/// removes it.
fn remove_drafts(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for draft in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(DRAFT)) {
        if let Err(error) = std::fs::remove_dir_all(draft.path()) {
            tracing::debug!(%error, draft = %draft.path().display(), "an unfinished data folder stays for now");
        }
    }
}

/// Stops a postmaster that a killed process of ours left behind. Postgres sees by itself that the one which wrote
/// `postmaster.pid` is gone, but not that its number has gone to another program, after a reboot say: then the file goes.
async fn stop_leftover(data: &Path) {
    let pid_file = data.join("postmaster.pid");
    let Ok(Some(text)) = files::read(&pid_file) else { return };
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).filter(|pid| *pid > 1);
    let Some(pid) = pid.map(Pid::from_raw) else { return };
    if !process::exists(pid) {
        return;
    }
    // Its folder may have been moved since: then its command line holds the old name.
    let ours = process::command_line(pid).contains(&format!("-D {} ", data.display()))
        || process::working_folder(pid).is_some_and(|folder| folder == data);
    if ours {
        tracing::info!(%pid, "stopping the Postgres that an earlier start left behind");
        let last = (Signal::SIGKILL, Duration::from_secs(5));
        process::end_stranger(pid, &[STOP.as_slice(), &[last]].concat()).await;
    } else {
        // If this fails, Postgres says so itself.
        let _ = std::fs::remove_file(pid_file);
    }
}

async fn connect(url: &SecretString) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url.expose_secret(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn answers(url: &SecretString) -> bool {
    connect(url).await.is_ok()
}

async fn make_database(url: &SecretString, name: &str) -> Result<(), ServerError> {
    let client = connect(url).await?;
    if client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await?.is_none() {
        client.batch_execute(&format!("CREATE DATABASE \"{name}\"")).await?;
    }
    Ok(())
}
