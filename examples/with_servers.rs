//! Runs a command beside a private Postgres and Redis that are gone afterwards: `cargo run --example with-servers -- cargo
//! test --workspace`. The command finds them by `METRIQLAB_TEST_DATABASE_URL` and `METRIQLAB_TEST_REDIS_URL`; its exit
//! status is passed on. Tests run two a core, unless `RUST_TEST_THREADS` says otherwise.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use metriqlab::up::TemporaryServers;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: with-servers COMMAND [ARGUMENT]…");
        return ExitCode::from(2);
    };
    match run(program, words.collect()).await {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            eprintln!("with-servers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(program: OsString, arguments: Vec<OsString>) -> anyhow::Result<ExitStatus> {
    // Before the servers: from here on a signal ends the command, not us, and the servers after it.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let servers = TemporaryServers::start().await?;
    let mut command = Command::new(&program);
    command.args(arguments);
    command.env("METRIQLAB_TEST_DATABASE_URL", servers.postgres.url().expose_secret());
    command.env("METRIQLAB_TEST_REDIS_URL", servers.redis.url().expose_secret());
    // Most tests wait for real servers and real windows most of the time: two a core keep the cores busy.
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        command.env("RUST_TEST_THREADS", (2 * cores).to_string());
    }
    let status = match command.spawn() {
        Ok(mut child) => loop {
            tokio::select! {
                status = child.wait() => break status,
                // A ctrl-C at the terminal has reached the command too: it is of our process group.
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {
                    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
                        // An error says that it has ended.
                        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                    }
                }
            }
        },
        Err(error) => Err(error),
    };
    servers.stop().await;
    status.map_err(|error| anyhow::anyhow!("can't run {}: {error}", program.display()))
}

/// As a shell gives it: 128 and the signal's number for a command that a signal ended.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
