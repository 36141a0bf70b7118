//! The dashboard of a project with 100,000 creators: what each page takes on the server, over HTTP, and what it weighs with all
//! that it loads. `make bench BENCHES=console` runs it. It prints figures, marks those that are over the limit, and fails
//! nothing. It needs 1 GB of disk for a minute or two.
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
use common::support::member::Member;
use common::support::servers::PrivatePostgres;
use common::{percentiles, without_workers};
use tokio_postgres::Client as Sql;

const CREATORS: i64 = 100_000;
/// Of the creator whose page is read, and of a large one.
const VIDEOS: i64 = 1_000;
const MANY_VIDEOS: i64 = 20_000;
const DAYS: i64 = 365;
const READS: usize = 200;
/// What a page may take.
const LIMIT: Duration = Duration::from_millis(50);
/// What the first page may weigh with its style, script and icon, as it is: nothing is compressed.
const HEAVIEST: usize = 60_000;
/// The pages that somebody comes to first.
const FIRST: [&str; 3] = ["sign-in", "projects", "creators"];

/// A page a line: what it is, and its path below the project, or from `/console` or `/docs` on. `{creator}` is the one with videos
/// and a past, `{large}` one with many, `{key}` a key, `{batch}` a batch, `{dead}` a job that was given up, `{deep}` a place far down in the list.
const PAGES: [(&str, &str); 50] = [
    ("sign-in", "/console/sign-in"),
    ("projects", "/console/projects"),
    ("account", "/console/account"),
    ("key for the documentation", "/console/docs-key"),
    ("creators", "/creators"),
    ("creators, oldest first", "/creators?order=oldest"),
    ("creators, far down", "/creators?after={deep}"),
    ("creators, most followers", "/creators?order=most-followers"),
    ("creators, fewest followers", "/creators?order=fewest-followers"),
    ("creators, synced last", "/creators?order=synced-last"),
    ("creators, synced first", "/creators?order=synced-first"),
    ("creators, one by name", "/creators?q=user4711x"),
    ("creators, all begin so", "/creators?q=u"),
    ("creators, sorted and so", "/creators?order=most-followers&q=u"),
    ("creators, sorted, refused", "/creators?order=synced-first&state=REAUTHORIZATION_REQUIRED"),
    ("creators, refused, far off", "/creators?order=fewest-followers&state=REAUTHORIZATION_REQUIRED"),
    ("creators, sorted, elsewhere", "/creators?order=most-followers&platform=YOUTUBE"),
    ("creators, by account id", "/creators?q=open-4711"),
    ("creators, by our own id", "/creators?q=ours-4711"),
    ("creators, nobody is so", "/creators?q=nobody"),
    ("creators, to connect again", "/creators?state=REAUTHORIZATION_REQUIRED"),
    ("creators, refused and named", "/creators?state=REAUTHORIZATION_REQUIRED&q=user9"),
    ("a creator, 30 days", "/creators/{creator}"),
    ("a creator, a year", "/creators/{creator}?period=1y"),
    ("a creator, all", "/creators/{creator}?period=all"),
    ("a creator, most viewed first", "/creators/{creator}?period=all&sort=views"),
    ("a large creator, 30 days", "/creators/{large}"),
    ("a large creator, all", "/creators/{large}?period=all"),
    ("the same, most viewed first", "/creators/{large}?period=all&sort=views"),
    ("jobs", "/jobs"),
    ("jobs, queued", "/jobs?state=queued"),
    ("jobs, running", "/jobs?state=running"),
    ("jobs, retrying", "/jobs?state=retrying"),
    ("jobs, done", "/jobs?state=done"),
    ("jobs, dead", "/jobs?state=dead"),
    ("a dead job", "/jobs/{dead}"),
    ("batches", "/batches"),
    ("a batch", "/batches/{batch}"),
    ("resync all, asked", "/batches/new"),
    ("operations", "/console/operations"),
    ("operations, its live part", "/console/operations/fragment"),
    ("operations, a lane", "/console/operations/lanes/bulk"),
    ("operations, dead jobs", "/console/operations/jobs"),
    ("operations, a dead job", "/console/operations/jobs/{dead}"),
    ("keys", "/keys"),
    ("a key", "/keys/{key}"),
    ("members", "/members"),
    ("audit log", "/audit"),
    ("settings", "/settings"),
    ("the docs' first page", "/docs"),
];

#[tokio::main]
async fn main() {
    let postgres = PrivatePostgres::start().await;
    let system = without_workers(&postgres).await;
    let (sql, member) = (system.sql().await, Member::of(&system, "owner").await);
    sql.batch_execute("UPDATE users SET operator = true").await.expect("an operator");
    let start = Instant::now();
    fill(&sql).await;
    println!("{CREATORS} creators, filled in {:.1?}", start.elapsed());
    println!("{:<28} {:>9} {:>9} {:>9} {:>9}", "page", "p50", "p99", "HTML", "in all");
    let places = places(&sql).await;
    for (name, path) in PAGES {
        let path = places.iter().fold(path.to_owned(), |path, (place, value)| path.replace(place, value));
        let mut times = Vec::new();
        let mut html = String::new();
        for _ in 0..READS {
            let start = Instant::now();
            // Who is signed in is led on from there.
            let page = if name == "sign-in" {
                system.client.http.get(format!("{}{path}", system.client.base))
            } else {
                member.page(&path)
            };
            let page = page.send().await.expect("an answer");
            let status = page.status();
            html = page.text().await.expect("a page");
            times.push(start.elapsed());
            assert_eq!(status, 200, "{name}, {path}: {html}");
        }
        let (p50, p99) = percentiles(&mut times);
        let weight = html.len() + loads(&system, &html).await;
        let mark = if p99 > LIMIT || (weight > HEAVIEST && FIRST.contains(&name)) { "  over the limit" } else { "" };
        println!("{name:<28} {p50:>9.2?} {p99:>9.2?} {:>9} {weight:>9}{mark}", html.len());
    }
}

/// The bytes of all files that a page loads.
async fn loads(system: &System, html: &str) -> usize {
    let mut files: Vec<&str> = html.split("=\"/static/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    files.sort_unstable();
    files.dedup();
    let mut bytes = 0;
    for file in files {
        let url = format!("{}/static/{file}", system.client.base);
        bytes += system.client.http.get(url).send().await.expect("an answer").bytes().await.expect("a file").len();
    }
    bytes
}

async fn places(sql: &Sql) -> Vec<(&'static str, String)> {
    let mut places = Vec::new();
    for (place, query) in [
        ("{creator}", "SELECT id::text FROM creators WHERE external_id = 'open-1'"),
        ("{large}", "SELECT id::text FROM creators WHERE external_id = 'open-2'"),
        ("{key}", "SELECT id::text FROM api_keys LIMIT 1"),
        ("{batch}", "SELECT id::text FROM batches LIMIT 1"),
        ("{dead}", "SELECT id::text FROM jobs WHERE state = 'failed' LIMIT 1"),
        // The cursor as the list writes it, which is base64 without padding, for URLs.
        (
            "{deep}",
            "SELECT translate(rtrim(encode(convert_to((extract(epoch FROM connected_at) * 1000000)::bigint || '.' || id, 'UTF8'),
                'base64'), '='), E'+/\\n', '-_') FROM creators WHERE external_id = 'open-1000'",
        ),
    ] {
        places.push((place, sql.query_one(query, &[]).await.expect(place).get(0)));
    }
    places
}

/// One project that has it all: creators with names and numbers, jobs in every state, batches, keys, people, a log; one creator
/// with videos and a past.
async fn fill(sql: &Sql) {
    let statements = format!(
        "INSERT INTO credentials (id, platform, app, external_id, access_token, scopes, access_expires_at)
         VALUES (uuid_v7(), 'TIKTOK', 'app', 'x', '', '', now());
         INSERT INTO creators (id, project_id, credential_id, platform, external_id, username, display_name, bio, followers,
             following, likes, video_count, status, connected_at, last_synced_at, external_ref)
         SELECT uuid_v7(), projects.id, credentials.id, 'TIKTOK', 'open-' || n, 'user' || n || 'x', 'The user number ' || n,
             repeat('bio ', 20), n * 7, n, n * 31, n % 500,
             CASE WHEN n > {CREATORS} - 1000 THEN 'REAUTHORIZATION_REQUIRED' ELSE 'ACTIVE' END,
             now() - ({CREATORS} - n) * interval '1 minute', now() - random() * interval '1 day', 'ours-' || n
         FROM projects, credentials, generate_series(1, {CREATORS}) AS n;
         INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, attempts, error_code, error, finished_at)
         SELECT uuid_v7(), 'sync', 'bulk', id, project_id, CASE WHEN followers % 50 = 0 THEN 'failed' ELSE 'done' END, 1,
             CASE WHEN followers % 50 = 0 THEN 'platform_error' END, CASE WHEN followers % 50 = 0 THEN 'internal_error: later' END,
             now() - random() * interval '1 day'
         FROM creators;
         INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, attempts, run_at)
         SELECT uuid_v7(), 'sync', CASE WHEN followers % 3 = 0 THEN 'sync' ELSE 'bulk' END, id, project_id,
             (ARRAY['waiting', 'waiting', 'enqueued', 'running', 'retrying'])[1 + followers % 5], 1, now() + interval '1 minute'
         FROM creators WHERE followers % 10 < 5 AND external_id <> 'open-1';
         INSERT INTO batches (id, project_id, total, expanded_at, finished_at)
         SELECT uuid_v7(), projects.id, {CREATORS}, now(), CASE WHEN n > 1 THEN now() END FROM projects, generate_series(1, 200) AS n;
         INSERT INTO users (id, email) SELECT uuid_v7(), 'user' || n || '@example.com' FROM generate_series(1, 20) AS n;
         INSERT INTO members (project_id, user_id, role) SELECT projects.id, users.id, 'developer' FROM projects, users
         WHERE email LIKE 'user%';
         INSERT INTO api_keys (id, project_id, hash, prefix, name, revoked_at)
         SELECT uuid_v7(), projects.id, sha256(n::text::bytea), 'mlk_' || n, 'The key number ' || n,
             CASE WHEN n > 30 THEN now() END
         FROM projects, generate_series(1, 100) AS n;
         INSERT INTO audit_log (id, project_id, actor, action, subject)
         SELECT uuid_v7(), projects.id, 'user1@example.com', 'creator_synced', 'user' || n || 'x'
         FROM projects, generate_series(1, {CREATORS}) AS n;
         INSERT INTO videos (id, creator_id, external_id, title, views, likes, comments, shares, duration, published_at)
         SELECT uuid_v7(), id, n::text, 'The video number ' || n, n * 1000, n * 10, n, n, 30, now() - n * interval '8 hours'
         FROM creators, generate_series(1, {VIDEOS}) AS n WHERE external_id = 'open-1';
         INSERT INTO videos (id, creator_id, external_id, title, views, likes, comments, shares, duration, published_at)
         SELECT uuid_v7(), id, n::text, 'The video number ' || n, n * 1000, n * 10, n, n, 30, now() - n * interval '1 hour'
         FROM creators, generate_series(1, {MANY_VIDEOS}) AS n WHERE external_id = 'open-2';
         SELECT make_history_partitions(now() - interval '{DAYS} days', now());
         INSERT INTO creator_history SELECT id, now() - n * interval '1 day', 100000 - n * 7, 100, 700000 - n * 31, 1000, 9000000 - n * 999
         FROM creators, generate_series(0, {DAYS}) AS n WHERE external_id IN ('open-1', 'open-2');
         INSERT INTO video_history SELECT id, now() - n * interval '1 day', views - n, likes, comments, shares
         FROM videos, generate_series(0, 90) AS n;
         VACUUM ANALYZE"
    );
    for statement in statements.split(";\n") {
        sql.batch_execute(statement).await.expect(statement);
    }
}
