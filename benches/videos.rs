//! A page of videos among 10 thousand and among 10 million, as SQL and over HTTP: it should cost the same. `make bench` runs
//! it. It prints figures and fails nothing. It needs 4 GB of disk and 5 GB of memory for a minute or two.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]

mod common;

use std::time::{Duration, Instant};

use common::support::System;
use common::support::servers::PrivatePostgres;
use common::{alter_system, percentiles, project, without_workers};
use shared::ids::{CreatorId, ProjectId};
use shared::store::Store;
use shared::store::videos::VideoQuery;
use tokio_postgres::Client as Sql;
use uuid::Uuid;

const SIZES: [i64; 2] = [10_000, 10_000_000];
/// Videos of each creator, beside each other in the table, as a first sync writes them.
const EACH: i64 = 100;
const PAGE: i64 = 20;
/// Creators, taken by chance, whose pages are walked from the first to the last.
const WALKS: usize = 1_000;

#[tokio::main]
async fn main() {
    let mut postgres = PrivatePostgres::start().await;
    set_up(&postgres).await;
    // Its memory is taken at the start.
    postgres.restart().await;
    let system = without_workers(&postgres).await;
    let sql = system.sql().await;
    let store = Store::open(&system.database_url.clone().into(), 1).expect("a store");
    let project = project(&sql).await;
    println!(
        "a page of {PAGE} videos, all pages of {WALKS} creators with {EACH} videos each; p50 and p99, ratio of the p50"
    );
    let (mut had, mut first) = (0, None);
    for size in SIZES {
        let start = Instant::now();
        fill(&sql, had, size).await;
        had = size;
        let filled = start.elapsed();
        let creators = some_creators(&sql).await;
        let bare = by_sql(&store, project, &creators).await;
        let http = over_http(&system, &creators).await;
        let (bare_then, http_then) = *first.get_or_insert((bare.0, http.0));
        let report = |how: &str, (p50, p99): (Duration, Duration), then: Duration| {
            let ratio = p50.as_secs_f64() / then.as_secs_f64();
            println!("among {size:>8} videos, {how}: {p50:.2?}, {p99:.2?}, {ratio:.2} of the first");
        };
        report("as SQL   ", bare, bare_then);
        report("over HTTP", http, http_then);
        println!("  (filled in {filled:.1?})");
    }
}

/// The rows are generated: nothing is lost with them. And Postgres has memory for all of them, as one with a large table is given:
/// what is compared is the table's size, not two caches.
async fn set_up(postgres: &PrivatePostgres) {
    let settings = [
        "fsync = off",
        "full_page_writes = off",
        "max_wal_size = '8GB'",
        "maintenance_work_mem = '1GB'",
        "shared_buffers = '4GB'",
    ];
    alter_system(postgres, &settings).await;
}

/// Brings the number of videos from `from` to `to`. The indexes are made anew afterwards, which is faster than keeping them
/// up, and leaves them as dense in a large table as in a small one.
async fn fill(sql: &Sql, from: i64, to: i64) {
    let (first, last) = (from / EACH + 1, to / EACH);
    sql.batch_execute(&format!(
        "INSERT INTO credentials (id, platform, app, external_id, access_token, scopes, access_expires_at)
         VALUES (uuid_v7(), 'TIKTOK', 'app', 'x', '', '', now()) ON CONFLICT DO NOTHING;
         INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at, last_synced_at)
         SELECT gen_random_uuid(), projects.id, credentials.id, 'TIKTOK', 'x' || n, now(), now()
         FROM projects, credentials, generate_series({first}, {last}) AS n;
         CREATE TEMP TABLE indexes AS SELECT indexdef FROM pg_indexes WHERE tablename = 'videos' AND indexname = 'videos_by_age';
         DROP INDEX videos_by_age;
         ALTER TABLE videos DROP CONSTRAINT videos_pkey, DROP CONSTRAINT videos_creator_id_external_id_key;
         -- The rows' creators are there: no look-up of each.
         SET session_replication_role = replica;
         INSERT INTO videos (id, creator_id, external_id, title, url, duration, views, likes, comments, shares, published_at)
         SELECT gen_random_uuid(), creators.id, (7300000000000000000 + n)::text, 'The video of the day, number ' || n,
             'https://www.tiktok.com/@somebody/video/' || (7300000000000000000 + n), 30, n * 7, n * 3, n, n,
             now() - n * interval '1 day'
         FROM creators, generate_series(1, {EACH}) AS n
         WHERE substr(creators.external_id, 2)::int BETWEEN {first} AND {last};
         RESET session_replication_role;
         ALTER TABLE videos ADD PRIMARY KEY (id), ADD UNIQUE (creator_id, external_id)"
    ))
    .await
    .expect("videos");
    let index: String = sql.query_one("SELECT indexdef FROM indexes", &[]).await.expect("the index").get(0);
    sql.batch_execute(&format!("{index}; DROP TABLE indexes")).await.expect("the index again");
    sql.batch_execute("VACUUM ANALYZE").await.expect("vacuumed");
    let rows: i64 = sql.query_one("SELECT count(*) FROM videos", &[]).await.expect("a count").get(0);
    assert_eq!(rows, to);
}

async fn some_creators(sql: &Sql) -> Vec<CreatorId> {
    let query = format!("SELECT id::text FROM creators ORDER BY random() LIMIT {WALKS}");
    let some = sql.query(&query, &[]).await.expect("creators");
    let ids: Vec<String> = some.iter().map(|row| row.get(0)).collect();
    // As many walks in a small table, so that both have the same number of samples.
    ids.iter().cycle().take(WALKS).map(|id| CreatorId::from(id.parse::<Uuid>().expect("an id"))).collect()
}

/// By the store's own query, on one connection: median and 99th percentile of a page.
async fn by_sql(store: &Store, project: ProjectId, creators: &[CreatorId]) -> (Duration, Duration) {
    let mut times = Vec::new();
    for creator in creators {
        let mut asked = VideoQuery::default();
        loop {
            let start = Instant::now();
            let page = store.videos(project, *creator, &asked, PAGE).await.expect("a page").expect("a creator");
            times.push(start.elapsed());
            match page.last() {
                Some(last) if page.len() == 20 => asked.after = Some(last.position(asked.sort)),
                _ => break,
            }
        }
    }
    percentiles(&mut times)
}

/// The same as a client sees it.
async fn over_http(system: &System, creators: &[CreatorId]) -> (Duration, Duration) {
    let mut times = Vec::new();
    for creator in creators {
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/creators/{creator}/videos?limit={PAGE}&cursor={cursor}");
            let start = Instant::now();
            let page = system.client.get(&path).await;
            times.push(start.elapsed());
            match page.data(200)["nextCursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
    }
    percentiles(&mut times)
}
