//! A private Redis (or Valkey): loopback alone, a password of its own, an append-only file, nothing ever evicted.
//!
//! Its folder holds `data`, `url` (for `redis-cli -u "$(cat url)"`) and `log`; only `data` belongs to the account that the
//! server runs as.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rand::Rng as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::account::{Account, give};
use super::binaries;
use super::error::ServerError;
use super::files::{self, PASSAGE, PRIVATE, make_folder};
use super::process::{self, Process};

const NAME: &str = "Redis";
/// How often a start is tried that may succeed the next time.
const ATTEMPTS: u32 = 10;
/// On SIGTERM, Redis writes its append-only file out and ends.
const STOP: [(Signal, Duration); 1] = [(Signal::SIGTERM, Duration::from_secs(5))];
/// How long one that was left behind may take to end.
const LEFTOVER_WITHIN: Duration = Duration::from_secs(10);

/// How a private Redis is run.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Its port on loopback; a free one if absent.
    pub port: Option<u16>,
    /// Whether it keeps an append-only file, synced every second.
    pub durable: bool,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { port: None, durable: true }
    }
}

/// A running private Redis. Dropped, it is killed.
pub struct Redis {
    process: Process,
    port: u16,
    url: SecretString,
}

impl Redis {
    /// Starts it in `folder`, which is made if it is not there, but its parent is not. One that an earlier process left
    /// running in that folder is stopped first. Returns when it answers.
    pub async fn start(folder: &Path, options: &RedisOptions) -> Result<Self, ServerError> {
        make_folder(folder, PASSAGE)?;
        let folder = &folder.canonicalize().map_err(ServerError::io("find", folder))?;
        let data = folder.join("data");
        let account = Account::for_data(&data)?;
        let program = binaries::redis()?;
        let earlier = files::read(&folder.join("url"))?;
        if let Some(url) = &earlier {
            stop_leftover(url).await;
        }
        if !data.is_dir() {
            make_folder(&data, PRIVATE)?;
            give(&data, account)?;
        }
        // The password stays what it was, so that a URL outlives a restart on the same port.
        let password = earlier.as_deref().and_then(password_of).unwrap_or_else(new_password);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = options.port.map_or_else(process::free_port, Ok)?;
            let url = SecretString::from(format!("redis://default:{password}@127.0.0.1:{port}"));
            // Before the start: whoever finds this server left behind knows it by its password.
            files::write_private(&folder.join("url"), url.expose_secret())?;
            let config = config(&data, options, port, &password);
            match launch(&program, folder, account, &config, &url).await {
                Ok(process) => return Ok(Self { process, port, url }),
                Err(error) if attempts == ATTEMPTS => return Err(error),
                // Somebody took the port: the next one.
                Err(error) if options.port.is_none() && process::gave_up_over(&error, "Address already in use") => {}
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

    /// Its process id, until its end was seen.
    pub fn pid(&self) -> Option<i32> {
        self.process.pid().map(Pid::as_raw)
    }

    /// Waits for an end that nobody asked for, and says what came of it.
    pub async fn died(&mut self) -> ServerError {
        self.process.died().await
    }

    /// Ends it, its append-only file written out.
    pub async fn stop(self) {
        self.process.stop(&STOP).await;
    }
}

/// The configuration, which Redis reads from its standard input: an argument would show the password to everybody.
fn config(data: &Path, options: &RedisOptions, port: u16, password: &str) -> String {
    let folder = data.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    let appendonly = if options.durable { "yes" } else { "no" };
    format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir \"{folder}\"\ndaemonize no\nsave \"\"\n\
         appendonly {appendonly}\nappendfsync everysec\nmaxmemory-policy noeviction\n"
    )
}

async fn launch(
    program: &Path,
    folder: &Path,
    account: Option<Account>,
    config: &str,
    url: &SecretString,
) -> Result<Process, ServerError> {
    let mut command = Command::new(program);
    command.arg("-").stdin(Stdio::piped());
    let mut process = Process::spawn(NAME, command, account, &folder.join("data"), &folder.join("log"))?;
    if let Some(mut stdin) = process.take_stdin() {
        stdin.write_all(config.as_bytes()).await.map_err(ServerError::io("configure", program))?;
    }
    process.ready(async || answers(url.expose_secret()).await).await?;
    Ok(process)
}

fn new_password() -> String {
    let secret: [u8; 24] = rand::rng().random();
    secret.map(|byte| format!("{byte:02x}")).concat()
}

fn password_of(url: &str) -> Option<String> {
    url::Url::parse(url).ok()?.password().filter(|password| !password.is_empty()).map(str::to_owned)
}

/// Stops a Redis that a killed process of ours left behind. It is ours if it knows the password of that start.
async fn stop_leftover(url: &str) {
    let Ok(mut connection) = connect(url).await else { return };
    tracing::info!("stopping the Redis that an earlier start left behind");
    // The answer is the end of the connection.
    let _: RedisResult<()> = redis::cmd("SHUTDOWN").arg("NOSAVE").query_async(&mut connection).await;
    let deadline = Instant::now() + LEFTOVER_WITHIN;
    while connect(url).await.is_ok() && Instant::now() < deadline {
        // It is no child of ours: nothing tells us its end.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn connect(url: &str) -> RedisResult<MultiplexedConnection> {
    let timeouts = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(Duration::from_secs(1)));
    Client::open(url)?.get_multiplexed_async_connection_with_config(&timeouts).await
}

/// Whether it answers a PING with its password; not yet, while it reads its append-only file.
async fn answers(url: &str) -> bool {
    let Ok(mut connection) = connect(url).await else { return false };
    redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
}
