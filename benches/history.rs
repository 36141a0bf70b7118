//! A year of daily points of a creator and of a video, among ten thousand each, as SQL and over HTTP; what a point costs in
//! disk; and what it costs to erase a creator's. `make bench` runs it. It prints figures and fails nothing. It needs 3 GB of
//! disk for some minutes.
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

use chrono::{DateTime, TimeDelta, Utc};
use common::support::System;
use common::support::servers::PrivatePostgres;
use common::{alter_system, percentiles, project, without_workers};
use shared::ids::{CreatorId, ProjectId, VideoId};
use shared::store::Store;
use shared::store::history::{HistoryRange, Interval};
use tokio_postgres::Client as Sql;
use uuid::Uuid;

const CREATORS: i64 = 10_000;
/// Videos of each of the first creators: as many videos as creators.
const EACH: i64 = 100;
const DAYS: i64 = 365;
/// One more creator is read as often as the schedule ever does: sixteen times a day.
const BUSY: i64 = 16;
/// Creators and videos, taken by chance, whose year is read.
const READS: i64 = 1_000;

#[tokio::main]
async fn main() {
    let postgres = PrivatePostgres::start().await;
    without_sync(&postgres).await;
    let system = without_workers(&postgres).await;
    let sql = system.sql().await;
    let store = Store::open(&system.database_url.clone().into(), 1).expect("a store");
    let project = project(&sql).await;
    let start = Instant::now();
    fill(&sql).await;
    println!("{CREATORS} creators and as many videos, {DAYS} days, filled in {:.1?}", start.elapsed());
    size(&sql, "creator_history", "creator").await;
    size(&sql, "video_history", "video").await;
    let range = HistoryRange {
        from: Utc::now() - TimeDelta::days(DAYS),
        to: DateTime::<Utc>::MAX_UTC,
        interval: Interval::Day,
    };
    println!("a year by days; p50 and p99");
    read_creators(&system, &store, project, range, &some(&sql, "creators WHERE external_id <> 'x1'").await).await;
    read_busy(&store, project, range, &some(&sql, "creators WHERE external_id = 'x1'").await).await;
    read_videos(&system, &store, project, range, &some(&sql, "videos").await).await;
    erase(&sql).await;
}

/// The rows are generated: nothing is lost with them.
async fn without_sync(postgres: &PrivatePostgres) {
    alter_system(postgres, &["fsync = off", "full_page_writes = off", "max_wal_size = '8GB'"]).await;
    let sql = common::support::database::connect(&postgres.url).await;
    sql.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
}

/// Day after day, as syncs append: creators in another order each day, the videos of one together, and all of it into indexes
/// that are kept up, so that these are as full as they get.
async fn fill(sql: &Sql) {
    sql.batch_execute(&format!(
        "INSERT INTO credentials (id, platform, app, external_id, access_token, scopes, access_expires_at)
         VALUES (uuid_v7(), 'TIKTOK', 'app', 'x', '', '', now());
         INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at, last_synced_at)
         SELECT uuid_v7(), projects.id, credentials.id, 'TIKTOK', 'x' || n, now(), now()
         FROM projects, credentials, generate_series(1, {CREATORS}) AS n;
         INSERT INTO videos (id, creator_id, external_id, title, views, published_at)
         SELECT uuid_v7(), id, n::text, 'The video of the day', n, now()
         FROM (SELECT id FROM creators ORDER BY id LIMIT {CREATORS} / {EACH}) AS owners, generate_series(1, {EACH}) AS n;
         SELECT make_history_partitions(now() - interval '{DAYS} days', now());
         ANALYZE"
    ))
    .await
    .expect("creators and videos");
    for day in (0..DAYS).rev() {
        sql.batch_execute(&format!(
            "INSERT INTO creator_history
             SELECT id, now() - interval '{day} days' - random() * interval '1 hour', {day}, 100, {day} * 7, 20, {day} * 1000
             FROM creators ORDER BY random();
             INSERT INTO creator_history
             SELECT id, now() - interval '{day} days' - n * interval '80 minutes', {day}, 100, {day} * 7, 20, {day} * 1000
             FROM creators, generate_series(1, {BUSY} - 1) AS n WHERE external_id = 'x1' ORDER BY n DESC;
             INSERT INTO video_history
             SELECT id, now() - interval '{day} days', {day} * 1000, {day} * 7, {day}, {day} FROM videos
             JOIN (SELECT creator_id, random() AS turn FROM videos GROUP BY creator_id) AS turns USING (creator_id)
             ORDER BY turn, id"
        ))
        .await
        .expect("a day");
    }
    sql.batch_execute("VACUUM ANALYZE").await.expect("vacuumed");
}

/// What a row costs, with its part of the index; and a million of them a day for a year.
async fn size(sql: &Sql, table: &str, whose: &str) {
    let query = format!(
        "SELECT (SELECT count(*) FROM {table}), sum(pg_relation_size(relid))::bigint, sum(pg_indexes_size(relid))::bigint
         FROM pg_partition_tree('{table}') WHERE isleaf"
    );
    let row = sql.query_one(&query, &[]).await.expect("sizes");
    let (rows, heap, index): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let total = (heap + index) / rows;
    println!(
        "a {whose}'s day: {total} bytes, {} of them row, {} index; of a million, a day {} MB, a year {} GB",
        heap / rows,
        index / rows,
        total,
        total * DAYS / 1000
    );
}

async fn some(sql: &Sql, of: &str) -> Vec<(Uuid, Option<Uuid>)> {
    let creator = if of.starts_with("videos") { "creator_id::text" } else { "NULL::text" };
    let query = format!("SELECT id::text, {creator} FROM {of} ORDER BY random() LIMIT {READS}");
    let parse = |text: String| text.parse::<Uuid>().expect("an id");
    let rows = sql.query(&query, &[]).await.expect("ids");
    rows.iter().map(|row| (parse(row.get(0)), row.get::<_, Option<String>>(1).map(parse))).collect()
}

async fn read_creators(
    system: &System,
    store: &Store,
    project: ProjectId,
    range: HistoryRange,
    creators: &[(Uuid, Option<Uuid>)],
) {
    let (mut bare, mut http) = (Vec::new(), Vec::new());
    for (creator, _) in creators {
        let start = Instant::now();
        let points = store.creator_history(project, CreatorId::from(*creator), range, 500).await.expect("read");
        bare.push(start.elapsed());
        assert!((364..=366).contains(&points.expect("a creator").len()));
        http.push(over_http(system, &format!("/api/v1/creators/{creator}/history"), range).await);
    }
    report("a creator, as SQL   ", &mut bare);
    report("a creator, over HTTP", &mut http);
}

async fn read_busy(store: &Store, project: ProjectId, range: HistoryRange, creators: &[(Uuid, Option<Uuid>)]) {
    let (mut times, busy) = (Vec::new(), creators[0].0);
    for _ in 0..100 {
        let start = Instant::now();
        let points = store.creator_history(project, CreatorId::from(busy), range, 500).await.expect("read");
        times.push(start.elapsed());
        assert!((364..=367).contains(&points.expect("a creator").len()));
    }
    report(&format!("one synced {BUSY} times a day, as SQL"), &mut times);
}

async fn read_videos(
    system: &System,
    store: &Store,
    project: ProjectId,
    range: HistoryRange,
    videos: &[(Uuid, Option<Uuid>)],
) {
    let (mut bare, mut http) = (Vec::new(), Vec::new());
    for (video, creator) in videos {
        let creator = CreatorId::from(creator.expect("its creator"));
        let start = Instant::now();
        let points = store.video_history(project, creator, VideoId::from(*video), range, 500).await.expect("read");
        bare.push(start.elapsed());
        assert!((364..=366).contains(&points.expect("a video").len()));
        http.push(over_http(system, &format!("/api/v1/creators/{creator}/videos/{video}/history"), range).await);
    }
    report("a video, as SQL   ", &mut bare);
    report("a video, over HTTP", &mut http);
}

async fn over_http(system: &System, path: &str, range: HistoryRange) -> Duration {
    let from = range.from.format("%Y-%m-%dT%H:%M:%SZ");
    let start = Instant::now();
    let answer = system.client.get(&format!("{path}?from={from}")).await;
    let took = start.elapsed();
    assert!((364..=366).contains(&answer.data(200)["items"].as_array().expect("items").len()));
    took
}

/// A year of a creator with a hundred videos, as the transaction that deletes it does if nothing was erased before.
async fn erase(sql: &Sql) {
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let gone = "DELETE FROM creators WHERE id = (SELECT creator_id FROM videos LIMIT 1)";
        assert_eq!(sql.execute(gone, &[]).await.expect("deleted"), 1);
        times.push(start.elapsed());
    }
    report(&format!("a creator with {EACH} videos and their year deleted ({} rows)", DAYS * (EACH + 1)), &mut times);
}

fn report(what: &str, times: &mut Vec<Duration>) {
    let (p50, p99) = percentiles(times);
    println!("{what}: {p50:.2?}, {p99:.2?}");
}
