//! The program's processes: started with a clean environment, logged to a file, killed when the test ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// One running process of the program.
pub struct Process {
    child: Child,
    /// Where its standard error goes.
    pub log: PathBuf,
}

/// The program of this build.
pub const THIS_BUILD: &str = env!("CARGO_BIN_EXE_metriqlab");

/// The program, with `arguments`, in an environment that holds `variables` alone.
pub fn program(arguments: &[&str], variables: &[(String, String)], folder: &Path) -> Command {
    command(Path::new(THIS_BUILD), arguments, variables, folder)
}

/// The same of another build's program.
pub fn command(program: &Path, arguments: &[&str], variables: &[(String, String)], folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir(folder);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    if let Ok(path) = std::env::var("PATH") {
        command.env("PATH", path);
    }
    command
}

impl Process {
    /// Starts `metriqlab ARGUMENTS…`; its log is `folder/NAME.log`.
    pub fn start(name: &str, arguments: &[&str], variables: &[(String, String)], folder: &Path) -> Self {
        Self::spawn(name, program(arguments, variables, folder), folder)
    }

    /// The same with a command of one's own.
    pub fn spawn(name: &str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::from(file.try_clone().expect("a second handle")))
            .stderr(Stdio::from(file))
            .kill_on_drop(true)
            .spawn()
            .expect("start the program");
        Self { child, log }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Pid {
        let id = self.child.id().expect("a process that runs");
        Pid::from_raw(i32::try_from(id).expect("a pid"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("signal the process");
    }

    /// Ends it the hard way, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("kill the process");
    }

    /// Asks it to stop, and gives its exit status.
    pub async fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait().await
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().await.expect("wait for the process")
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that its resident memory has ever been, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process's status");
        let line = status.lines().find(|line| line.starts_with(what)).expect("a line of proc(5)");
        let kilobytes: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        kilobytes * 1024
    }
}
