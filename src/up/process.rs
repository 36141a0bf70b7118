//! A server's process, from its start to its end.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::account::{Account, run_as};
use super::error::ServerError;
use super::files;

/// How often a server is asked whether it is there: a start takes a tenth of a second, and nothing tells us its end.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// A start with much to recover may take this long.
const START_WITHIN: Duration = Duration::from_secs(60);

/// A running server. Dropped, it is killed: the way out of a failure and of a panic. [`stop`](Self::stop) is the way to end it.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own, so that a ctrl-C at the terminal reaches us alone. What it says goes
    /// to `log`; its working folder is `folder`, since ours may be out of its reach.
    pub(super) fn spawn(
        name: &'static str,
        mut command: Command,
        account: Option<Account>,
        folder: &Path,
        log: &Path,
    ) -> Result<Self, ServerError> {
        let output = files::open_log(log)?;
        let errors = output.try_clone().map_err(ServerError::io("write", log))?;
        let program = PathBuf::from(command.as_std().get_program());
        run_as(&mut command, account);
        command.current_dir(folder).process_group(0).kill_on_drop(true);
        command.stdout(Stdio::from(output)).stderr(Stdio::from(errors));
        let child = command.spawn().map_err(ServerError::io("start", &program))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// The pipe to its standard input, if the command has one; once.
    pub(super) fn take_stdin(&mut self) -> Option<tokio::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits until `probe` says that the server answers.
    pub(super) async fn ready(&mut self, probe: impl AsyncFn() -> bool) -> Result<(), ServerError> {
        let deadline = Instant::now() + START_WITHIN;
        while !probe().await {
            if let Some(status) = self.child.try_wait().map_err(ServerError::io("wait for", &self.log))? {
                return Err(self.stopped(status));
            }
            if Instant::now() > deadline {
                return Err(ServerError::Late {
                    name: self.name,
                    seconds: START_WITHIN.as_secs(),
                    log: self.log.clone(),
                });
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
        Ok(())
    }

    /// Waits for the end that nobody asked for.
    pub(super) async fn died(&mut self) -> ServerError {
        match self.child.wait().await {
            Ok(status) => self.stopped(status),
            Err(error) => ServerError::io("wait for", &self.log)(error),
        }
    }

    /// Ends the server: each signal in turn, until one has worked within its time; SIGKILL at last.
    pub(super) async fn stop(mut self, signals: &[(Signal, Duration)]) {
        for (signal, patience) in signals {
            let Some(pid) = self.pid() else { return };
            // An error says that the process is gone.
            let _ = kill(pid, *signal);
            if tokio::time::timeout(*patience, self.child.wait()).await.is_ok() {
                return;
            }
        }
        tracing::warn!(server = self.name, "it did not stop when asked: killed");
        let _ = self.child.kill().await;
    }

    /// Its process id, until its end was seen.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }

    fn stopped(&self, status: ExitStatus) -> ServerError {
        ServerError::Stopped { name: self.name, status, last_words: files::last_line(&self.log), log: self.log.clone() }
    }
}

/// Runs a command to its end; what it says goes to `log`, and is quoted if it fails.
pub(super) async fn run(
    name: &'static str,
    mut command: Command,
    account: Option<Account>,
    folder: &Path,
    log: &Path,
) -> Result<(), ServerError> {
    command.stdin(Stdio::null());
    let mut process = Process::spawn(name, command, account, folder, log)?;
    let status = process.child.wait().await.map_err(ServerError::io("wait for", log))?;
    if status.success() { Ok(()) } else { Err(process.stopped(status)) }
}

/// A port of loopback that nobody listens on. Somebody may take it before the server does: then another one is tried.
pub(super) fn free_port() -> Result<u16, ServerError> {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr().map(|address| address.port());
    free().map_err(ServerError::io("find a free port on", Path::new("127.0.0.1")))
}

/// Whether the server gave up and said `words`.
pub(super) fn gave_up_over(error: &ServerError, words: &str) -> bool {
    let ServerError::Stopped { log, .. } = error else { return false };
    std::fs::read(log).is_ok_and(|text| String::from_utf8_lossy(&text).contains(words))
}

/// Whether a process has this id, whoever it belongs to; one that has ended and was not reaped has.
pub(super) fn exists(pid: Pid) -> bool {
    kill(pid, None) != Err(nix::errno::Errno::ESRCH)
}

/// The command line of a process, a space after each word; empty where the process has ended.
pub(super) fn command_line(pid: Pid) -> String {
    if Path::new("/proc/self").exists() {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        return String::from_utf8_lossy(&words).replace('\0', " ");
    }
    // macOS has no /proc.
    let output = std::process::Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output();
    output.map(|output| format!("{} ", String::from_utf8_lossy(&output.stdout).trim())).unwrap_or_default()
}

/// The working folder of a process, where the system tells.
pub(super) fn working_folder(pid: Pid) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Ends a process that is no child of ours: each signal in turn, until one has worked within its time.
pub(super) async fn end_stranger(pid: Pid, signals: &[(Signal, Duration)]) {
    for (signal, patience) in signals {
        if kill(pid, *signal).is_err() {
            return;
        }
        let deadline = Instant::now() + *patience;
        while Instant::now() < deadline {
            if !exists(pid) || command_line(pid).trim().is_empty() {
                return;
            }
            // Its parent is told of its end; we have to look.
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }
}
