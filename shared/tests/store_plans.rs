//! How Postgres carries out what is asked often, in tables that are large by then and whose statistics say so.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

#[allow(dead_code, reason = "not all of it is used here")]
mod support;

use support::Database;

/// A project with as many finished jobs as waiting ones: the finished ones were made before.
async fn with_a_backlog(database: &Database, jobs: i64) {
    let project = database.project("project").await;
    let first = database.connect(project, "first").await.creator;
    let client = database.client().await;
    client
        .batch_execute(&format!(
            "DELETE FROM jobs;
             INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at)
             SELECT uuid_v7(), project_id, credential_id, platform, 'other-' || n, connected_at
             FROM creators, generate_series(1, {jobs}) AS n WHERE id = '{first}';
             INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, finished_at)
             SELECT uuid_v7(), 'sync', 'bulk', id, project_id, 'done', now() FROM creators;
             INSERT INTO jobs (id, kind, lane, creator_id, project_id, state)
             SELECT uuid_v7(), 'sync', 'bulk', id, project_id, 'waiting' FROM creators;
             ANALYZE"
        ))
        .await
        .expect("jobs");
}

/// A statement's plan with these values in the places of `$1` and so on.
async fn plan(database: &Database, sql: &str, values: &[&str]) -> String {
    let sql =
        values.iter().enumerate().fold(sql.to_owned(), |sql, (n, value)| sql.replace(&format!("${}", n + 1), value));
    let rows = database.client().await.query(&format!("EXPLAIN {sql}"), &[]).await.expect("a plan");
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

/// The lines of a plan that say how jobs are read.
fn reads_of_jobs(plan: &str) -> Vec<&str> {
    plan.lines().map(|line| line.trim_start_matches([' ', '-', '>'])).filter(|line| line.contains(" on jobs")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_reads_what_it_takes_however_much_waits() {
    let database = Database::create().await;
    with_a_backlog(&database, 50_000).await;
    let feed = include_str!("../src/store/feed.sql");
    let nobody = "'00000000-0000-0000-0000-000000000000'::uuid";
    // As a feed asks, and as a look that tops up.
    for (room, least, most) in [("100", "1", "NULL"), ("2000", "8", "200")] {
        let plan = plan(&database, feed, &[nobody, "200", room, least, most]).await;
        let reads = reads_of_jobs(&plan);
        assert!(reads.iter().all(|read| !read.starts_with("Seq Scan")), "{plan}");
        // By their ids, those that were picked; and no others.
        assert_eq!(reads.iter().filter(|read| read.contains("jobs_pkey")).count(), 1, "{plan}");
        assert!(plan.contains("Index Cond: (id = ANY"), "{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_ahead_is_counted_by_the_index_of_what_waits() {
    let database = Database::create().await;
    with_a_backlog(&database, 50_000).await;
    let ahead = include_str!("../src/store/ahead.sql");
    let project = "(SELECT id FROM projects LIMIT 1)";
    let plan = plan(&database, ahead, &[project, "200", "1000"]).await;
    let reads = reads_of_jobs(&plan);
    assert!(reads.iter().all(|read| !read.starts_with("Seq Scan") && !read.contains("jobs_pkey")), "{plan}");
}
