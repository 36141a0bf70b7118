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
    for room in ["100", "2000"] {
        let plan = plan(&database, feed, &[nobody, "200", room]).await;
        let reads = reads_of_jobs(&plan);
        assert!(reads.iter().all(|read| !read.starts_with("Seq Scan")), "{plan}");
        // By their ids, those that were picked; and no others.
        assert_eq!(reads.iter().filter(|read| read.contains("jobs_pkey")).count(), 1, "{plan}");
        assert!(plan.contains("Index Cond: (id = ANY"), "{plan}");
    }
}

/// Twenty projects: each with a thousand jobs in Redis, but one, which has three; and each with as many that wait and are done.
async fn with_much_in_redis(database: &Database) {
    let first = database.project("project 1").await;
    for number in 2..=20 {
        database.project(&format!("project {number}")).await;
    }
    let creator = database.connect(first, "first").await.creator;
    let client = database.client().await;
    client
        .batch_execute(&format!(
            "DELETE FROM jobs;
             INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at)
             SELECT uuid_v7(), projects.id, credential_id, platform, 'other-' || n, connected_at
             FROM creators, projects, generate_series(1, 2000) AS n WHERE creators.id = '{creator}';
             INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, finished_at)
             SELECT uuid_v7(), 'sync', 'bulk', id, project_id, 'done', now() FROM creators;
             INSERT INTO jobs (id, kind, lane, creator_id, project_id, state)
             SELECT uuid_v7(), 'sync', 'bulk', id, project_id, CASE
                 WHEN place > 1000 OR (project_id = '{first}' AND place > 3) THEN 'waiting'
                 WHEN place % 100 = 0 THEN 'running' WHEN place % 2 = 0 THEN 'retrying' ELSE 'enqueued' END
             FROM (SELECT *, row_number() OVER (PARTITION BY project_id) AS place FROM creators) AS placed;
             ANALYZE"
        ))
        .await
        .expect("jobs");
}

/// The rows of jobs that carrying out this statement reads, found or not.
async fn rows_read(database: &Database, sql: &str, values: &[&str]) -> (f64, String) {
    // With the plan that it has for all values, which Postgres comes to when the same is asked often.
    let client = database.client().await;
    client.batch_execute("SET plan_cache_mode = force_generic_plan; BEGIN").await.expect("set");
    client.batch_execute(&format!("PREPARE asked AS {sql}")).await.expect("prepared");
    let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE asked({})", values.join(", "));
    let said = client.simple_query(&explain).await.expect("a plan");
    client.batch_execute("ROLLBACK").await.expect("undone");
    let lines: Vec<String> = said
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    let plan = lines.join("\n");
    let number = |line: &str, name: &str| -> f64 {
        let (_, rest) = line.split_once(name).unwrap_or_else(|| panic!("{name} in {line}: {plan}"));
        rest.trim_start().split([' ', ')']).next().and_then(|number| number.parse().ok()).expect("a number")
    };
    let (mut rows, mut loops) = (0.0, 0.0);
    for line in &lines {
        if line.contains("(actual ") {
            let is_of_jobs = line.contains("Scan") && line.contains(" on jobs");
            loops = if is_of_jobs { number(line, "loops=") } else { 0.0 };
            rows += number(line, "rows=") * loops;
        } else if line.contains("Rows Removed by") {
            rows += number(line, ": ") * loops;
        }
    }
    (rows, plan)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_reads_of_each_project_what_it_may_have_there_however_much_it_has() {
    let database = Database::create().await;
    with_much_in_redis(&database).await;
    let top_up = include_str!("../src/store/top_up.sql");
    let projects = "(SELECT array_agg(id) FROM projects)";
    let projects: String = {
        let client = database.client().await;
        client.query_one(&format!("SELECT {projects}::text"), &[]).await.expect("the projects").get(0)
    };
    let (rows, plan) = rows_read(&database, top_up, &[&format!("'{projects}'"), "20"]).await;
    // Of nineteen the twenty that fill them; of one the three that it has, and seventeen that wait, each found and written.
    // Postgres rounds what it says of each loop.
    assert!((19.0 * 20.0..=19.0 * 20.0 + 3.0 + 2.0 * 17.0 + 20.0).contains(&rows), "{rows} rows: {plan}");
    assert!(!plan.contains("Seq Scan"), "{plan}");
    assert!(plan.contains("jobs_of_bulk_in_redis"), "{plan}");

    let nobody = "'00000000-0000-0000-0000-000000000000'";
    let (rows, plan) = rows_read(&database, include_str!("../src/store/waiting_projects.sql"), &[nobody, "200"]).await;
    assert!((19.5..=21.5).contains(&rows), "{rows} rows: {plan}");
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

/// While jobs are made by the million, the statistics still say that next to none waits.
#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_that_were_just_made_are_looked_at_by_their_ids() {
    let database = Database::create().await;
    with_a_backlog(&database, 50_000).await;
    let client = database.client().await;
    let made = "DELETE FROM jobs WHERE state = 'waiting'; ANALYZE jobs;
        INSERT INTO jobs (id, kind, lane, creator_id, project_id, state)
        SELECT uuid_v7(), 'sync', 'bulk', id, project_id, 'waiting' FROM creators";
    client.batch_execute(made).await.expect("jobs");
    let ids = "SELECT array_agg(id)::text FROM (SELECT id FROM jobs WHERE state = 'waiting' LIMIT 1000) AS first";
    let ids: String = client.query_one(ids, &[]).await.expect("ids").get(0);
    let batch = "'00000000-0000-0000-0000-000000000000'";
    let plan = plan(&database, include_str!("../src/store/uncount_synced.sql"), &[batch, &format!("'{ids}'")]).await;
    let reads = reads_of_jobs(&plan);
    assert_eq!(reads.iter().filter(|read| read.contains("jobs_pkey")).count(), 1, "{plan}");
    assert!(reads.iter().all(|read| !read.contains("jobs_waiting") && !read.starts_with("Seq Scan")), "{plan}");
}
