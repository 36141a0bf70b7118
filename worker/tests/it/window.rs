//! How much of a backlog Redis gets to hold.

use std::time::Duration;

use serde_json::json;
use shared::ids::{BatchId, ProjectId};
use shared::queue::{Final, Lane, Message};
use shared::store::batches::BatchFilter;

use crate::support::{System, wait_for};

/// The scheduler's bounds: ready, and with those that wait for their next try. Beyond it only what its slots held comes back,
/// and a part of each other project's: all of it, where it has so few.
const WINDOW: u64 = 1000;
const MOST_IN_REDIS: u64 = 5000;
const SLOTS: u64 = 4;
const NEWCOMERS_JOBS: u64 = 20;
/// Other projects that come, one after the other, while Redis is full.
const NEWCOMERS: u8 = 3;

/// A bulk resync of so many creators that `project` has from now on; they are copies of one.
async fn backlog(system: &System, project: ProjectId, creators: i64) -> BatchId {
    system
        .sql(&format!(
            "INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at)
             SELECT uuid_v7(), '{project}', credential_id, platform, 'x' || n, connected_at
             FROM (SELECT * FROM creators ORDER BY connected_at LIMIT 1) AS first, generate_series(1, {creators}) AS n"
        ))
        .await;
    system.store.open_batch(project, &BatchFilter::default()).await.expect("a batch").id
}

/// All but a hundred of those that Redis may hold wait there for a next try in an hour, as an outage leaves them.
async fn fill_redis(system: &System) {
    wait_for("all jobs are made", async || {
        // None, too, where a statement of the worker before still holds the lock.
        while system.store.grow_batches(None, 1000).await.expect("grown").is_some() {}
        (system.count("SELECT count(*) FROM batches WHERE expanded_at IS NULL").await == 0).then_some(())
    })
    .await;
    let room = i64::try_from(MOST_IN_REDIS - 100).expect("small");
    let fed = system.store.feed(None, 10, room).await.expect("fed");
    assert_eq!(i64::try_from(fed.len()), Ok(room));
    let messages: Vec<Message> = fed.into_iter().map(|job| job.message).collect();
    for some in messages.chunks(100) {
        let pushes = some.iter().map(|message| system.queue.push(Lane::Bulk, message, Some(Duration::from_secs(3600))));
        futures::future::try_join_all(pushes).await.expect("pushed");
    }
}

/// Lets a worker feed until Redis is full and it has looked again several times. Gives what Redis's memory holds then.
async fn feed_on(system: &System) -> u64 {
    let worker = system.worker();
    let looks = async |newcomers: u64| {
        let depth = system.queue.depth(Lane::Bulk).await.expect("a depth");
        // Where there is room for one, each project gets one.
        let most = MOST_IN_REDIS + SLOTS + newcomers * (NEWCOMERS_JOBS + 1);
        assert!(depth.ready <= WINDOW && depth.ready + depth.delayed <= most, "{depth:?}, {newcomers} newcomers");
        depth
    };
    wait_for("Redis is full", async || {
        let depth = looks(0).await;
        (depth.ready + depth.delayed + SLOTS >= MOST_IN_REDIS).then_some(())
    })
    .await;
    // That another project's jobs come shows that the scheduler has looked since.
    for number in 1..=NEWCOMERS {
        let project =
            system.store.add_key(&format!("other {number}"), &[number + 1; 32], "mlk_o").await.expect("a key");
        backlog(system, project, i64::try_from(NEWCOMERS_JOBS).expect("few")).await;
        wait_for("the newcomers", async || {
            looks(u64::from(number)).await;
            let here = format!("SELECT count(*) FROM jobs WHERE project_id = '{project}' AND state <> 'waiting'");
            // Each of them fails, and waits there for its next try as those of the first project do.
            (system.count(&here).await == i64::try_from(NEWCOMERS_JOBS).expect("few")).then_some(())
        })
        .await;
    }
    let bytes = system.redis_bytes(Lane::Bulk).await;
    worker.stop().await;
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_waits_in_postgres_and_redis_holds_as_much_of_a_large_one_as_of_a_small_one() {
    let mut held = Vec::new();
    for creators in [8_000, 80_000] {
        let system = System::start().await;
        let worker = system.worker();
        let connected = system.connect(&system.account(1).await).await;
        assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
        worker.stop().await;
        // TikTok answers nobody, so nothing is done and everything is tried again.
        system.fault(json!({ "endpoint": "user_info", "kind": "internal_error" })).await;
        let batch = backlog(&system, system.project, creators - 1).await;
        fill_redis(&system).await;
        held.push(feed_on(&system).await);
        let waiting = system.count("SELECT count(*) FROM jobs WHERE state = 'waiting'").await;
        assert!(waiting >= creators - 5100, "{waiting} of {creators} wait in Postgres");
        let seen = system.store.batch(system.project, batch).await.expect("read").expect("a batch");
        // A try that comes when its endpoint is not held yet may be a job's last.
        assert_eq!((seen.total, seen.open() + seen.failed), (creators, creators));
    }
    let [small, large] = held[..] else { panic!("two") };
    assert!(small > 500_000, "{small} bytes for five thousand jobs are not all of them");
    assert!(large <= small + small / 4, "{large} bytes with ten times the backlog of {small} bytes");
}

/// So many jobs of one project Redis gets while others have filled it.
const MOST_EACH: u64 = 20;
const WORKERS: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_with_much_to_do_gets_a_few_in_however_many_workers_look() {
    let system = System::start().await;
    let worker = system.worker();
    let connected = system.connect(&system.account(1).await).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    worker.stop().await;
    system.fault(json!({ "endpoint": "user_info", "kind": "internal_error" })).await;
    backlog(&system, system.project, 6_000).await;
    fill_redis(&system).await;
    let workers = [system.worker(), system.worker()];
    // Each worker may take what the slots hold for room and fill it, and so it is with a job whose try was its last: a few more.
    let most = 5 * MOST_EACH;
    let held = async |project: ProjectId| {
        let open = "state IN ('enqueued', 'running', 'retrying')";
        let query = format!("SELECT count(*) FROM jobs WHERE project_id = '{project}' AND {open}");
        u64::try_from(system.count(&query).await).expect("a number")
    };
    wait_for("Redis is full", async || {
        let depth = system.queue.depth(Lane::Bulk).await.expect("a depth");
        (depth.ready + depth.delayed + WORKERS * SLOTS >= MOST_IN_REDIS).then_some(())
    })
    .await;
    let newcomer = system.store.add_key("newcomer", &[2; 32], "mlk_o").await.expect("a key");
    backlog(&system, newcomer, 300).await;
    wait_for("the newcomer", async || (held(newcomer).await >= MOST_EACH).then_some(())).await;
    // That others' jobs come after shows that the workers have looked again.
    for number in 3..6 {
        let other = system.store.add_key(&format!("other {number}"), &[number; 32], "mlk_o").await.expect("a key");
        backlog(&system, other, 5).await;
        wait_for("another one", async || {
            let there = held(newcomer).await;
            assert!(there <= most, "{there} jobs of the newcomer are in Redis");
            (system
                .count(&format!("SELECT count(*) FROM jobs WHERE project_id = '{other}' AND state <> 'waiting'"))
                .await
                == 5)
                .then_some(())
        })
        .await;
    }
    for worker in workers {
        worker.stop().await;
    }
}
