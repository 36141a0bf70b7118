//! Jobs: who shares them, who may write, what is an attempt.

use std::time::Duration;

use shared::ids::{JobId, ProjectId};
use shared::platforms::Profile;
use shared::queue::{Final, Lane};
use shared::store::jobs::{Failure, JobState, Start};
use shared::store::single_flight::OpenSync;
use shared::store::syncs::WriteError;

use crate::{claim, connect, failure, listed, result, start, store, video};

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_has_one_open_sync_and_callers_share_it() {
    let (store, project, _) = store().await;
    let connected = connect(&store, project, b"a").await;
    let first = connected.sync.expect("a first sync");
    let shared = store.open_sync(project, connected.creator, None).await.unwrap();
    assert_eq!(shared, OpenSync::Shared { id: first, promoted: false });
    let fence = claim(&store, first).await;
    store.finish_sync(fence, &result(&Profile::default(), &[], None)).await.unwrap();
    assert_eq!(store.last_words(&[first]).await.unwrap(), vec![(first, Final::Done)]);
    let OpenSync::New(second) = store.open_sync(project, connected.creator, None).await.unwrap() else {
        panic!("asked after it was done: a new one")
    };
    assert_ne!(first, second);
    assert_eq!(store.open_sync(ProjectId::new(), connected.creator, None).await.unwrap(), OpenSync::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_callers_at_once_make_one_job() {
    let (store, project, _) = store().await;
    let connected = connect(&store, project, b"a").await;
    let fence = claim(&store, connected.sync.unwrap()).await;
    store.finish_sync(fence, &result(&Profile::default(), &[], None)).await.unwrap();
    let calls = (0..20).map(|_| store.open_sync(project, connected.creator, None));
    let answers = futures::future::join_all(calls).await;
    let mut new = 0;
    let mut ids = std::collections::HashSet::new();
    for answer in answers {
        match answer.unwrap() {
            OpenSync::New(id) => {
                new += 1;
                ids.insert(id);
            }
            OpenSync::Shared { id, .. } => {
                ids.insert(id);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((new, ids.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_job_in_the_way_becomes_interactive() {
    let (store, project, sql) = store().await;
    let connected = connect(&store, project, b"a").await;
    for state in ["waiting", "enqueued", "running", "retrying"] {
        sql.execute("UPDATE jobs SET lane = 'bulk', state = $1, finished_at = NULL, run_at = now() + '1h'", &[&state])
            .await
            .unwrap();
        let shared = store.open_sync(project, connected.creator, None).await.unwrap();
        assert_eq!(shared, OpenSync::Shared { id: connected.sync.unwrap(), promoted: true }, "{state}");
        let due = &store.jobs_in_redis(None, 10).await.unwrap()[0];
        assert_eq!((due.lane.as_ref(), due.delay), ("sync", Duration::ZERO), "{state}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_start_fences_the_earlier_one_out() {
    let (store, project, _) = store().await;
    let connected = connect(&store, project, b"a").await;
    let job = connected.sync.unwrap();
    let old = claim(&store, job).await;
    let new = claim(&store, job).await;
    assert!(new.claim > old.claim);
    let videos = [video("v1", 1)];
    assert!(matches!(store.save_videos(old, &videos, None, &start()).await, Err(WriteError::Superseded)));
    let profile = Profile::default();
    assert!(matches!(store.finish_sync(old, &result(&profile, &videos, None)).await, Err(WriteError::Superseded)));
    assert!(!store.retry_job(old, Lane::Sync, Duration::ZERO, &failure()).await.unwrap());
    assert!(!store.fail_job(old, &failure()).await.unwrap());
    assert!(!store.postpone_job(old, Duration::ZERO).await.unwrap());
    assert!(!store.cancel_job(old).await.unwrap());
    assert_eq!(listed(&store, project, connected.creator).await, Vec::<String>::new());
    store.finish_sync(new, &result(&profile, &videos, None)).await.unwrap();
    assert_eq!(listed(&store, project, connected.creator).await, vec!["v1"]);
    assert_eq!(store.start_job(job).await.unwrap(), Start::Finished(Final::Done));
    assert_eq!(store.start_job(JobId::new()).await.unwrap(), Start::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_no_attempt_and_neither_is_a_wait_for_budget() {
    let (store, project, _) = store().await;
    let job = connect(&store, project, b"a").await.sync.unwrap();
    let attempts = async || store.job(project, job).await.unwrap().unwrap().attempts;
    claim(&store, job).await;
    assert_eq!(attempts().await, 1);
    let fence = claim(&store, job).await;
    assert_eq!(attempts().await, 1, "found running: a crash");
    assert!(store.postpone_job(fence, Duration::from_secs(1)).await.unwrap());
    assert_eq!(attempts().await, 0);
    let fence = claim(&store, job).await;
    let elsewhere = store.retry_job(fence, Lane::Bulk, Duration::from_secs(1600), &failure()).await.unwrap();
    assert!(!elsewhere, "the delay of another lane is not written");
    assert!(store.retry_job(fence, Lane::Sync, Duration::from_secs(60), &failure()).await.unwrap());
    let open = &store.jobs_in_redis(None, 10).await.unwrap()[0];
    assert!(open.delay > Duration::from_secs(30) && open.delay <= Duration::from_secs(60), "{:?}", open.delay);
    let fence = claim(&store, job).await;
    assert_eq!(attempts().await, 2);
    assert!(store.fail_job(fence, &failure()).await.unwrap());
    let failed = store.job(project, job).await.unwrap().unwrap();
    assert_eq!((failed.state, failed.error_code.as_deref()), (JobState::Failed, Some("platform_error")));
    assert_eq!(failed.last_word(), Some(Final::Failed { code: "platform_error".into() }));
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_are_pruned_after_a_week() {
    let (store, project, sql) = store().await;
    let job = connect(&store, project, b"a").await.sync.unwrap();
    let fence = claim(&store, job).await;
    assert!(store.fail_job(fence, &failure()).await.unwrap());
    assert_eq!(store.prune_jobs(10).await.unwrap(), 0);
    sql.execute("UPDATE jobs SET finished_at = now() - '8 days'::interval", &[]).await.unwrap();
    assert_eq!(store.prune_jobs(10).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_our_own_does_not_keep_the_id_of_an_exchange_that_it_does_not_tell_of() {
    let (store, project, _) = store().await;
    let id = connect(&store, project, b"access").await.sync.expect("a first sync");
    let log_id = async || store.any_job(id).await.unwrap().expect("a job").log_id;
    let started = async || match store.start_job(id).await.unwrap() {
        Start::Claimed(job) => job,
        other => panic!("not claimed: {other:?}"),
    };
    let told = Failure { log_id: Some("20261130A".into()), ..failure() };
    let own = Failure::internal("the job panicked");
    for is_final in [false, true] {
        let job = started().await;
        assert!(store.retry_job(job.fence(), job.lane, Duration::ZERO, &told).await.unwrap());
        assert_eq!(log_id().await, told.log_id);
        let job = started().await;
        assert_eq!((&job.log_id, job.error.as_deref()), (&told.log_id, Some("it failed")), "for who tells of it");
        let written = if is_final {
            store.fail_job(job.fence(), &own).await
        } else {
            store.retry_job(job.fence(), job.lane, Duration::ZERO, &own).await
        };
        assert!(written.unwrap());
        assert_eq!(log_id().await, None);
    }
}
