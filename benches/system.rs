//! What we claim about speed, measured on the whole system: real processes, Postgres with its fsync, Redis with its
//! append-only file, a sandbox that answers at once. `make bench` runs it. It prints figures and fails nothing.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::support;
use futures::future::join_all;
use metriqlab::up::temporary_folder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::process::Process;
use support::servers::{PrivatePostgres, PrivateRedis};
use support::{Client, System};

const READERS: usize = 8;
const READ_FOR: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    up_and_down();
    let postgres = PrivatePostgres::start().await;
    let redis = PrivateRedis::start().await;
    let system = System::builder()
        .on_postgres(&postgres.url)
        .on_redis(&redis.url)
        .set("RUST_LOG", "warn")
        .set("TIKTOK_RATE_PER_MINUTE", "1000000")
        .start()
        .await;
    let small = system.connect(&system.sandbox.user(20).await).await;
    let large = system.connect(&system.sandbox.user(2_000).await).await;
    system.settled().await;
    println!("two processes (api, worker), {} cores", common::cores());
    idle(&system).await;
    syncs(&system.client, &small).await;
    reads(&system, &large).await;
}

/// `metriqlab up` in a new folder, its stop, and the same once more in that folder.
fn up_and_down() {
    let folder = temporary_folder().expect("a folder");
    for start in ["first", "second"] {
        let began = Instant::now();
        let mut up = std::process::Command::new(env!("CARGO_BIN_EXE_metriqlab"));
        up.arg("up").current_dir(folder.path()).env_clear().env("PATH", std::env::var_os("PATH").expect("PATH"));
        let mut up = up.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start it");
        let mut lines = BufReader::new(up.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        assert!(lines.by_ref().any(|line| line.starts_with("Ctrl-C stops")), "it did not start");
        let ready = began.elapsed();
        let asked = Instant::now();
        kill(Pid::from_raw(up.id().cast_signed()), Signal::SIGTERM).expect("signal it");
        assert!(up.wait().expect("its end").success());
        println!(
            "up, {start} start in a folder: ready after {ready:.2?} (limit 3 s), stopped after {:.2?} (limit 10 s)",
            asked.elapsed()
        );
    }
}

/// Processor time of API and worker together while nobody asks for anything.
async fn idle(system: &System) {
    let ticks = || system.apis.iter().chain(&system.workers).map(cpu_ticks).sum::<u64>();
    let (before, start) = (ticks(), Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let used = (ticks() - before) as f64 / 100.0;
    println!("idle, api and worker together: {:.2} % of a core", 100.0 * used / start.elapsed().as_secs_f64());
}

/// Processor time that a process has used, in clock ticks (hundredths of a second on Linux).
fn cpu_ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).expect("the process's times");
    // proc(5): the name ends with the last `)`; user and system time are the 12th and 13th fields after it.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

/// `POST /sync` of a creator with 20 videos, one after the other.
async fn syncs(client: &Client, id: &str) {
    let mut times = Vec::new();
    for _ in 0..300 {
        let start = Instant::now();
        client.sync(id).await;
        times.push(start.elapsed());
    }
    report("POST /sync, 20 videos, answer at once", &mut times);
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)];
    println!("{what}: p50 {:.2?}, p99 {:.2?}, max {:.2?}", at(500), at(990), at(1000));
}

/// Reads per second over HTTP, beside pgbench running the same SQL on the same server.
async fn reads(system: &System, id: &str) {
    let profile = format!("/api/v1/creators/{id}/profile");
    let videos = format!("/api/v1/creators/{id}/videos?limit=20");
    let sql = system.sql().await;
    // What autovacuum does in time; a fresh table's plans are guesses.
    sql.batch_execute("ANALYZE").await.expect("analyse the tables");
    let query = "SELECT project_id::text FROM creators WHERE id::text = $1";
    let project: String = sql.query_one(query, &[&id]).await.expect("the creator").get(0);
    let profile_sql = format!(
        "SELECT id, project_id, credential_id, platform, external_id, username, display_name, bio, avatar_url, profile_url, \
         verified, followers, following, likes, video_count, missing_scopes, status, status_reason, connected_at, \
         last_synced_at, resync_every, external_ref FROM creators WHERE id = '{id}' AND project_id = '{project}' AND disconnecting_at IS NULL LIMIT 1;\n"
    );
    let videos_sql = format!(
        "SELECT v.id, v.external_id, v.title, v.description, v.url, v.cover_url, v.duration, v.views, v.likes, v.comments, \
         v.shares, v.published_at FROM videos v INNER JOIN creators c ON v.creator_id = c.id WHERE v.creator_id = '{id}' \
         AND c.project_id = '{project}' AND c.disconnecting_at IS NULL AND v.listed \
         ORDER BY v.published_at DESC, v.id DESC LIMIT 21;\n"
    );
    for (name, path, sql) in [("profile", &profile, &profile_sql), ("videos", &videos, &videos_sql)] {
        let http = over_http(&system.client, path).await;
        let Some(bare) = pgbench(system, sql).await else {
            println!("reads of {name}: {http:.0}/s over HTTP (no pgbench on this machine)");
            continue;
        };
        println!(
            "reads of {name}: {http:.0}/s over HTTP, pgbench {bare:.0}/s with the same SQL: {:.2} of it",
            http / bare
        );
    }
}

async fn over_http(client: &Client, path: &str) -> f64 {
    let start = Instant::now();
    let counts = join_all((0..READERS).map(|_| async {
        let mut count = 0_u32;
        while start.elapsed() < READ_FOR {
            let response = client.request(reqwest::Method::GET, path).send().await.expect("an answer");
            assert_eq!(response.status(), 200);
            drop(response.bytes().await.expect("a body"));
            count += 1;
        }
        count
    }))
    .await;
    f64::from(counts.iter().sum::<u32>()) / start.elapsed().as_secs_f64()
}

async fn pgbench(system: &System, sql: &str) -> Option<f64> {
    let script = system.folder.path().join("read.sql");
    std::fs::write(&script, sql).expect("write the script");
    let output = tokio::process::Command::new("pgbench")
        .args(["--no-vacuum", "--protocol=prepared", "--client=8", "--jobs=2"])
        .arg(format!("--time={}", READ_FOR.as_secs()))
        .arg("--file")
        .arg(&script)
        .arg(&system.database_url)
        .stdin(Stdio::null())
        .output()
        .await
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("tps = "))?;
    line.split_whitespace().nth(2)?.parse().ok()
}
