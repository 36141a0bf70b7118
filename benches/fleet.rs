//! What a fleet makes of TikTok's quota, and whom it serves first: real processes, real minutes, TikTok's own window and the
//! sandbox's latency (10–60 ms, one answer in a hundred up to 2 s). It prints figures and fails nothing. `FLEET_MINUTES` says
//! how long the quota is measured; ten if absent.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::support;
use futures::StreamExt as _;
use futures::future::join_all;
use metriqlab::up::postgres::PostgresOptions;
use sandbox::Latency;
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::budget::{Budget, BudgetSettings};
use shared::crypto::KeyRing;
use shared::platforms::tiktok::{PkceMode, TikTok, TikTokSettings};
use shared::platforms::{AccessToken, Grant, RefreshToken, Scopes};
use shared::store::Store;
use shared::store::batches::BatchFilter;
use shared::tokens::{NewGrant, Tokens};
use support::sandbox::SCOPES;
use support::servers::{PrivatePostgres, PrivateRedis};
use support::system::{CLIENT_KEY, CLIENT_SECRET, ENCRYPTION_KEY};
use support::{System, within};

const QUOTA: u32 = 600;
const WINDOW: Duration = Duration::from_secs(60);
const KILL_EVERY: Duration = Duration::from_secs(5);
/// The mean of the sandbox's latency: 99 in a hundred between 10 and 60 ms, one between 60 ms and 2 s.
const MEAN_LATENCY: f64 = 0.99 * 0.035 + 0.01 * 1.03;
/// TikTok calls of a sync here: the profile and one page of videos.
const CALLS: u32 = 2;
/// How long a part of the benchmark may take to come about.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() {
    let minutes: u64 = std::env::var("FLEET_MINUTES").map_or(10, |text| text.parse().expect("FLEET_MINUTES: a number"));
    let options = PostgresOptions { max_connections: 500, ..PostgresOptions::default() };
    let servers = Servers { postgres: PrivatePostgres::start_with(options).await, redis: PrivateRedis::start().await };
    println!(
        "the quota, {QUOTA} a minute and endpoint, under a bulk backlog: {minutes} real minutes, one worker killed every 5 s"
    );
    // Side by side: ten requests a second each are little for one machine.
    let length = Duration::from_secs(60 * minutes);
    join_all([1, 2, 4, 8].map(|workers| quota(&servers, workers, length))).await;
    interactive(&servers).await;
    fairness(&servers).await;
}

struct Servers {
    postgres: PrivatePostgres,
    redis: PrivateRedis,
}

impl Servers {
    /// A system without workers.
    async fn system(&self, quota: u32, window: Duration) -> System {
        System::builder()
            .workers(0)
            .on_postgres(&self.postgres.url)
            .on_redis(&self.redis.url)
            .set("RUST_LOG", "warn")
            .set("METRIQLAB_RESYNC_EVERY", "off")
            .set("TIKTOK_RATE_PER_MINUTE", &quota.to_string())
            .set("TIKTOK_RATE_WINDOW", &format!("{}s", window.as_secs()))
            .sandbox(|config| {
                config.rate_limit = quota;
                config.rate_window = window;
                config.latency = Latency::Tail;
            })
            .start()
            .await
    }
}

/// A fleet of `workers` with a backlog that does not end: what it used of the quota, against what the window allows.
async fn quota(servers: &Servers, workers: usize, length: Duration) {
    let mut system = servers.system(QUOTA, WINDOW).await;
    let store = store(&system);
    connect(&system, &store, 600).await;
    // More than is used: what a dead worker held is out of reach until it is taken over.
    copy_creators(&system, 30, 600).await;
    open_batches(&system, &store, "copy %").await;
    for _ in 0..workers {
        system.add_worker();
    }
    let began = Instant::now();
    let mut first = None;
    while began.elapsed() < WINDOW + KILL_EVERY + length {
        tokio::time::sleep(KILL_EVERY).await;
        if first.is_none() && began.elapsed() >= WINDOW + KILL_EVERY {
            first = Some((Instant::now(), system.sandbox.limits().await));
        }
        system.workers.remove(0).kill().await;
        system.add_worker();
    }
    let (since, first) = first.expect("it took longer than a window");
    let (measured, last) = (since.elapsed().as_secs_f64(), system.sandbox.limits().await);
    let allowed = f64::from(QUOTA) * measured / (WINDOW.as_secs_f64() + 0.05 + MEAN_LATENCY);
    let mut parts = Vec::new();
    for endpoint in ["user_info", "video_list"] {
        let used = number(&last[endpoint]["passed"]) - number(&first[endpoint]["passed"]);
        let refused = number(&last[endpoint]["refused"]);
        parts.push(format!("{endpoint} {:.2} % used, {refused} 429s", 100.0 * used / allowed));
    }
    println!("  {workers} workers: {} of what the window allows", parts.join("; "));
}

/// How long a client waits for a sync: at idle, under a backlog of 100,000, and if its creator is part of that backlog.
async fn interactive(servers: &Servers) {
    let mut system = servers.system(QUOTA, WINDOW).await;
    let store = store(&system);
    connect(&system, &store, 1_000).await;
    copy_creators(&system, 100, 1_000).await;
    system.add_worker();
    system.add_worker();
    println!("a client's sync of one profile and one page, {CALLS} TikTok calls, one after the other");
    let idle = syncs(&system, "true").await;
    print_times("at idle", &idle, None);

    open_batches(&system, &store, "copy %").await;
    waiting(&system, 99_000).await;
    // From here on the window is full of bulk work.
    tokio::time::sleep(WINDOW).await;
    print_times("under a backlog of 100,000 bulk syncs", &syncs(&system, "true").await, Some(&idle));

    open_batches(&system, &store, "test").await;
    let own = "EXISTS (SELECT 1 FROM jobs WHERE creator_id = creators.id AND state = 'waiting')";
    within(PATIENCE, "their own bulk syncs wait", async || (creators(&system, own).await.len() >= 200).then_some(()))
        .await;
    print_times("whose own bulk sync was waiting", &syncs(&system, own).await, Some(&idle));
}

/// One project with 10,000 creators, and ten with 10 that come later: how long each one's slowest creator waits. Before that,
/// the ten alone.
async fn fairness(servers: &Servers) {
    let (quota, window) = (600, Duration::from_secs(6));
    let mut system = servers.system(quota, window).await;
    let store = store(&system);
    connect(&system, &store, 10_000).await;
    copy_creators(&system, 10, 10).await;
    system.add_worker();
    system.add_worker();
    println!("fairness at 100 requests a second: ten projects with 10 creators each");
    open_batches(&system, &store, "copy %").await;
    let alone = longest_waits(&system).await;
    // What they spent is out of the window, and their jobs are not those that come.
    tokio::time::sleep(window).await;
    system.sql().await.batch_execute("DELETE FROM batches; DELETE FROM jobs").await.expect("forgotten");
    open_batches(&system, &store, "test").await;
    waiting(&system, 9_000).await;
    open_batches(&system, &store, "copy %").await;
    let mut beside = longest_waits(&system).await;
    let large = beside.pop().expect("the large one");
    println!("  longest wait of each: alone, behind one with 10,000, difference");
    for (number, (alone, beside)) in (1..).zip(alone.iter().zip(&beside)) {
        print_waits(&format!("{number:>2}"), *alone, *beside);
    }
    print_waits("of all ten", slowest(&alone), slowest(&beside));
    println!("    in the large one {large:.1} s");
}

fn print_waits(what: &str, alone: f64, beside: f64) {
    println!("    {what:<10} {alone:>6.1} s {beside:>6.1} s {:>+6.1} s", beside - alone);
}

fn slowest(waits: &[f64]) -> f64 {
    waits.iter().copied().fold(0.0, f64::max)
}

/// How long the slowest creator of each project's batch waited, in seconds, by the projects' numbers; the large project's last.
async fn longest_waits(system: &System) -> Vec<f64> {
    let sql = system.sql().await;
    let open = "SELECT count(*) FROM batches WHERE finished_at IS NULL";
    within(PATIENCE, "all batches have ended", async || {
        (sql.query_one(open, &[]).await.expect("the batches").get::<_, i64>(0) == 0).then_some(())
    })
    .await;
    let waits = "SELECT max(extract(epoch FROM jobs.finished_at - batches.created_at))::float8 FROM jobs \
                 JOIN batches ON batches.project_id = jobs.project_id JOIN projects ON projects.id = jobs.project_id \
                 WHERE batched GROUP BY projects.id, name ORDER BY name = 'test', length(name), name";
    sql.query(waits, &[]).await.expect("the waits").iter().map(|row| row.get(0)).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// The times of a hundred syncs of creators of the client's that fulfil `condition`.
async fn syncs(system: &System, condition: &str) -> Vec<Duration> {
    let mut times = Vec::new();
    for id in creators(system, condition).await.iter().take(100) {
        let start = Instant::now();
        system.client.sync(id).await;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times
}

async fn creators(system: &System, condition: &str) -> Vec<String> {
    let query = format!(
        "SELECT creators.id::text FROM creators JOIN projects ON projects.id = project_id \
         WHERE name = 'test' AND {condition} ORDER BY creators.last_synced_at NULLS FIRST, creators.id DESC"
    );
    let rows = system.sql().await.query(&query, &[]).await.expect("the creators");
    rows.iter().map(|row| row.get(0)).collect()
}

fn print_times(what: &str, times: &[Duration], idle: Option<&[Duration]>) {
    let at = |times: &[Duration], percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let more = |percent| {
        idle.map(|idle| (at(times, percent).as_secs_f64() - at(idle, percent).as_secs_f64()) / f64::from(CALLS))
    };
    print!("  {what}: p50 {:.0?}, p95 {:.0?}", at(times, 50), at(times, 95));
    match (more(50), more(95)) {
        (Some(p50), Some(p95)) => println!("; {:+.0} ms and {:+.0} ms per call of idle", p50 * 1e3, p95 * 1e3),
        _ => println!(),
    }
}

/// Waits until so many jobs are made and not begun.
async fn waiting(system: &System, jobs: i64) {
    let sql = system.sql().await;
    let query = "SELECT count(*) FROM jobs WHERE state IN ('waiting', 'enqueued')";
    within(PATIENCE, "the backlog is made", async || {
        (sql.query_one(query, &[]).await.expect("the jobs").get::<_, i64>(0) >= jobs).then_some(())
    })
    .await;
}

fn store(system: &System) -> Store {
    Store::open(&SecretString::from(system.database_url.clone()), 16).expect("a store")
}

/// A bulk resync of each project with such a name.
async fn open_batches(system: &System, store: &Store, name: &str) {
    let rows = system.sql().await.query("SELECT id::text FROM projects WHERE name LIKE $1", &[&name]).await;
    for row in rows.expect("the projects") {
        let project = row.get::<_, String>(0).parse().expect("an id");
        store.open_batch(project, &BatchFilter::default()).await.expect("a batch");
    }
}

/// Connects so many accounts of 20 videos to the client's project, as a consent would, without its pages and calls.
async fn connect(system: &System, store: &Store, number: usize) {
    let project = store.projects_named("test").await.expect("the project")[0].id;
    let tokens = tokens(system, store);
    let made = system.sandbox.control("POST", "/users", Some(json!({"count": number, "videos": 20}))).await;
    let users: Vec<&str> =
        made["users"].as_array().expect("users").iter().map(|user| user["open_id"].as_str().expect("an id")).collect();
    let requested = Scopes::parse(&SCOPES.join(","));
    futures::stream::iter(users)
        .for_each_concurrent(16, async |open_id| {
            let pair =
                system.sandbox.control("POST", "/grants", Some(json!({"open_id": open_id, "tokens": true}))).await;
            let text = |name: &str| SecretString::from(pair[name].as_str().expect("a text"));
            let term = |name: &str| Duration::from_secs(pair[name].as_u64().expect("seconds"));
            let grant = Grant {
                external_id: open_id.to_owned(),
                access: AccessToken(text("access_token")),
                access_expires_in: term("expires_in"),
                refresh: Some(RefreshToken(text("refresh_token"))),
                refresh_expires_in: Some(term("refresh_expires_in")),
                scopes: requested.clone(),
            };
            let new = NewGrant {
                project,
                grant: &grant,
                requested: &requested,
                exchanged: Instant::now(),
                external_ref: None,
                begun_by: None,
            };
            tokens.connect(&new, None).await.expect("connected");
        })
        .await;
    // Their first syncs are not what is measured.
    system.sql().await.batch_execute("DELETE FROM jobs; ANALYZE").await.expect("no jobs");
}

fn tokens(system: &System, store: &Store) -> Tokens {
    let base: url::Url = system.sandbox.base.parse().expect("a URL");
    let budget = Budget::new(&system.redis_url, "bench", CLIENT_KEY, BudgetSettings::per_minute(1), store.clone());
    let settings = TikTokSettings {
        client_key: CLIENT_KEY.to_owned(),
        client_secret: SecretString::from(CLIENT_SECRET),
        auth_url: base.clone(),
        api_url: base,
        pkce: PkceMode::Off,
        scopes: Scopes::parse(&SCOPES.join(",")),
        redirect_uri: String::new(),
        request_timeout: Duration::from_secs(10),
    };
    let tiktok = TikTok::new(settings, Arc::new(budget.expect("a budget"))).expect("a client");
    let keyring: KeyRing = ENCRYPTION_KEY.parse().expect("a key");
    Tokens::new(store.clone(), tiktok, Arc::new(keyring), CLIENT_KEY)
}

/// The same accounts once more, `creators` of them in each of so many other projects: creators of their own, which share
/// the accounts' tokens.
async fn copy_creators(system: &System, projects: i64, creators: i64) {
    let copy = format!(
        "INSERT INTO projects (id, name) SELECT uuid_v7(), 'copy ' || n FROM generate_series(1, {projects}) AS n;
         INSERT INTO creators (id, project_id, credential_id, platform, external_id)
         SELECT uuid_v7(), projects.id, known.credential_id, known.platform, known.external_id
         FROM projects, (SELECT * FROM creators ORDER BY id LIMIT {creators}) AS known WHERE name LIKE 'copy %';
         ANALYZE"
    );
    system.sql().await.batch_execute(&copy).await.expect("copied");
}
