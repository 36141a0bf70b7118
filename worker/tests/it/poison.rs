//! A job that ends its workers: from the crashes that the queue counts to the row that says why it was given up.

use std::time::Duration;

use shared::ids::JobId;
use shared::queue::{CRASHES_OF_A_POISON, Delivery, Final, Lane, WorkerPool, WorkerSettings};
use shared::store::batches::BatchFilter;
use shared::store::jobs::{Failure, JobState, Start};

use crate::support::{System, wait_for};

/// Deaths after which a job runs alone; only those that follow are held against it.
const CRASHES_OF_A_SUSPECT: u32 = 2;

/// Starts a worker that starts the job as ours do, and dies of it.
async fn die_of_it(system: &System) {
    let settings = WorkerSettings {
        heartbeat: Duration::from_millis(200),
        dead_after: Duration::from_secs(3),
        ..WorkerSettings::default()
    };
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let store = system.store.clone();
    let pool = WorkerPool::start(&system.queue, settings, move |delivery: Delivery| {
        let (store, started) = (store.clone(), started.clone());
        async move {
            assert!(!delivery.is_poison());
            let start = store.start_job(delivery.message.id).await.expect("started");
            assert!(matches!(start, Start::Claimed(_)), "{start:?}");
            let _ = started.send(());
            std::future::pending().await
        }
    });
    let died = tokio::time::timeout(Duration::from_secs(60), starts.recv()).await;
    assert_eq!(died, Ok(Some(())), "the job is delivered");
    drop(pool);
}

/// A try that TikTok answered badly.
async fn fail_once(system: &System, id: JobId) {
    let Start::Claimed(job) = system.store.start_job(id).await.expect("started") else { panic!("it is open") };
    let message = "internal_error: try later".to_owned();
    let failure = Failure { code: "platform_error", message, log_id: Some("20261124A".to_owned()) };
    let written = system.store.retry_job(job.fence(), job.lane, Duration::ZERO, &failure).await.expect("written");
    assert!(written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_ends_its_workers_is_given_up_and_its_row_and_its_batch_say_so() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(1).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    worker.stop().await;
    let asked = system.requests(&open_id, "path=/v2/user/info/").await;

    let batch = system.store.open_batch(system.project, &BatchFilter::default()).await.expect("a batch").id;
    wait_for("its job is made", async || {
        // None, too, where a statement of the worker before still holds the lock.
        while system.store.grow_batches(None, 1000).await.expect("grown").is_some() {}
        (system.count("SELECT count(*) FROM jobs WHERE state = 'waiting'").await == 1).then_some(())
    })
    .await;
    let fed = system.store.feed(None, 10, 10).await.expect("fed");
    let [job] = &fed[..] else { panic!("one job: {fed:?}") };
    let id = job.message.id;
    fail_once(&system, id).await;
    system.queue.push(Lane::Bulk, &job.message, None).await.expect("pushed");
    for _ in 0..CRASHES_OF_A_SUSPECT + CRASHES_OF_A_POISON {
        die_of_it(&system).await;
    }
    assert_eq!(system.job(id).await.state, JobState::Running, "nobody has said yet what became of it");

    let worker = system.worker();
    assert_eq!(system.last_word(id).await, Final::Failed { code: "internal".to_owned() });
    let row = system.job(id).await;
    assert_eq!(row.error.as_deref(), Some("the job ended its worker 3 times; before that: internal_error: try later"));
    assert_eq!(row.attempts, 2, "a crash is no attempt");
    let shown = system.store.any_job(id).await.expect("read").expect("a job");
    assert_eq!(shown.log_id.as_deref(), Some("20261124A"), "TikTok's support asks for it");
    assert!(row.finished_at.is_some());
    let batch = wait_for("the batch's end", async || {
        let batch = system.store.batch(system.project, batch).await.expect("read").expect("a batch");
        batch.finished_at.is_some().then_some(batch)
    })
    .await;
    assert_eq!((batch.total, batch.failed, batch.done, batch.skipped), (1, 1, 0, 0));
    wait_for("Redis has forgotten it", async || {
        let depth = system.queue.depth(Lane::Bulk).await.expect("a depth");
        (depth.ready + depth.delayed + depth.running == 0).then_some(())
    })
    .await;
    assert_eq!(system.requests(&open_id, "path=/v2/user/info/").await, asked, "it was not run again");

    // Its creator is as it was: the next sync is done.
    assert_eq!(system.sync(connected.creator).await, Final::Done);
    worker.stop().await;
}
