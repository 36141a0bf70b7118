//! A tick of the scheduler among few and among many creators: it should cost the same. It prints figures and fails nothing.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]
#![allow(dead_code, unused_imports, reason = "the tests' support is shared, and not all of it is used here")]

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use secrecy::SecretString;
use shared::store::Store;
use shared::store::batches::BatchFilter;
use support::database;
use support::servers::PrivatePostgres;

const EVERY: Duration = Duration::from_secs(24 * 3600);
/// Creators that are due at each tick, and jobs that it feeds to Redis.
const DUE: i64 = 100;
const TICKS: usize = 60;

#[tokio::main]
async fn main() {
    let postgres = PrivatePostgres::start().await;
    let sizes = [1_000, 100_000, 1_000_000];
    println!("a tick: {DUE} creators claimed, {DUE} jobs made and {DUE} fed, batches looked at; p50 of {TICKS}");
    let mut first = None;
    for size in sizes {
        let system = Creators::with(&postgres.url, size).await;
        let tick = system.tick().await;
        let base = *first.get_or_insert(tick);
        println!("among {size:>9} creators: {tick:.2?}, {:.2} of the first", tick.as_secs_f64() / base.as_secs_f64());
        system.accept().await;
    }
}

struct Creators {
    store: Store,
    sql: tokio_postgres::Client,
    project: shared::ids::ProjectId,
}

impl Creators {
    async fn with(server: &str, size: i64) -> Self {
        let url = database::create(server).await;
        let store = Store::open(&SecretString::from(url.clone()), 4).expect("a store");
        store.migrate().await.expect("migrated");
        let project = store.add_key("bench", &[1; 32], "mlk_bench").await.expect("a project");
        let sql = database::connect(&url).await;
        sql.batch_execute(&format!(
            "INSERT INTO credentials (id, platform, app, external_id, access_token, scopes, access_expires_at)
             VALUES (uuid_v7(), 'TIKTOK', 'app', 'x', '', '', now());
             INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at, next_sync_at)
             SELECT gen_random_uuid(), projects.id, credentials.id, 'TIKTOK', 'x' || n, now() - n * interval '1 ms',
                 now() + interval '1 h' + random() * interval '1 day'
             FROM projects, credentials, generate_series(1, {size}) AS n"
        ))
        .await
        .expect("creators");
        sql.batch_execute("VACUUM ANALYZE").await.expect("vacuumed");
        Self { store, sql, project }
    }

    /// The time of a tick, the middle one of many.
    async fn tick(&self) -> Duration {
        let mut times = Vec::new();
        for _ in 0..TICKS {
            self.sql
                .batch_execute(&format!(
                    "UPDATE creators SET next_sync_at = now() WHERE id IN (SELECT id FROM creators ORDER BY id LIMIT {DUE});
                     DELETE FROM jobs"
                ))
                .await
                .expect("due");
            let start = Instant::now();
            let claimed = self.store.claim_due(Some(EVERY), 1000).await.expect("claimed").expect("nobody else");
            let grown = self.store.grow_batches(1000).await.expect("grown");
            self.store.close_batches().await.expect("closed");
            let fed = self.store.feed(None, 200, DUE).await.expect("fed");
            times.push(start.elapsed());
            assert_eq!((claimed.made, grown, fed.len()), (DUE, None, 100));
        }
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// A bulk resync of all: how long the answer takes, and how long its jobs.
    async fn accept(&self) {
        let start = Instant::now();
        let batch = self.store.open_batch(self.project, &BatchFilter::default()).await.expect("a batch");
        let accepted = start.elapsed();
        while self.store.grow_batches(1000).await.expect("grown").is_some() {}
        let made = start.elapsed().saturating_sub(accepted);
        println!("  a bulk resync of {}: accepted in {accepted:.2?}, its jobs made in {made:.2?}", batch.total);
    }
}
