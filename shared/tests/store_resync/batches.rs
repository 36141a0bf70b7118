//! Batches: what they count, and that it is true to the end.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use shared::ids::{CreatorId, JobId, ProjectId};
use shared::platforms::Platform;
use shared::store::audit::By;
use shared::store::batches::{BatchFilter, ChosenBatch, NewBatch};
use shared::store::disconnects::Disconnect;
use shared::store::jobs::{Failure, Start};
use shared::store::schedule::Claimed;
use shared::store::single_flight::OpenSync;

use crate::{
    ALL, DAY, add_creators, batch, counts, creator_ids, execute, finish, grow_all, jobs_of, nothing, with_creators,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_accepted_as_one_row_and_its_counts_are_true_to_the_end() {
    let (database, project) = with_creators(50).await;
    let ids = creator_ids(&database, project).await;
    // One has an open job, one must connect again, one is disconnected before its job is made and one after it.
    let OpenSync::New(open) = database.store.open_sync(project, ids[0], None).await.unwrap() else { panic!("new") };
    execute(&database, &format!("UPDATE creators SET status = 'REAUTHORIZATION_REQUIRED' WHERE id = '{}'", ids[1]))
        .await;
    let NewBatch { id, total } = database.store.open_batch(project, &ALL).await.unwrap();
    assert_eq!((total, database.count("SELECT count(*) FROM jobs").await), (50, 1));
    assert_eq!(counts(&database, project, id).await, [50, 0, 0, 0, 0]);
    assert!(matches!(database.store.disconnect(project, ids[2], None).await.unwrap(), Disconnect::New { .. }));
    database.connect(project, "later").await;
    grow_all(&database, 7).await;
    assert_eq!(counts(&database, project, id).await, [48, 0, 0, 1, 1]);
    assert!(matches!(database.store.disconnect(project, ids[3], None).await.unwrap(), Disconnect::New { .. }));
    assert_eq!(counts(&database, project, id).await, [47, 0, 0, 1, 2]);
    let batched = "SELECT count(*) FROM jobs WHERE batched AND finished_at IS NULL";
    assert_eq!(database.count(batched).await, 47);
    // A second batch is counted by the same jobs.
    let again = database.store.open_batch(project, &ALL).await.unwrap();
    assert_eq!(again.total, 49);
    grow_all(&database, 1000).await;
    assert_eq!(database.count(batched).await, 48, "the one that connected later");
    let running = database.start(open).await;
    assert_eq!(counts(&database, project, id).await, [46, 1, 0, 1, 2]);
    assert!(
        database.store.retry_job(running.fence(), running.lane, Duration::ZERO, &Failure::internal("x")).await.unwrap()
    );
    assert_eq!(counts(&database, project, id).await, [47, 0, 0, 1, 2]);
    let running = database.start(open).await;
    assert!(database.store.fail_job(running.fence(), &Failure::internal("x")).await.unwrap());
    let rest: Vec<JobId> = jobs_of(&database).await;
    for job in rest {
        if let Start::Claimed(job) = database.store.start_job(job).await.unwrap()
            && job.kind == shared::store::jobs::JobKind::Sync
        {
            database.store.finish_sync(job.fence(), &nothing()).await.unwrap();
        }
    }
    assert_eq!(counts(&database, project, id).await, [0, 0, 46, 2, 2]);
    assert_eq!(counts(&database, project, again.id).await, [0, 0, 47, 2, 0]);
    let ended = batch(&database, project, id).await;
    assert!(ended.finished_at.is_some_and(|at| at >= ended.created_at));
    assert_eq!(batch(&database, project, id).await, ended, "it ended once");
    // Old jobs go; what became of them stays.
    execute(&database, "UPDATE jobs SET finished_at = now() - interval '8 days' WHERE finished_at IS NOT NULL").await;
    while database.store.prune_jobs(10).await.unwrap() > 0 {}
    assert_eq!(database.count("SELECT count(*) FROM batch_jobs").await, 0);
    assert_eq!(counts(&database, project, id).await, [0, 0, 46, 2, 2]);
    assert_eq!(database.store.batch(ProjectId::new(), id).await.unwrap(), None, "another project's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_was_done_since_the_request_counts() {
    let (database, project) = with_creators(3).await;
    let ids = creator_ids(&database, project).await;
    execute(&database, "UPDATE creators SET last_synced_at = now() - interval '2 s'").await;
    let OpenSync::New(open) = database.store.open_sync(project, ids[1], None).await.unwrap() else { panic!("new") };
    let new = database.store.open_batch(project, &ALL).await.unwrap();
    finish(&database, open).await;
    grow_all(&database, 2).await;
    assert_eq!(counts(&database, project, new.id).await, [2, 0, 1, 0, 0]);
    assert_eq!(database.count("SELECT count(*) FROM jobs").await, 3, "and no second one is made");
}

/// The job is open when the making of jobs looks at the creator, and done when the creator's own would be made.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_ends_while_the_jobs_are_made_counts() {
    let (database, project) = with_creators(3).await;
    let ids = creator_ids(&database, project).await;
    let OpenSync::New(open) = database.store.open_sync(project, ids[1], None).await.unwrap() else { panic!("new") };
    let new = database.store.open_batch(project, &ALL).await.unwrap();
    // As the end of a sync.
    let ending = database.client().await;
    let done = format!(
        "BEGIN; UPDATE jobs SET state = 'done', finished_at = now() WHERE id = '{open}';
         UPDATE creators SET last_synced_at = now() WHERE id = '{}'",
        ids[1]
    );
    ending.batch_execute(&done).await.unwrap();
    let making = tokio::spawn({
        let store = database.store.clone();
        async move { store.grow_batches(None, 10).await }
    });
    let blocked =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let began = Instant::now();
    while database.count(blocked).await == 0 {
        assert!(!making.is_finished() && began.elapsed() < Duration::from_secs(60), "it waits for the end");
        tokio::task::yield_now().await;
    }
    ending.batch_execute("COMMIT").await.unwrap();
    assert_eq!(making.await.unwrap().unwrap().unwrap().creators, 3);
    assert_eq!(counts(&database, project, new.id).await, [2, 0, 1, 0, 0]);
    assert_eq!(database.count("SELECT count(*) FROM jobs").await, 3, "and no second one is made");
    assert_eq!(database.count("SELECT members FROM batches").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_tried_again_opens_its_batch_again() {
    let (database, project) = with_creators(1).await;
    let ids = creator_ids(&database, project).await;
    let ChosenBatch::New(new) = database.store.open_batch_of(project, By::CommandLine, &ids, &ALL, None).await.unwrap()
    else {
        panic!("new")
    };
    let job = database.start(jobs_of(&database).await[0]).await;
    assert!(database.store.fail_job(job.fence(), &Failure::internal("x")).await.unwrap());
    assert!(batch(&database, project, new.id).await.finished_at.is_some());
    execute(&database, "UPDATE jobs SET state = 'enqueued', finished_at = NULL").await;
    assert_eq!(counts(&database, project, new.id).await, [1, 0, 0, 0, 0]);
    assert_eq!(batch(&database, project, new.id).await.finished_at, None);
    finish(&database, job.id).await;
    assert_eq!(counts(&database, project, new.id).await, [0, 0, 1, 0, 0]);
    assert_eq!(database.store.close_batches().await.unwrap(), 0, "the read has closed it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_chosen_creators_names_the_first_unknown_one() {
    let (database, project) = with_creators(5).await;
    let ids = creator_ids(&database, project).await;
    let unknown = CreatorId::new();
    let asked = [ids[0], unknown, CreatorId::new()];
    assert_eq!(
        database.store.open_batch_of(project, By::CommandLine, &asked, &ALL, None).await.unwrap(),
        ChosenBatch::Unknown(unknown)
    );
    assert_eq!(
        database.count("SELECT count(*) FROM batches").await + database.count("SELECT count(*) FROM jobs").await,
        0
    );
    let theirs = ProjectId::new();
    assert_eq!(
        database.store.open_batch_of(theirs, By::CommandLine, &ids, &ALL, None).await.unwrap(),
        ChosenBatch::Unknown(ids[0])
    );
    execute(&database, &format!("UPDATE creators SET last_synced_at = now() WHERE id = '{}'", ids[0])).await;
    let old = BatchFilter { platform: Some(Platform::Tiktok), older_than: Some(DAY) };
    let ChosenBatch::New(new) =
        database.store.open_batch_of(project, By::CommandLine, &ids[..3], &old, None).await.unwrap()
    else {
        panic!("new")
    };
    assert_eq!(new.total, 2);
    let theirs = BatchFilter { platform: Some(Platform::Youtube), older_than: None };
    let none = database.store.open_batch(project, &theirs).await.unwrap();
    grow_all(&database, 10).await;
    assert_eq!((none.total, batch(&database, project, none.id).await.finished_at.is_some()), (0, true));
    let stale = database.store.open_batch(project, &old).await.unwrap();
    grow_all(&database, 10).await;
    assert_eq!((stale.total, counts(&database, project, stale.id).await), (4, [4, 0, 0, 0, 0]));
    assert_eq!(database.store.ahead(project).await.unwrap().syncs, 4, "batches share their jobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batchs_jobs_are_of_its_request_also_those_of_the_schedule() {
    let (database, project) = with_creators(3).await;
    let ids = creator_ids(&database, project).await;
    let traced = async |trace: &str| {
        database.count(&format!("SELECT count(*) FROM jobs WHERE trace = '{trace}' AND state = 'waiting'")).await
    };
    // One waits for the schedule, and one for a request before.
    execute(&database, &format!("UPDATE creators SET next_sync_at = now() WHERE id = '{}'", ids[0])).await;
    assert_eq!(database.store.claim_due(Some(DAY), 10).await.unwrap(), Some(Claimed { looked_at: 1, made: 1 }));
    let named = database.store.open_batch_of(project, By::CommandLine, &ids[1..2], &ALL, Some("before")).await.unwrap();
    assert!(matches!(named, ChosenBatch::New(NewBatch { total: 1, .. })));
    database.store.open_traced_batch(project, &ALL, Some("asked")).await.unwrap();
    grow_all(&database, 10).await;
    assert_eq!((traced("before").await, traced("asked").await), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ahead_is_counted_by_project_and_each_job_once() {
    let (database, project) = with_creators(30).await;
    let others = [(database.project("large").await, 3000), (database.project("small").await, 20)];
    for (other, number) in others {
        add_creators(&database, other, &format!("{number}"), number).await;
    }
    // Three batches are about the same thirty.
    execute(&database, "UPDATE creators SET video_count = 50 WHERE external_id LIKE '20%'").await;
    for owner in [project, project, project, others[0].0, others[1].0] {
        database.store.open_batch(owner, &ALL).await.unwrap();
    }
    let before = database.store.ahead(project).await.unwrap();
    assert_eq!((before.syncs, before.pages), (30, 1.0), "also while a batch has no jobs yet");
    grow_all(&database, 1000).await;
    database.store.feed(None, 10, 15).await.unwrap();
    let mut ahead = database.store.ahead(project).await.unwrap();
    ahead.others.sort_unstable_by(f64::total_cmp);
    assert_eq!((ahead.syncs, ahead.pages, ahead.others), (30, 1.0, vec![60.0, 3000.0]));
    assert_eq!(database.store.ahead(ProjectId::new()).await.unwrap().syncs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_finish_jobs_of_one_batch_at_once_lose_no_count() {
    let (database, project) = with_creators(40).await;
    let new = database.store.open_batch(project, &ALL).await.unwrap();
    grow_all(&database, 100).await;
    let jobs = jobs_of(&database).await;
    // As many at once as the store has connections: more would wait for one, and for seconds only.
    stream::iter(jobs).for_each_concurrent(8, |job| finish(&database, job)).await;
    assert_eq!(counts(&database, project, new.id).await, [0, 0, 40, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_projects_batches_grow_in_turn() {
    let (database, large) = with_creators(30).await;
    let small = [database.project("small").await, database.project("another").await];
    for (place, project) in small.into_iter().enumerate() {
        add_creators(&database, project, &format!("small-{place}"), 3).await;
    }
    for project in [large, large, small[0], small[1]] {
        database.store.open_batch(project, &ALL).await.unwrap();
    }
    let (mut turns, mut after) = (Vec::new(), None);
    while let Some(grown) = database.store.grow_batches(after, 10).await.unwrap() {
        after = Some(grown.project_id);
        turns.push((grown.project_id, grown.creators));
    }
    // In the order of their ids; the large one has its first turn at its own place, and all the rest behind the others'.
    let mut first = vec![(large, 10), (small[0], 3), (small[1], 3)];
    first.sort_unstable_by_key(|(project, _)| *project);
    assert_eq!(turns[..3], first);
    assert!(turns[3..].iter().all(|(project, _)| *project == large), "{turns:?}");
    database.store.open_batch(small[0], &ALL).await.unwrap();
    let again = database.store.grow_batches(Some(small[0].max(large)), 10).await.unwrap();
    assert_eq!(again.map(|grown| grown.project_id), Some(small[0]), "from the first again");
}
