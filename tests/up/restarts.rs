//! How it ends, and what the next start finds.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{DEADLINE, Folder, Up, assert_nothing_runs_in, folder, processes_of, program};

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
    let (folder, left) = cut_off();

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

/// A folder with a start that was killed while it made Postgres's data folder, and what it left of that. Where the start was
/// over before the kill, as on a machine that stood still in between, it shows nothing, and another one begins.
fn cut_off() -> (Folder, Vec<PathBuf>) {
    for _ in 0..20 {
        let folder = folder();
        let mut command = program(folder.path());
        let mut first =
            command.arg("up").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start the program");
        let start = Instant::now();
        while drafts_in(folder.path()).is_empty() && !folder.path().join(".metriqlab/postgres/data").exists() {
            assert!(start.elapsed() < DEADLINE, "it makes no data folder");
            std::thread::sleep(Duration::from_millis(1));
        }
        first.kill().expect("kill it");
        first.wait().expect("its end");
        let left = drafts_in(folder.path());
        if !left.is_empty() {
            return (folder, left);
        }
    }
    panic!("each start was too quick to be cut off");
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
    let up = Up { child, url: String::new(), key: String::new(), dashboard: String::new(), ready_after: DEADLINE };
    let start = Instant::now();
    while !folder.path().join(".metriqlab/postgres").exists() {
        assert!(start.elapsed() < DEADLINE, "it does not start");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(up.stop(Signal::SIGTERM).success());
    assert_nothing_runs_in(folder.path());
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
