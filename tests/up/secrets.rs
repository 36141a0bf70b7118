//! Its link, its key, its files: for whom they are.

use std::os::unix::fs::PermissionsExt as _;

use metriqlab::up::TemporaryServers;
use nix::sys::signal::Signal;
use secrecy::ExposeSecret as _;
use shared::api_key::ApiKey;
use shared::store::Store;
use shared::store::members::Actor;

use crate::support::{Up, folder, processes_of, program};

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
