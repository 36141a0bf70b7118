//! The feeder on a real Postgres: what goes on to Redis while there is no room.
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

use futures::future::join_all;
use shared::ids::ProjectId;
use shared::store::feeder::{Fed, ToppedUp};
use support::Database;

/// So many jobs of `project` in this state, each of a creator of its own.
async fn add_jobs(database: &Database, project: ProjectId, state: &str, jobs: i64) {
    let first = database.connect(project, &format!("{state} of {project}")).await;
    let made = first.creator;
    database
        .client()
        .await
        .batch_execute(&format!(
            "DELETE FROM jobs WHERE creator_id = '{made}';
             INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at)
             SELECT uuid_v7(), project_id, credential_id, platform, external_id || n, connected_at
             FROM creators, generate_series(2, {jobs}) AS n WHERE id = '{made}';
             INSERT INTO jobs (id, kind, lane, creator_id, project_id, state)
             SELECT uuid_v7(), 'sync', 'bulk', id, project_id, '{state}' FROM creators
             WHERE project_id = '{project}' AND external_id LIKE '{state} of %'"
        ))
        .await
        .expect("jobs");
}

async fn topped_up(database: &Database, most_each: i64) -> Vec<Fed> {
    database.store.top_up(None, 10, most_each).await.unwrap().expect("nobody else").jobs
}

fn projects_of(fed: &[Fed]) -> Vec<ProjectId> {
    fed.iter().map(|job| job.project).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_project_gets_its_part_in_though_another_has_filled_the_window() {
    let database = Database::create().await;
    let (large, small) = (database.project("large").await, database.project("small").await);
    add_jobs(&database, large, "retrying", 20).await;
    add_jobs(&database, large, "waiting", 20).await;
    assert!(topped_up(&database, 2).await.is_empty(), "the large one has more");
    add_jobs(&database, small, "waiting", 5).await;
    let fed = topped_up(&database, 2).await;
    assert_eq!(projects_of(&fed), [small, small]);
    assert!(fed.iter().all(|job| job.message.group == Some(small.into())));
    assert!(topped_up(&database, 2).await.is_empty(), "now both are in");
    assert_eq!(projects_of(&topped_up(&database, 4).await), [small, small], "topped up");
    let client = database.client().await;
    for state in ["running", "retrying"] {
        client.batch_execute(&format!("UPDATE jobs SET state = '{state}' WHERE state <> 'waiting'")).await.unwrap();
        assert!(topped_up(&database, 4).await.is_empty(), "what is {state} is there, too");
    }
    // What a client waits for is not of that lane.
    client.batch_execute("UPDATE jobs SET lane = 'sync' WHERE state = 'retrying'").await.unwrap();
    assert_eq!(topped_up(&database, 1).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_goes_on_after_the_last_one_and_so_comes_to_every_project() {
    let database = Database::create().await;
    let mut projects = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        projects.push(database.project(name).await);
    }
    projects.sort_unstable();
    for project in &projects {
        add_jobs(&database, *project, "waiting", 5).await;
    }
    // That the first ones have all they may have holds no look up.
    let (mut after, mut seen) = (None, Vec::new());
    for _ in 0..6 {
        let ToppedUp { jobs, last } = database.store.top_up(after, 2, 1).await.unwrap().expect("nobody else");
        seen.push(projects_of(&jobs));
        after = last;
    }
    assert_eq!(seen[0].iter().chain(&seen[1]).chain(&seen[2]).copied().collect::<Vec<_>>(), projects);
    assert!(seen[3..].iter().all(Vec::is_empty), "{seen:?}");
    assert_eq!(after, None, "from the first again");
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_top_up_at_once_a_project_gets_its_part_and_no_more() {
    let database = Database::create().await;
    let project = database.project("project").await;
    add_jobs(&database, project, "waiting", 500).await;
    let looks = join_all((0..8).map(|_| database.store.top_up(None, 10, 20))).await;
    let fed: usize = looks.into_iter().filter_map(|look| look.unwrap()).map(|look| look.jobs.len()).sum();
    assert_eq!(fed, 20);
    assert_eq!(database.count("SELECT count(*) FROM jobs WHERE state = 'enqueued'").await, 20);
    // Who holds the lock keeps the others from counting what it has not written yet.
    let mut client = database.client().await;
    let holder = client.transaction().await.unwrap();
    holder.execute("SELECT pg_advisory_xact_lock(x'6d65747269717475'::bigint)", &[]).await.unwrap();
    assert_eq!(database.store.top_up(None, 10, 40).await.unwrap(), None);
    holder.rollback().await.unwrap();
    assert_eq!(topped_up(&database, 40).await.len(), 20);
}
