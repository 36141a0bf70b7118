//! The gauges that somebody has to go and read: of the fleet, of this process, of its connections.
//!
//! What is of the fleet every process reads for itself, so that no one process must live for it to be known: all show the
//! same, give or take a few seconds. It costs Redis some fifteen commands every five seconds and Postgres one bounded query every
//! fifteen, and nothing at all where nobody has scraped for five minutes.

use std::time::Duration;

use metrics::{Unit, describe_gauge, gauge};

use super::{Metrics, process};
use crate::platforms::tiktok::TikTok;
use crate::queue::{Depth, Lane, Queue, QueueError};
use crate::store::fleet::Backlog;
use crate::store::{Store, StoreError};

const PACE: Duration = Duration::from_secs(5);
/// Postgres is asked at each of these turns.
const POSTGRES_TURN: u32 = 3;
/// Without a scrape for so long the fleet is not read.
const UNWATCHED: Duration = Duration::from_secs(300);

const QUEUE_JOBS: &str = "metriqlab_queue_jobs";
const QUEUE_OLDEST: &str = "metriqlab_queue_oldest_seconds";
const WORKERS: &str = "metriqlab_fleet_workers";
const DUE: &str = "metriqlab_resync_due_creators";
const LAG: &str = "metriqlab_resync_lag_seconds";
const REDIS_UP: &str = "metriqlab_redis_up";
const POSTGRES_UP: &str = "metriqlab_postgres_up";
const CONNECTIONS: &str = "metriqlab_postgres_connections";
const MOST_CONNECTIONS: &str = "metriqlab_postgres_connections_max";
const WAITING: &str = "metriqlab_postgres_waiting";

/// Keeps the gauges of a process that serves `metrics` current, until it is dropped.
pub async fn watch(metrics: Metrics, store: Store, queue: Queue, tiktok: TikTok) {
    describe();
    process::describe();
    let mut turn: u32 = 0;
    // The age of the first bulk job in Postgres, as it was last read, if it could be.
    let mut oldest_waiting = None;
    loop {
        metrics.run_upkeep();
        process::measure();
        show_pool(&store);
        if metrics.unscraped_for() < UNWATCHED {
            if turn.is_multiple_of(POSTGRES_TURN) {
                let backlog = store.backlog().await;
                oldest_waiting = backlog.as_ref().ok().map(Backlog::oldest);
                show_postgres(backlog);
            }
            show_redis(read_redis(&queue).await, oldest_waiting);
            tiktok.measure().await;
            turn = turn.wrapping_add(1);
        }
        tokio::time::sleep(PACE).await;
    }
}

fn describe() {
    describe_gauge!(QUEUE_JOBS, "Jobs by lane and state, over the fleet");
    describe_gauge!(QUEUE_OLDEST, Unit::Seconds, "How long ago the first job in line was made, over the fleet");
    describe_gauge!(WORKERS, "Worker processes that Redis has heard of within three seconds, over the fleet");
    describe_gauge!(DUE, "Creators whose scheduled sync is due, over the fleet");
    describe_gauge!(LAG, Unit::Seconds, "For how long the first of them has been due, over the fleet");
    describe_gauge!(REDIS_UP, "1 if Redis answered this process's last look, else 0");
    describe_gauge!(POSTGRES_UP, "1 if Postgres answered this process's last look, else 0");
    describe_gauge!(CONNECTIONS, "Connections to Postgres of this process, used and idle");
    describe_gauge!(MOST_CONNECTIONS, "Connections to Postgres that this process may have");
    describe_gauge!(WAITING, "Callers of this process that wait for a connection to Postgres");
}

fn show_pool(store: &Store) {
    let pool = store.pool_status();
    gauge!(CONNECTIONS, "state" => "used").set(number(pool.used));
    gauge!(CONNECTIONS, "state" => "idle").set(number(pool.idle));
    gauge!(MOST_CONNECTIONS).set(number(pool.most));
    gauge!(WAITING).set(number(pool.waiting));
}

/// The lanes' depths in Redis, and how many workers live.
struct Reading {
    lanes: Vec<(Lane, Depth)>,
    workers: usize,
}

async fn read_redis(queue: &Queue) -> Result<Reading, QueueError> {
    let mut lanes = Vec::new();
    for lane in Lane::ALL {
        lanes.push((lane, queue.depth(lane).await?));
    }
    let workers = queue.workers().await?.iter().filter(|worker| worker.is_alive()).count();
    Ok(Reading { lanes, workers })
}

fn show_redis(read: Result<Reading, QueueError>, oldest_waiting: Option<Duration>) {
    gauge!(REDIS_UP).set(if read.is_ok() { 1.0 } else { 0.0 });
    let Ok(Reading { lanes, workers }) = read else {
        // What is not known is neither zero nor what it was.
        for lane in Lane::ALL {
            for state in ["ready", "delayed", "running"] {
                jobs(lane, state, f64::NAN);
            }
            gauge!(QUEUE_OLDEST, "lane" => lane.as_str()).set(f64::NAN);
        }
        gauge!(WORKERS).set(f64::NAN);
        return;
    };
    for (lane, depth) in lanes {
        for (state, count) in [("ready", depth.ready), ("delayed", depth.delayed), ("running", depth.running)] {
            jobs(lane, state, number(count));
        }
        let in_redis = depth.oldest.unwrap_or_default();
        let oldest =
            if lane == Lane::Bulk { oldest_waiting.map(|waiting| waiting.max(in_redis)) } else { Some(in_redis) };
        gauge!(QUEUE_OLDEST, "lane" => lane.as_str()).set(oldest.map_or(f64::NAN, |age| age.as_secs_f64()));
    }
    gauge!(WORKERS).set(number(workers));
}

fn show_postgres(read: Result<Backlog, StoreError>) {
    gauge!(POSTGRES_UP).set(if read.is_ok() { 1.0 } else { 0.0 });
    let known = read.ok();
    let value = |count: Option<i64>| count.map_or(f64::NAN, number);
    jobs(Lane::Bulk, "waiting", value(known.map(|known| known.waiting)));
    for lane in Lane::ALL {
        jobs(lane, "dead", value(known.map(|known| known.dead(lane))));
    }
    gauge!(DUE).set(value(known.map(|known| known.due)));
    gauge!(LAG).set(known.map_or(f64::NAN, |known| known.lag().as_secs_f64()));
}

fn jobs(lane: Lane, state: &'static str, count: f64) {
    gauge!(QUEUE_JOBS, "lane" => lane.as_str(), "state" => state).set(count);
}

/// A count as a gauge has it: exact up to 2^53, and there are never that many.
fn number(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::INFINITY, f64::from)
}
