//! A job that panics: a failed try like another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shared::queue::Final;
use shared::store::jobs::JobState;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::{System, wait_for};

/// Panics wherever TikTok is about to be called on the test's thread, as a bug there would.
struct Bug {
    fixed: Arc<AtomicBool>,
}

impl Subscriber for Bug {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.name() == "tiktok"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        assert!(self.fixed.load(Ordering::Relaxed), "a bug");
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Runs a test in whose thread every call of TikTok panics until it is `fixed`. Migrations need threads, the bug one.
fn with_a_bug(test: impl AsyncFnOnce(&System, &AtomicBool)) {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let system = threads.block_on(System::start());
    let fixed = Arc::new(AtomicBool::new(false));
    let _bug = tracing::subscriber::set_default(Bug { fixed: fixed.clone() });
    let thread = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread");
    thread.block_on(test(&system, &fixed));
}

#[test]
fn a_job_that_panics_has_spent_a_try_and_is_given_up_after_the_last() {
    with_a_bug(async |system, fixed| {
        let connected = system.connect(&system.account(1).await).await;
        let id = connected.sync.expect("a first sync");
        let worker = system.worker();
        wait_for("a second try", async || (system.job(id).await.attempts >= 2).then_some(())).await;
        system.sql("UPDATE jobs SET attempts = 3").await;
        assert_eq!(system.last_word(id).await, Final::Failed { code: "internal".to_owned() });
        let job = system.job(id).await;
        assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some("the job panicked")));
        // Mended, the creator is synced.
        fixed.store(true, Ordering::Relaxed);
        assert_eq!(system.sync(connected.creator).await, Final::Done);
        worker.stop().await;
    });
}

#[test]
fn a_renewal_that_panics_has_spent_a_try_too() {
    with_a_bug(async |system, fixed| {
        let connected = system.connect(&system.account(1).await).await;
        let id = connected.sync.expect("a first sync");
        system.age_tokens(-1).await;
        let worker = system.worker();
        let failed = wait_for("a failed try", async || {
            let job = system.job(id).await;
            job.error.is_some().then_some(job)
        })
        .await;
        assert_eq!(failed.error.as_deref(), Some("the work on the tokens panicked"));
        fixed.store(true, Ordering::Relaxed);
        // The lease that the panic left behind runs out first.
        assert_eq!(system.last_word(id).await, Final::Done);
        worker.stop().await;
    });
}
