//! A tick of the scheduler among few and among many creators: it should cost the same. It prints figures and fails nothing.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::support;
use secrecy::SecretString;
use shared::queue::{Lane, Message, Queue};
use shared::store::Store;
use shared::store::batches::BatchFilter;
use support::database;
use support::servers::{PrivatePostgres, PrivateRedis};

const EVERY: Duration = Duration::from_secs(24 * 3600);
/// Creators that are due at each tick, and jobs that it feeds to Redis.
const DUE: i64 = 100;
const TICKS: usize = 60;

#[tokio::main]
async fn main() {
    let postgres = PrivatePostgres::start().await;
    let redis = PrivateRedis::start().await;
    println!(
        "a tick: {DUE} creators claimed, their jobs made, batches looked at, Redis's depth, {DUE} jobs fed; p50 of {TICKS}"
    );
    println!("a top-up: of projects that have less than their part in Redis, while there is no room");
    let mut first = None;
    for (creators, projects) in [(1_000, 1), (100_000, 1), (1_000_000, 1), (1_000_000, 1_000)] {
        let mut system = Creators::with(&postgres.url, &redis.url, creators, projects).await;
        let idle = system.ticks().await;
        let base = *first.get_or_insert(idle);
        println!("{creators:>9} creators of {projects:>5} projects: {}", beside(idle, base));
        system.accept().await;
        println!("  with all of them waiting: {}", beside(system.ticks().await, base));
        println!("  a top-up: {:.2?}", system.top_up().await);
    }
}

fn beside(time: Duration, base: Duration) -> String {
    format!("{time:.2?}, {:.2} of the first", time.as_secs_f64() / base.as_secs_f64())
}

struct Creators {
    store: Store,
    queue: Queue,
    sql: tokio_postgres::Client,
    /// Whose turn was last.
    after: Option<shared::ids::ProjectId>,
}

impl Creators {
    async fn with(postgres: &str, redis: &str, creators: i64, projects: i64) -> Self {
        let url = database::create(postgres).await;
        let store = Store::open(&SecretString::from(url.clone()), 4).expect("a store");
        store.migrate().await.expect("migrated");
        let queue = Queue::connect(redis, &format!("bench-{creators}-{projects}")).expect("a queue");
        let sql = database::connect(&url).await;
        sql.batch_execute(&format!(
            "INSERT INTO projects (id, name) SELECT uuid_v7(), 'bench ' || n FROM generate_series(0, {projects} - 1) AS n;
             INSERT INTO credentials (id, platform, app, external_id, access_token, scopes, access_expires_at)
             VALUES (uuid_v7(), 'TIKTOK', 'app', 'x', '', '', now());
             INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at, next_sync_at)
             SELECT gen_random_uuid(), projects.id, credentials.id, 'TIKTOK', 'x' || n, now() - n * interval '1 ms',
                 now() + interval '1 h' + random() * interval '1 day'
             FROM credentials, generate_series(1, {creators}) AS n
                 JOIN projects ON projects.name = 'bench ' || n % {projects}"
        ))
        .await
        .expect("creators");
        sql.batch_execute("VACUUM ANALYZE").await.expect("vacuumed");
        Self { store, queue, sql, after: None }
    }

    /// The time of a tick as the scheduler does it, the middle one of many.
    async fn ticks(&mut self) -> Duration {
        let mut times = Vec::new();
        for _ in 0..TICKS {
            // The same ones each time: they have no job when it begins.
            let due = format!("(SELECT id FROM creators ORDER BY id LIMIT {DUE})");
            self.sql
                .batch_execute(&format!(
                    "DELETE FROM jobs WHERE creator_id IN {due};
                     UPDATE creators SET next_sync_at = now() WHERE id IN {due}"
                ))
                .await
                .expect("due");
            let start = Instant::now();
            self.tick().await;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        times[times.len() / 2]
    }

    async fn tick(&mut self) {
        let claimed = self.store.claim_due(Some(EVERY), 1000).await.expect("claimed").expect("nobody else");
        let grown = self.store.grow_batches(None, 1000).await.expect("grown");
        assert_eq!((claimed.made, grown), (DUE, None));
        self.store.close_batches().await.expect("closed");
        self.queue.depth(Lane::Bulk).await.expect("a depth");
        let mut fed = self.store.feed(self.after, 200, DUE).await.expect("fed");
        if fed.is_empty() {
            fed = self.store.feed(None, 200, DUE).await.expect("fed");
        }
        assert!(!fed.is_empty());
        fed.sort_unstable_by_key(|job| (job.project, job.message.id));
        let projects: BTreeSet<_> = fed.iter().map(|job| job.project).collect();
        self.after = projects.last().copied().filter(|_| projects.len() >= 200);
        let messages: Vec<Message> = fed.into_iter().map(|job| job.message).collect();
        self.queue.push_many(Lane::Bulk, &messages).await.expect("pushed");
    }

    /// The time of a top-up where no project has anything in Redis, and all get in that it looks at.
    async fn top_up(&self) -> Duration {
        self.sql.batch_execute("UPDATE jobs SET state = 'waiting' WHERE state = 'enqueued'").await.expect("all wait");
        let start = Instant::now();
        let fed = self.store.top_up(None, 200, 20).await.expect("fed").expect("nobody else");
        let messages: Vec<Message> = fed.jobs.into_iter().map(|job| job.message).collect();
        self.queue.push_many(Lane::Bulk, &messages).await.expect("pushed");
        start.elapsed()
    }

    /// A bulk resync of all of every project: how long the answers take, and how long its jobs.
    async fn accept(&self) {
        let projects = self.store.projects().await.expect("the projects");
        let start = Instant::now();
        let mut total = 0;
        for project in projects {
            total += self.store.open_batch(project, &BatchFilter::default()).await.expect("a batch").total;
        }
        let accepted = start.elapsed();
        while self.store.grow_batches(None, 1000).await.expect("grown").is_some() {}
        let made = start.elapsed().saturating_sub(accepted);
        println!("  a bulk resync of {total}: accepted in {accepted:.2?}, its jobs made in {made:.2?}");
    }
}
