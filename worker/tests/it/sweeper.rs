//! The sweeper: a job that Redis has forgotten is done all the same.

use std::time::Duration;

use shared::queue::Final;
use shared::store::jobs::OpenSync;
use tokio::time::Instant;

use crate::support::System;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_never_came_to_redis_is_done_within_seconds() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(2).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    // The row is committed; the push never comes.
    let asked = system.store.open_sync(system.project, connected.creator, None).await.expect("an answer");
    let OpenSync::New(id) = asked else { panic!("{asked:?}") };
    let began = Instant::now();
    assert_eq!(system.last_word(id).await, Final::Done);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_kind_that_nobody_knows_is_left_alone() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(2).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    let project = system.project;
    let id = uuid::Uuid::now_v7();
    system
        .sql(&format!(
            "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state) \
             VALUES ('{id}', 'dream', 'sync', '{}', '{project}', 'enqueued')",
            connected.creator
        ))
        .await;
    // Others go on beside it.
    for _ in 0..3 {
        assert_eq!(system.sync(connected.creator).await, Final::Done);
    }
    let untouched = format!("SELECT claim FROM jobs WHERE id = '{id}' AND state = 'enqueued'");
    assert_eq!(system.count(&untouched).await, 0);
    worker.stop().await;
}
