//! The sweeper: a job that Redis has forgotten is done all the same. How soon is a test of its own (`worker/src/sweeper.rs`).

use std::time::Duration;

use serde_json::json;
use shared::ids::JobId;
use shared::queue::{Final, Lane};
use shared::store::jobs::JobState;
use shared::store::single_flight::OpenSync;

use crate::support::{System, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_never_came_to_redis_is_done() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(2).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    // The row is committed; the push never comes.
    let asked = system.store.open_sync(system.project, connected.creator, None).await.expect("an answer");
    let OpenSync::New(id) = asked else { panic!("{asked:?}") };
    assert_eq!(system.last_word(id).await, Final::Done);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flush_every_open_job_is_done() {
    let system = System::start().await;
    let mut open = Vec::new();
    for _ in 0..12 {
        let open_id = system.account(1).await;
        open.push(system.connect(&open_id).await.sync.expect("a first sync"));
    }
    // One of them waits for its next try, one was running.
    system.sql(&format!("UPDATE jobs SET state = 'retrying', attempts = 1 WHERE id = '{}'", open[0])).await;
    system.sql(&format!("UPDATE jobs SET state = 'running', attempts = 1, claim = 1 WHERE id = '{}'", open[1])).await;
    system.flush().await;
    let workers = [system.worker(), system.worker()];
    for id in &open {
        assert_eq!(system.last_word(*id).await, Final::Done);
    }
    assert_eq!(system.job(open[0]).await.attempts, 2);
    assert_eq!(system.job(open[1]).await.attempts, 1, "it was left running: no new attempt");
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_under_a_running_job_does_not_start_it_twice() {
    let system = System::start().await;
    let open_id = system.account(1).await;
    system.fault(json!({ "endpoint": "user_info", "kind": "slow", "delay_ms": 6000, "times": 1 })).await;
    let id = system.connect(&open_id).await.sync.expect("a first sync");
    // In the lane where an answer may take so long: longer than the sweeper waits after a flush.
    system.queue.forget(Lane::Sync, id).await.expect("forgotten");
    system.sql("UPDATE jobs SET lane = 'bulk', batched = true").await;
    system.push(Lane::Bulk, "sync", id).await;
    let worker = system.worker();
    wait_for("the job to run", async || (system.job(id).await.state == JobState::Running).then_some(())).await;
    system.flush().await;
    assert_eq!(system.last_word(id).await, Final::Done);
    let job = system.job(id).await;
    assert_eq!((job.claim, job.attempts), (1, 1));
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
    let id = JobId::new();
    system
        .sql(&format!(
            "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state) \
             VALUES ('{id}', 'dream', 'sync', '{}', '{project}', 'enqueued')",
            connected.creator
        ))
        .await;
    system.push(Lane::Sync, "dream", id).await;
    wait_for("a worker to see it and to put it aside", async || {
        let depth = system.queue.depth(Lane::Sync).await.expect("a depth");
        (depth.delayed == 1).then_some(())
    })
    .await;
    // Others go on beside it.
    for _ in 0..3 {
        assert_eq!(system.sync(connected.creator).await, Final::Done);
    }
    let untouched = format!("SELECT claim FROM jobs WHERE id = '{id}' AND state = 'enqueued'");
    assert_eq!(system.count(&untouched).await, 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_promotion_never_came_to_redis_is_moved() {
    let system = System::start().await;
    let open_id = system.account(1).await;
    let connected = system.connect(&open_id).await;
    let id = connected.sync.expect("a first sync");
    system.queue.forget(Lane::Sync, id).await.expect("forgotten");
    // A bulk job that waits for its next try while somebody asks for it, and Redis is not told.
    let message = shared::queue::Message { id, kind: "sync".to_owned(), trace: None, group: None };
    system.queue.push(Lane::Bulk, &message, Some(Duration::from_secs(1600))).await.expect("pushed");
    let worker = system.worker();
    assert_eq!(system.last_word(id).await, Final::Done);
    worker.stop().await;
}
