//! The soak: a fleet of real processes that is killed, paused and robbed of its servers while clients go on asking; at the
//! end nothing is lost, nothing is done twice, and nobody was told what is not so.
//!
//! `make soak` runs the long form (ten minutes; `SOAK_SECONDS` says otherwise), `make test` a short one of the same code.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]
#![allow(dead_code, unused_imports, reason = "the tests' support is shared, and not all of it is used here")]

mod audit;
mod books;
mod disasters;
mod load;
mod plan;
mod report;
#[path = "../it/support/mod.rs"]
mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use metriqlab::up::postgres::PostgresOptions;
use serde_json::json;

use audit::Witnessed;
use books::{Books, Request};
use disasters::Fleet;
use load::{Account, Load};
use plan::Plan;
use report::Report;
use support::servers::{PrivatePostgres, PrivateRedis};
use support::{System, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_short_soak_loses_nothing_does_nothing_twice_and_tells_no_lie() {
    soak(&Plan::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes: `make soak`"]
async fn a_long_soak_loses_nothing_does_nothing_twice_and_tells_no_lie() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(600, |text| text.parse().expect("SOAK_SECONDS: a number"));
    soak(&Plan::long(Duration::from_secs(seconds))).await;
}

/// How long the last jobs may take after the last disaster.
const SETTLE_WITHIN: Duration = Duration::from_secs(240);
/// Creators that connect at a time.
const CONNECTING: usize = 16;

async fn soak(plan: &Plan) {
    let began = Instant::now();
    // Each process keeps up to 16 connections, and Postgres needs a moment to notice the ends of killed ones.
    let options = PostgresOptions { max_connections: 400, ..PostgresOptions::default() };
    let mut postgres = PrivatePostgres::start_with(options).await;
    let mut redis = PrivateRedis::start().await;
    let system = start(plan, &postgres, &redis).await;
    audit::install(&system.sql().await).await;

    let books = Books::default();
    let mut fleet = Fleet::start(plan.workers, &system.variables, system.folder.path().to_owned());
    let accounts = accounts(&system, plan).await;
    let load = Load {
        clients: &system.clients,
        sandbox: &system.sandbox,
        books: &books,
        accounts: Mutex::new(accounts),
        until: Instant::now(),
    };
    connect_all(&load).await;
    println!("{} creators connected after {:.1?}", plan.creators, began.elapsed());
    plan.spoil(&system.sandbox).await;

    let load = Load { until: Instant::now() + plan.length, ..load };
    let comers = (plan.creators - plan.come_and_go)..plan.creators;
    let (_, batches, _, ()) = tokio::join!(
        join_all((0..plan.clients).map(|_| load.sync_again_and_again())),
        load.resync_all_again_and_again(),
        join_all(comers.map(|place| load.come_and_go(place))),
        fleet.suffer(plan, &mut redis, &mut postgres, &books),
    );
    println!("the last disaster is over after {:.1?}", began.elapsed());
    let spoilt = plan::spoilt(&system.sandbox).await;
    settle(&system, &load).await;

    let sql = system.sql().await;
    let mut wrong = books.untrue(&audit::seen(&sql, "sync").await, &audit::seen(&sql, "revoke").await);
    wrong.extend(wrong_batches(&load, &batches).await);
    wrong.extend(wrong_data(&system, &load).await);
    let report = Report {
        took: began.elapsed(),
        creators: plan.creators,
        workers: plan.workers,
        witnessed: Witnessed::read(&sql).await,
        refused: refused(&system).await,
        wrong,
        killed: audit::recoveries(&sql, &fleet.killed).await,
        paused: audit::recoveries(&sql, &fleet.stopped).await,
        spoilt,
    };
    report.print(plan, &fleet, &books);
    if !report.is_clean() {
        report.explain(&sql).await;
        panic!("the soak found faults\n{}", fleet.complaints());
    }
    assert!(report.keeps(plan, &fleet), "it was smaller, or a recovery slower, than it must be: see the table");
}

async fn start(plan: &Plan, postgres: &PrivatePostgres, redis: &PrivateRedis) -> System {
    System::builder()
        .apis(2)
        .workers(0)
        .on_postgres(&postgres.url)
        .on_redis(&redis.url)
        .set("RUST_LOG", "warn")
        .set("METRIQLAB_RESYNC_EVERY", &format!("{}s", plan.resync_every.as_secs()))
        .set("TIKTOK_RATE_PER_MINUTE", &plan.quota.to_string())
        .set("TIKTOK_RATE_WINDOW", &format!("{}s", plan.window.as_secs()))
        .sandbox(|config| {
            config.rate_limit = plan.quota;
            config.rate_window = plan.window;
        })
        .start()
        .await
}

/// One in five accounts has three pages of videos, the others one.
async fn accounts(system: &System, plan: &Plan) -> Vec<Account> {
    let mut accounts = Vec::new();
    for videos in (0..plan.creators).map(|number| if number % 5 == 0 { 45 } else { 10 }) {
        accounts.push(Account { open_id: system.sandbox.user(videos).await, videos, creator: None });
    }
    accounts
}

async fn connect_all(load: &Load<'_>) {
    let accounts = load.all();
    futures::stream::iter(accounts.iter().enumerate())
        .for_each_concurrent(CONNECTING, async |(place, account)| drop(load.connect(place, &account.open_id).await))
        .await;
}

/// Ends the faults and the schedule, and waits until every job has had its last word. One that waits for its next try is
/// asked for once more, as a client would who does not want to wait.
async fn settle(system: &System, load: &Load<'_>) {
    system.sandbox.clear_faults().await;
    system.sandbox.settings(json!({"latency": {"profile": "none"}})).await;
    system.run(&["resync", "--project", "test", "--every", "off"]).await;
    let sql = system.sql().await;
    let retrying = "SELECT creator_id::text FROM jobs WHERE state = 'retrying' AND lane = 'bulk'";
    within(SETTLE_WITHIN, "every job has its last word", async || {
        for row in sql.query(retrying, &[]).await.expect("the jobs that wait for their next try") {
            load.request(Request::Sync, row.get(0), Some(0)).await;
        }
        let open = "SELECT count(*) FROM jobs WHERE finished_at IS NULL";
        (sql.query_one(open, &[]).await.expect("count the jobs").get::<_, i64>(0) == 0).then_some(())
    })
    .await;
}

/// Every batch has ended, and counts as many creators as it promised.
async fn wrong_batches(load: &Load<'_>, batches: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    for id in batches {
        let path = format!("/api/v1/batches/{id}");
        // Its end is noted by the next tick of a scheduler.
        let batch = within(SETTLE_WITHIN, "the batch has ended", async || {
            let batch = load.clients[0].get(&path).await.body["data"].clone();
            batch["finishedAt"].is_string().then_some(batch)
        })
        .await;
        let number = |name: &str| batch[name].as_i64().unwrap_or(i64::MIN);
        if number("done") + number("failed") + number("skipped") != number("total") {
            wrong.push(format!("the counts of a batch: {batch}"));
        }
    }
    wrong
}

/// Every account is either connected here and at TikTok, with all of its videos, or at neither. One that may be refused by
/// TikTok may say so, and lack what its first sync would have brought.
async fn wrong_data(system: &System, load: &Load<'_>) -> Vec<String> {
    let sql = system.sql().await;
    let mut wrong = Vec::new();
    let query = "SELECT id::text, status, (SELECT count(*) FROM videos WHERE creator_id = creators.id AND listed) \
                 FROM creators WHERE external_id = $1";
    for account in load.all() {
        let rows = sql.query(query, &[&account.open_id]).await.expect("the creator");
        let found: Vec<(String, String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        let granted = system.sandbox.is_granted(&account.open_id).await;
        let videos = i64::try_from(account.videos).expect("few videos");
        let is_right = match (&account.creator, found.as_slice()) {
            (None, []) => !granted,
            (Some(id), [(found, status, _)]) if status != "ACTIVE" => found == id && load.books.may_be_refused(id),
            (Some(id), [(found, _, listed)]) => found == id && granted && *listed == videos,
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{account:?} is stored as {found:?}; at TikTok it is connected: {granted}"));
        }
    }
    wrong
}

/// The 429s of all endpoints.
async fn refused(system: &System) -> u64 {
    let limits = system.sandbox.limits().await;
    limits.as_object().expect("endpoints").values().map(|endpoint| endpoint["refused"].as_u64().expect("a count")).sum()
}
