//! Servers that it is given, and servers that are not there.

use std::path::{Path, PathBuf};
use std::process::Command;

use metriqlab::up::TemporaryServers;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use secrecy::ExposeSecret as _;

use crate::support::{PROGRAM, Up, folder, one_line, program};

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

/// A machine on which nothing is installed but the program, what it is linked with, and a package manager: root can make one
/// of a folder.
#[test]
fn a_server_that_is_not_installed_is_one_line_that_says_how_to_install_it() {
    if !geteuid().is_root() {
        return;
    }
    let machine = folder();
    let linked = Command::new("ldd").arg(PROGRAM).output().expect("run ldd");
    let linked = String::from_utf8(linked.stdout).expect("text");
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for file in libraries.chain([Path::new("/etc/passwd"), Path::new("/etc/group")]) {
        put(machine.path(), file, file);
    }
    put(machine.path(), Path::new("/metriqlab"), Path::new(PROGRAM));
    let apt = machine.path().join("usr/bin/apt-get");
    std::fs::create_dir_all(apt.parent().expect("a folder")).expect("make it");
    std::fs::write(apt, "").expect("write it");
    let given = ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    for (given, server, variable, package) in
        [(None, "Postgres", "DATABASE_URL", "postgresql"), (Some(given), "Redis", "REDIS_URL", "redis-server")]
    {
        let mut command = Command::new("chroot");
        command.arg(machine.path()).args(["/metriqlab", "up"]).env_clear();
        command.env("PATH", path_with_sbin()).env("METRIQLAB_BIND", "127.0.0.1:0").envs(given);
        let said = one_line(&command.output().expect("run it"), 1);
        assert!(said.starts_with(&format!("metriqlab: {server} is not installed: run `make run`")), "{said}");
        assert!(said.contains(variable) && said.contains(&format!("sudo apt-get install {package}")), "{said}");
    }
}

/// A file at its place in a folder that is somebody's root.
fn put(root: &Path, place: &Path, file: &Path) {
    let place = root.join(place.strip_prefix("/").expect("a whole path"));
    std::fs::create_dir_all(place.parent().expect("a folder")).expect("make it");
    // The program is large: a link is enough where one can be made. But not one of a link, which leads nowhere here.
    let file = &file.canonicalize().expect("the file");
    std::fs::hard_link(file, &place).or_else(|_| std::fs::copy(file, &place).map(|_| ())).expect("copy it");
}

/// `chroot` is a program for administrators.
fn path_with_sbin() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").expect("PATH is set");
    std::env::join_paths(std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")])).expect("a path")
}
