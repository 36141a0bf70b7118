//! Folders, users and addresses that it has to do with.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::support::{PROGRAM, Up, assert_nothing_runs_in, folder, kill_all_in, one_line, program, program_at};

/// The user of a run that is not root's.
const NOBODY: u32 = 65534;

/// A folder outside of the test's own, removed when dropped.
struct Elsewhere(PathBuf);

impl Drop for Elsewhere {
    fn drop(&mut self) {
        kill_all_in(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
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
fn an_address_that_is_taken_is_said() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = taken.local_addr().expect("an address").to_string();
    let refused = program(folder.path()).arg("up").env("METRIQLAB_BIND", &address).output().expect("run it");
    let text = one_line(&refused, 1);
    assert!(text.contains("METRIQLAB_BIND") && text.contains(&address), "{text}");
}
