//! What the tests stand on: a running `metriqlab up`, and folders that leave nothing running.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use metriqlab::up::temporary_folder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take here; the machine may be busy with other tests.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How long a stop may take, and as long again as the start took on this machine, as busy as it is. Nothing that is asked to
/// stop waits for longer than 3 s for what runs.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_metriqlab");

/// A running `metriqlab up`, killed when dropped.
pub struct Up {
    pub child: Child,
    pub url: String,
    pub key: String,
    pub dashboard: String,
    /// How long it took until it was ready.
    pub ready_after: Duration,
}

/// The program in `folder`, with nothing of our own environment but PATH.
pub fn program(folder: &Path) -> Command {
    program_at(Path::new(PROGRAM), folder)
}

pub fn program_at(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").expect("PATH is set"));
    command
}

impl Up {
    /// Starts it and waits until it says that it is ready.
    pub fn start(folder: &Path) -> Self {
        Self::start_as(&mut program(folder))
    }

    pub fn start_as(command: &mut Command) -> Self {
        let start = Instant::now();
        let mut child =
            command.arg("up").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start the program");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)).map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut greeting = Vec::new();
        while greeting.last().is_none_or(|line: &String| !line.starts_with("Ctrl-C stops")) {
            match lines.recv_timeout(DEADLINE) {
                Ok(line) => greeting.push(line),
                Err(error) => {
                    let _ = child.kill();
                    let output = child.wait_with_output().expect("its output");
                    panic!("not ready ({error}): {}", String::from_utf8_lossy(&output.stderr));
                }
            }
        }
        let value = |label: &str| {
            let line = greeting.iter().find_map(|line| line.trim().strip_prefix(label));
            line.unwrap_or_else(|| panic!("no {label} in {greeting:?}")).trim().to_owned()
        };
        let (url, key, dashboard) = (value("API  "), value("API key"), value("Dashboard"));
        Self { child, url, key, dashboard, ready_after: start.elapsed() }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("signal it");
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            let limit = STOPS_WITHIN + self.ready_after;
            assert!(start.elapsed() < limit, "it does not stop within {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn kill(mut self) {
        self.child.kill().expect("kill it");
        self.child.wait().expect("its end");
    }

    /// Whether its API knows its key.
    pub fn answers(&self) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        shared::telemetry::init_tls();
        runtime.block_on(async {
            let client = reqwest::Client::new();
            let request = client.get(format!("{}/api/v1/creators", self.url)).header("x-api-key", &self.key);
            request.send().await.is_ok_and(|answer| answer.status() == 200)
        })
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes that work in `folder`, below it, or name it in their command line.
pub fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().expect("the folder");
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let found = entries.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let works_there = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|place| place.starts_with(&folder));
        (!line.is_empty() && (works_there || line.contains(&*folder.to_string_lossy()))).then_some(line)
    });
    found.collect()
}

#[track_caller]
pub fn assert_nothing_runs_in(folder: &Path) {
    let start = Instant::now();
    loop {
        let left = processes_of(folder);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "left behind: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder of a test's own; what still runs in it is killed when it goes, however the test ends.
pub struct Folder(TempDir);

impl Folder {
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        kill_all_in(self.path());
    }
}

pub fn folder() -> Folder {
    Folder(temporary_folder().expect("a folder"))
}

pub fn kill_all_in(folder: &Path) {
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_string_lossy().parse().ok() else { continue };
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|place| place.starts_with(folder)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A failure in one line on standard error, and nothing on standard output.
#[track_caller]
pub fn one_line(output: &Output, status: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
    text
}
