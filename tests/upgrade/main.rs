//! A deploy: processes of an earlier commit beside those of this one, on one Postgres and one Redis, through the whole walk.
//! It stops at the first thing that is not as the contract says.
//!
//! `make try-upgrade FROM=COMMIT` builds that commit's program and runs this with it. The rest of the tests has no other version
//! at hand, and does not run it.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]
#![allow(dead_code, unused_imports, reason = "the tests' support is shared, and not all of it is used here")]

#[path = "../soak/audit.rs"]
mod audit;
mod crossings;
mod fleet;
#[path = "../it/support/mod.rs"]
mod support;
mod walk;

use std::path::PathBuf;

use fleet::{Fleet, Version};

/// The program of the earlier commit.
const OLD_PROGRAM: &str = "METRIQLAB_OLD_PROGRAM";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an earlier commit's program: `make try-upgrade FROM=COMMIT`"]
async fn old_and_new_processes_serve_side_by_side_through_a_deploy_and_back() {
    let old = std::env::var_os(OLD_PROGRAM).unwrap_or_else(|| panic!("{OLD_PROGRAM} is not set: `make try-upgrade`"));
    let mut fleet = Fleet::of_old(PathBuf::from(old)).await;
    let past = fleet.connect(3, 45).await;
    walk::walk(&fleet, Version::Old).await;
    step("the old version alone");

    let before = walk::reads(fleet.client(Version::Old), &past[0]).await;
    walk::migrate_under_load(&fleet, &past[1..]).await;
    let after = walk::reads(fleet.client(Version::Old), &past[0]).await;
    assert_eq!(before, after, "what an old process reads on the new schema");
    walk::walk(&fleet, Version::Old).await;
    step("the new schema under an old API and an old worker");

    fleet.start_api(Version::New).await;
    walk::both_read_the_same(&fleet, &past).await;
    walk::walk(&fleet, Version::New).await;
    step("a new API and an old worker");

    fleet.replace_workers(&[Version::New]).await;
    walk::walk(&fleet, Version::Old).await;
    step("an old API and a new worker");
    walk::walk(&fleet, Version::New).await;
    step("a new API and a new worker");

    fleet.replace_workers(&[Version::Old, Version::New]).await;
    crossings::together(&fleet).await;
    step("both of both, with work of both");
    crossings::begun_here_and_ended_there(&fleet, &past[0]).await;
    step("what one version began, the other has ended");
    crossings::takeovers(&mut fleet, &past[0]).await;
    step("jobs of a worker that stopped or died, done by the other version's");
    walk::both_read_the_same(&fleet, &past).await;

    fleet.replace_workers(&[Version::Old]).await;
    fleet.stop_new_api().await;
    walk::walk(&fleet, Version::Old).await;
    step("the old version alone again, on the new schema");
    fleet.verdict().await;
}

fn step(what: &str) {
    println!("{what}: as the contract says");
}
