//! The lane as apalis sees it: a [`Backend`] that hands over what the fetcher brought, and the worker that drives it.
//!
//! Its three poll methods never fail, never end and never touch Redis, so nothing that Redis does can end an apalis worker.

use std::convert::Infallible;
use std::future::Ready;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::error::{BoxDynError, WorkerError};
use apalis_core::task::Task;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use apalis_core::worker::ext::parallelize::ParallelizeExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::layer::util::Identity;
use tracing::warn;

use super::feed::Job;
use super::lane::LaneState;
use super::{Delivery, Outcome};

/// What runs a job.
pub(super) type Handler = Arc<dyn Fn(Delivery) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// Longest pause before an apalis worker that ended is built anew.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A lane's feed, for one apalis worker.
struct LaneBackend {
    lane: Arc<LaneState>,
}

impl Backend for LaneBackend {
    type Task = Task<Job>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Task<Job>, Infallible>>> {
        self.lane.feed.poll_pop(cx).map(|job| Some(Ok(Task::new(job))))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for LaneBackend {
    type Args = Job;
    type Id = String;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

/// How the pool reaches into a lane's apalis worker.
pub(super) struct Control {
    /// No new job is to be taken.
    pub stop: CancellationToken,
    /// Every handler's future is to be dropped now.
    pub abandon: CancellationToken,
    /// Rings when the worker does not take what the fetcher brought.
    pub deaf: Notify,
    /// The worker that runs now, for the tests to harm.
    #[cfg(test)]
    pub context: std::sync::Mutex<Option<WorkerContext>>,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            deaf: Notify::new(),
            #[cfg(test)]
            context: std::sync::Mutex::default(),
        }
    }
}

/// Runs an apalis worker on the lane, and builds a fresh one, under a fresh name and after a growing pause, whenever one
/// ends or goes deaf. Jobs that run already go on meanwhile.
pub(super) async fn run(lane: Arc<LaneState>, handler: Handler, control: Arc<Control>) {
    let mut pause = Duration::from_millis(100);
    for start in 1_u64.. {
        let context = WorkerContext::new(&format!("{}-{}-{start}", lane.claims.worker, lane.lane()));
        #[cfg(test)]
        super::lane::lock(&control.context).replace(context.clone());
        let worker = build(context, lane.clone(), handler.clone(), control.abandon.clone());
        let started = std::time::Instant::now();
        let end = tokio::select! {
            end = worker => end.map_or_else(|error| error.to_string(), |()| "it ended".to_owned()),
            () = control.deaf.notified() => "it took no jobs".to_owned(),
            () = control.stop.cancelled() => return,
        };
        if control.stop.is_cancelled() {
            return;
        }
        metrics::counter!("metriqlab_queue_worker_rebuilds_total", "lane" => lane.lane().as_str()).increment(1);
        warn!(lane = %lane.lane(), reason = end, "building the apalis worker anew");
        if started.elapsed() > Duration::from_secs(60) {
            pause = Duration::from_millis(100);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = control.stop.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn build(
    context: WorkerContext,
    lane: Arc<LaneState>,
    handler: Handler,
    abandon: CancellationToken,
) -> BoxFuture<'static, Result<(), WorkerError>> {
    let worker = WorkerBuilder::new(context)
        .backend(LaneBackend { lane })
        .catch_panic()
        .parallelize(detach)
        .build(move |job: Job| perform(job, handler.clone(), abandon.clone()));
    Box::pin(worker.run())
}

/// Runs a job in a task of its own and tells apalis that it is over: what becomes of it goes to the acker, by its lease,
/// also after a panic. Two tasks woken by the same end, this worker and the acker, would wake a second thread for the one.
fn detach<R: Default + Send + 'static>(
    job: impl Future<Output = Result<R, BoxDynError>> + Send + 'static,
) -> Ready<Result<Result<R, BoxDynError>, Infallible>> {
    tokio::spawn(job);
    std::future::ready(Ok(Ok(R::default())))
}

async fn perform(job: Job, handler: Handler, abandon: CancellationToken) {
    let Job { delivery, lease } = job;
    tokio::select! {
        biased;
        outcome = handler(delivery) => lease.end(outcome),
        () = abandon.cancelled() => {
            lease.abandon();
        }
    }
}
