//! `metriqlab up` as people run it: its start, its end however it comes, and what the next start finds.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by them")]

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use metriqlab::up::{TemporaryServers, temporary_folder};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use secrecy::ExposeSecret as _;
use shared::api_key::ApiKey;
use shared::store::Store;
use shared::store::members::Actor;
use tempfile::TempDir;

/// How long anything may take here; the machine may be busy with other tests.
const DEADLINE: Duration = Duration::from_secs(60);
const PROGRAM: &str = env!("CARGO_BIN_EXE_metriqlab");
/// The user of a run that is not root's.
const NOBODY: u32 = 65534;

/// A running `metriqlab up`, killed when dropped.
struct Up {
    child: Child,
    url: String,
    key: String,
    dashboard: String,
}

/// The program in `folder`, with nothing of our own environment but PATH.
fn program(folder: &Path) -> Command {
    program_at(Path::new(PROGRAM), folder)
}

fn program_at(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").expect("PATH is set"));
    command
}

impl Up {
    /// Starts it and waits until it says that it is ready.
    fn start(folder: &Path) -> Self {
        Self::start_as(&mut program(folder))
    }

    fn start_as(command: &mut Command) -> Self {
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
        Self { url: value("API  "), key: value("API key"), dashboard: value("Dashboard"), child }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("signal it");
    }

    /// Asks it to stop, and waits until it has.
    fn stop(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "it does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn kill(mut self) {
        self.child.kill().expect("kill it");
        self.child.wait().expect("its end");
    }

    /// Whether its API knows its key.
    fn answers(&self) -> bool {
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
fn processes_of(folder: &Path) -> Vec<String> {
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
fn assert_nothing_runs_in(folder: &Path) {
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
struct Folder(TempDir);

impl Folder {
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        kill_all_in(self.path());
    }
}

fn folder() -> Folder {
    Folder(temporary_folder().expect("a folder"))
}

/// A folder outside of the test's own, removed when dropped.
struct Elsewhere(PathBuf);

impl Drop for Elsewhere {
    fn drop(&mut self) {
        kill_all_in(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn kill_all_in(folder: &Path) {
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_string_lossy().parse().ok() else { continue };
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|place| place.starts_with(folder)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A failure in one line on standard error, and nothing on standard output.
#[track_caller]
fn one_line(output: &Output, status: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
    text
}

#[test]
fn the_next_start_finds_everything_again() {
    let folder = folder();
    let first = Up::start(folder.path());
    assert!(first.answers());
    let key = first.key.clone();
    let encryption_key = std::fs::read_to_string(folder.path().join(".metriqlab/encryption-key")).expect("a key");
    assert!(first.stop(Signal::SIGTERM).success());
    assert_nothing_runs_in(folder.path());

    let second = Up::start(folder.path());
    assert_eq!(second.key, key);
    assert!(second.answers());
    let again = std::fs::read_to_string(folder.path().join(".metriqlab/encryption-key")).expect("a key");
    assert_eq!(again, encryption_key);
    assert!(second.stop(Signal::SIGINT).success());
    assert_nothing_runs_in(folder.path());
}

#[test]
fn the_dashboard_has_a_link_until_it_has_an_owner() {
    let folder = folder();
    let up = Up::start(folder.path());
    let join = format!("{}/console/join/", up.url);
    assert!(up.dashboard.starts_with(&join), "{}", up.dashboard);
    let made = program(folder.path())
        .args(["users", "create", "ada@example.com", "--project", "another"])
        .output()
        .expect("run it");
    let link = String::from_utf8(made.stdout).expect("text");
    assert!(link.starts_with(&format!("{}/console/password/", up.url)) && link.lines().count() == 1, "{link}");
    let log = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(!log.contains(link.trim().rsplit('/').next().expect("a token")), "{log}");
    assert!(log.contains("the first operator of this installation"), "{log}");
    let said = |args: &[&str]| {
        let output = program(folder.path()).args(["users", "create"]).args(args).output().expect("run it");
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(!said(&["eve@example.com"]).contains("operator"));
    // A new link for the password: the one above works no longer.
    let bob = "bob@example.com";
    assert!(said(&[bob, "--operator"]).contains("an operator of this installation"));
    assert!(said(&[bob, "--no-operator"]).contains("no operator of this installation"));
    let first = up.dashboard.clone();
    for (page, status) in [(&first, 200), (&link.trim().to_owned(), 200), (&format!("{join}nonsense"), 410)] {
        assert_eq!(status_of(page), status, "{page}");
    }
    assert!(up.stop(Signal::SIGTERM).success());
    let again = Up::start(folder.path());
    assert!(again.dashboard.starts_with(&format!("{}/console/join/", again.url)) && again.dashboard != first);
    let token = first.rsplit('/').next().expect("a token");
    assert_eq!(status_of(&format!("{}/console/join/{token}", again.url)), 410, "the new one has taken its place");
    again.stop(Signal::SIGTERM);
}

fn status_of(url: &str) -> u16 {
    shared::telemetry::init_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { reqwest::get(url).await.expect("an answer").status().as_u16() })
}

#[test]
fn secrets_are_for_the_owner_alone() {
    let folder = folder();
    let up = Up::start(folder.path());
    for file in ["encryption-key", "api-key", "postgres/url", "postgres/password", "redis/url"] {
        let found = folder.path().join(".metriqlab").join(file).metadata().expect(file);
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{file}");
    }
    let password = std::fs::read_to_string(folder.path().join(".metriqlab/postgres/password")).expect("a password");
    let shown = processes_of(folder.path());
    assert!(!shown.is_empty() && shown.iter().all(|line| !line.contains(&password)), "{shown:#?}");
    up.stop(Signal::SIGTERM);
}

#[test]
fn a_killed_up_is_no_trouble_to_the_next() {
    let folder = folder();
    let first = Up::start(folder.path());
    let key = first.key.clone();
    first.kill();
    assert!(!processes_of(folder.path()).is_empty(), "the servers outlive a killed `up`: else this test shows nothing");

    let second = Up::start(folder.path());
    assert_eq!(second.key, key);
    assert!(second.answers());
    assert!(second.stop(Signal::SIGTERM).success());
    assert_nothing_runs_in(folder.path());
}

#[test]
fn a_start_that_was_cut_off_is_no_trouble_to_the_next() {
    let folder = folder();
    let mut command = program(folder.path());
    let mut first = command.arg("up").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start the program");
    let start = Instant::now();
    while drafts_in(folder.path()).is_empty() {
        assert!(start.elapsed() < DEADLINE, "it makes no data folder");
        std::thread::sleep(Duration::from_millis(1));
    }
    first.kill().expect("kill it");
    first.wait().expect("its end");
    let left = drafts_in(folder.path());
    assert!(!left.is_empty(), "the first start was too quick to be cut off: else this test shows nothing");

    // The first one's `initdb` may live on, and empties its folder if it fails: here it does so all the time.
    let (done, is_done) = mpsc::channel::<()>();
    let stranger = std::thread::spawn(move || {
        while is_done.recv_timeout(Duration::from_millis(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            for entry in left.iter().filter_map(|draft| std::fs::read_dir(draft).ok()).flatten().flatten() {
                let _ = std::fs::remove_dir_all(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
            }
        }
    });
    let second = Up::start(folder.path());
    drop(done);
    stranger.join().expect("its end");
    assert!(second.answers());
    assert!(second.stop(Signal::SIGTERM).success());
    assert_nothing_runs_in(folder.path());

    let third = Up::start(folder.path());
    assert!(third.stop(Signal::SIGTERM).success());
    assert_eq!(drafts_in(folder.path()), Vec::<PathBuf>::new());
}

/// The data folders of Postgres that are not whole yet.
fn drafts_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join(".metriqlab/postgres")).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("data.new"))).collect()
}

#[test]
fn a_signal_ends_a_start_too() {
    let folder = folder();
    let mut command = program(folder.path());
    let child = command.arg("up").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start the program");
    let up = Up { child, url: String::new(), key: String::new(), dashboard: String::new() };
    let start = Instant::now();
    while !folder.path().join(".metriqlab/postgres").exists() {
        assert!(start.elapsed() < DEADLINE, "it does not start");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(up.stop(Signal::SIGTERM).success());
    assert_nothing_runs_in(folder.path());
}

#[test]
fn a_folder_is_for_one_and_folders_are_side_by_side() {
    let (folder, other) = (folder(), folder());
    let first = Up::start(folder.path());
    let refused = program(folder.path()).arg("up").output().expect("run it");
    let text = one_line(&refused, 1);
    assert!(text.contains(&first.child.id().to_string()), "{text}");
    let second = Up::start(other.path());
    assert_ne!(first.url, second.url);
    assert!(first.answers() && second.answers());
    assert!(first.stop(Signal::SIGTERM).success());
    assert!(second.answers());
    assert!(second.stop(Signal::SIGTERM).success());
}

#[test]
fn a_server_that_dies_ends_it_with_the_reason() {
    let folder = folder();
    let mut up = Up::start(folder.path());
    let pid_file = folder.path().join(".metriqlab/postgres/data/postmaster.pid");
    let text = std::fs::read_to_string(pid_file).expect("a pid file");
    let pid: i32 = text.lines().next().and_then(|line| line.parse().ok()).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("signal it");
    let stderr = up.child.stderr.take().expect("a pipe");
    assert_eq!(up.child.wait().expect("its end").code(), Some(1));
    let said = std::io::read_to_string(stderr).expect("its log");
    assert!(said.lines().last().is_some_and(|line| line.starts_with("metriqlab: Postgres stopped")), "{said}");
    assert_nothing_runs_in(folder.path());
}

#[test]
fn a_path_may_be_long_and_odd() {
    let folder = folder();
    let deep = folder.path().join("a folder with \"quotes\" and 'more'").join("x".repeat(120));
    std::fs::create_dir_all(&deep).expect("make it");
    let up = Up::start(&deep);
    assert!(up.stop(Signal::SIGTERM).success());
    assert_nothing_runs_in(folder.path());
}

/// What a clone below `/root` is: a folder that the servers' account can't get to.
#[test]
fn a_folder_that_is_closed_to_others_works() {
    let folder = folder();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("close it");
    let first = Up::start(folder.path());
    let key = first.key.clone();
    let elsewhere = folder.path().join(".metriqlab/elsewhere").canonicalize().ok();
    let _removed = elsewhere.clone().map(Elsewhere);
    assert_eq!(elsewhere.is_some(), geteuid().is_root());
    first.kill();
    let second = Up::start(folder.path());
    assert_eq!(second.key, key);
    assert!(second.stop(Signal::SIGTERM).success());
    if let Some(elsewhere) = elsewhere {
        assert_nothing_runs_in(&elsewhere);
    }
}

/// Everybody else runs as themselves; root shows here that they can.
#[test]
fn a_user_without_rights_can_run_it() {
    if !geteuid().is_root() {
        return;
    }
    let folder = folder();
    let binary = folder.path().join("metriqlab");
    std::fs::copy(PROGRAM, &binary).expect("copy the program");
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("give the folder away");
    let as_nobody = |binary: &PathBuf| {
        let mut command = program_at(binary, folder.path());
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    let first = Up::start_as(&mut as_nobody(&binary));
    assert!(first.answers());
    first.kill();
    let second = Up::start_as(&mut as_nobody(&binary));
    assert!(second.stop(Signal::SIGTERM).success());
    assert_nothing_runs_in(folder.path());
    // And root after them, on the same data.
    let third = Up::start(folder.path());
    assert!(third.stop(Signal::SIGTERM).success());
    let fourth = Up::start_as(&mut as_nobody(&binary));
    assert!(fourth.stop(Signal::SIGTERM).success());
}

#[test]
fn servers_that_are_set_are_used_instead() {
    let folder = folder();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let servers = runtime.block_on(TemporaryServers::start()).expect("servers");
    let mut command = program(folder.path());
    command.env("DATABASE_URL", servers.postgres.url().expose_secret());
    command.env("REDIS_URL", servers.redis.url().expose_secret());
    let up = Up::start_as(&mut command);
    assert!(up.answers());
    assert!(!folder.path().join(".metriqlab/postgres").exists() && !folder.path().join(".metriqlab/redis").exists());
    assert!(up.stop(Signal::SIGTERM).success());
    runtime.block_on(servers.stop());
}

#[test]
fn its_key_goes_to_nobody_who_has_called_a_project_the_same() {
    let folder = folder();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let servers = runtime.block_on(TemporaryServers::start()).expect("servers");
    let store = Store::open(servers.postgres.url(), 1).expect("a store");
    let make_theirs = async |name: &str| {
        let email = "eve@example.com".parse().expect("an address");
        let user = store.add_password_link(&email, &[1; 32]).await.expect("a user");
        store.create_project(Actor { user, email: &email }, name).await.expect("a project")
    };
    let theirs = runtime.block_on(async {
        store.migrate().await.expect("a schema");
        make_theirs("default").await
    });
    let with_servers = || {
        let mut command = program(folder.path());
        command.env("DATABASE_URL", servers.postgres.url().expose_secret());
        command.env("REDIS_URL", servers.redis.url().expose_secret());
        command
    };
    let project_of = |key: &str| {
        let hash = ApiKey::parse(key).expect("a key").hash();
        runtime.block_on(store.active_key(&hash)).expect("an answer").expect("a key that works").project
    };
    let up = Up::start_as(&mut with_servers());
    let (key, ours) = (up.key.clone(), project_of(&up.key));
    assert_ne!(ours, theirs);
    assert!(up.stop(Signal::SIGTERM).success());
    // A new key is of the same project, whatever that is called by now.
    runtime.block_on(async {
        let email = "ada@example.com".parse().expect("an address");
        let user = store.add_password_link(&email, &[2; 32]).await.expect("a user");
        store.rename_project(ours, Actor { user, email: &email }, "renamed").await.expect("renamed");
        store.revoke_key_by_hash(&ApiKey::parse(&key).expect("a key").hash()).await.expect("revoked");
    });
    let again = Up::start_as(&mut with_servers());
    assert_ne!(again.key, key);
    assert_eq!(project_of(&again.key), ours);
    assert!(again.stop(Signal::SIGTERM).success());
    // Who names one on the command line hears whose it may be.
    let said = |project: &str| {
        let output = with_servers().args(["keys", "create", "--project", project]).output().expect("run it");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let loud = said("default");
    assert!(loud.contains("its name in the dashboard") && loud.contains("eve@example.com"), "{loud}");
    let quiet = [said(&theirs.to_string()), said("of the shell"), said("of the shell")].concat();
    assert!(!quiet.contains("its name in the dashboard"), "{quiet}");
    runtime.block_on(servers.stop());
}

#[test]
fn an_address_that_is_taken_is_said() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = taken.local_addr().expect("an address").to_string();
    let refused = program(folder.path()).arg("up").env("METRIQLAB_BIND", &address).output().expect("run it");
    let text = one_line(&refused, 1);
    assert!(text.contains("METRIQLAB_BIND") && text.contains(&address), "{text}");
}
