//! The worker pool: all lanes in one process, from start to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::backend::{self, Control, Handler};
use super::claims::{ClaimId, Claims};
use super::gates::{Gates, LANES_CHANGED};
use super::lane::LaneState;
use super::slots::{Slots, SuspectSlot};
use super::{DEAD_AFTER, Delivery, Lane, Outcome, Queue, acker, heartbeat, signals};

/// How long, at a stop, handlers may take to let go after they were told to.
const LET_GO: Duration = Duration::from_millis(500);

/// How long, at a stop, each step may wait for Redis.
const REDIS_AT_STOP: Duration = Duration::from_secs(3);

/// How a worker process works.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// Jobs at a time, all lanes together; at least 1. The bulk lane gets three quarters of them at most.
    pub concurrency: usize,
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// A worker that was not heard of for this long is dead, and its jobs are taken over.
    pub dead_after: Duration,
    /// How often an idle lane is looked at although nothing called for it.
    pub safety_poll: Duration,
    /// When a job is tried again whose handler panicked.
    pub retry_after: Duration,
    /// When a job of an unknown kind is offered again.
    pub unknown_after: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            concurrency: 32,
            heartbeat: Duration::from_millis(500),
            dead_after: DEAD_AFTER,
            safety_poll: Duration::from_secs(5),
            retry_after: Duration::from_secs(5),
            unknown_after: Duration::from_secs(10),
        }
    }
}

/// A running worker. Dropped without [`WorkerPool::stop`], it leaves as a dead worker does: others take its jobs over.
pub struct WorkerPool {
    name: String,
    lanes: Vec<LaneTasks>,
    /// Ends the heartbeat and the subscription.
    end: CancellationToken,
    tasks: Vec<AbortOnDropHandle<()>>,
}

/// Whether a worker is not only alive but hears: what a health check asks.
#[derive(Clone)]
pub struct Liveness(Vec<Arc<LaneState>>);

impl Liveness {
    /// How long ago Redis last answered a fetch, on the lane where that is longest; a lane whose slots are all taken
    /// counts as fresh. At most [`WorkerSettings::safety_poll`] and a bit while all is well.
    pub fn last_fetch_age(&self) -> Duration {
        self.0.iter().map(|lane| lane.last_fetch_age()).max().unwrap_or_default()
    }

    /// How long ago Redis last answered a fetch, or refused it (before the first one: a heartbeat) with an error of its own.
    /// Who hears refusals is not deaf, and would hear the same after a restart.
    pub fn last_word_age(&self) -> Duration {
        self.0.iter().map(|lane| lane.last_word_age()).max().unwrap_or_default()
    }

    /// Jobs that the worker holds.
    pub fn running(&self) -> usize {
        self.0.iter().map(|lane| lane.running().len()).sum()
    }
}

struct LaneTasks {
    state: Arc<LaneState>,
    control: Arc<Control>,
    closing: CancellationToken,
    fetcher: AbortOnDropHandle<()>,
    worker: AbortOnDropHandle<()>,
    acker: AbortOnDropHandle<()>,
    /// Without a stop, the handlers end with the pool.
    _abandon: DropGuard,
}

impl std::fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerPool").field("name", &self.name).finish_non_exhaustive()
    }
}

impl WorkerPool {
    /// Starts working on all lanes. Redis may be away. Must be called in a tokio runtime.
    pub fn start<F, Fut>(queue: &Queue, settings: WorkerSettings, handler: F) -> Self
    where
        F: Fn(Delivery) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self::start_gated(queue, settings, &Gates::open(), handler)
    }

    /// The same, on the lanes whose gates are open at the time.
    pub fn start_gated<F, Fut>(queue: &Queue, settings: WorkerSettings, gates: &Gates, handler: F) -> Self
    where
        F: Fn(Delivery) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |delivery| Box::pin(handler(delivery)));
        let name = unique_name();
        let slots = Arc::new(Slots::new(settings.concurrency));
        let wakes: Vec<Arc<Notify>> = Lane::ALL.iter().map(|_| Arc::default()).collect();
        let suspect = Arc::new(SuspectSlot::new(wakes.clone()));
        let lanes: Vec<LaneTasks> = Lane::ALL
            .into_iter()
            .zip(wakes)
            .map(|(lane, wake)| {
                let claims = Claims { queue: queue.clone(), lane, worker: name.clone() };
                let state = LaneState::new(claims, settings, wake, slots.clone(), suspect.clone(), gates.clone());
                LaneTasks::start(state, handler.clone())
            })
            .collect();
        let end = CancellationToken::new();
        let pairs = lanes.iter().map(|lane| (lane.state.clone(), lane.control.clone())).collect();
        let tasks = vec![
            spawn(heartbeat::run(pairs, end.clone())),
            spawn(listen(
                queue.clone(),
                lanes.iter().map(|lane| lane.state.clone()).collect(),
                gates.clone(),
                end.clone(),
            )),
        ];
        info!(worker = name, concurrency = settings.concurrency, "worker started");
        Self { name, lanes, end, tasks }
    }

    /// The name under which Redis knows this worker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells, also while the pool stops, how long ago Redis last answered a fetch.
    pub fn liveness(&self) -> Liveness {
        Liveness(self.lanes.iter().map(|lane| lane.state.clone()).collect())
    }

    /// [`Liveness::last_fetch_age`] of this pool.
    pub fn last_fetch_age(&self) -> Duration {
        self.liveness().last_fetch_age()
    }

    /// [`Liveness::running`] of this pool.
    pub fn running(&self) -> usize {
        self.liveness().running()
    }

    /// Stops: takes nothing new, waits up to `grace` for what runs, then tells it to stop ([`Delivery::stop`]). What then says
    /// nothing is given back to the front of the lines; what says when it wants to go on comes back as it says.
    pub async fn stop(self, grace: Duration) {
        for lane in &self.lanes {
            lane.control.stop.cancel();
        }
        let deadline = Instant::now() + grace;
        let lanes = futures::future::join_all(self.lanes.into_iter().map(|lane| lane.drain(deadline))).await;
        // The heartbeat went on until here, so that nobody took over what was still running.
        self.end.cancel();
        for task in self.tasks {
            let _ = tokio::time::timeout(REDIS_AT_STOP, task).await;
        }
        let signing_off = lanes.iter().map(|state| tokio::time::timeout(REDIS_AT_STOP, state.claims.deregister()));
        for (state, end) in lanes.iter().zip(futures::future::join_all(signing_off).await) {
            if !matches!(end, Ok(Ok(()))) {
                warn!(lane = %state.lane(), "could not sign off: the others will find this worker dead");
            }
        }
        info!(worker = self.name, "worker stopped");
    }
}

impl LaneTasks {
    fn start((state, ends): (Arc<LaneState>, mpsc::UnboundedReceiver<(u64, Outcome)>), handler: Handler) -> Self {
        let control = Arc::new(Control::new());
        let closing = CancellationToken::new();
        Self {
            fetcher: spawn(state.clone().fetch_until(control.stop.clone())),
            worker: spawn(backend::run(state.clone(), handler, control.clone())),
            acker: spawn(acker::run(state.clone(), ends, closing.clone())),
            _abandon: control.abandon.clone().drop_guard(),
            state,
            control,
            closing,
        }
    }

    /// Lets run what runs until `deadline`, then gives back the rest.
    async fn drain(self, deadline: Instant) -> Arc<LaneState> {
        // A fetch under way is awaited, for what it brings is ours.
        let _ = self.fetcher.await;
        let _ = self.worker.await;
        let waiting: Vec<u64> = self.state.feed.drain().into_iter().map(|job| job.lease.abandon()).collect();
        give_back(&self.state, waiting).await;
        wait_until_idle(&self.state, deadline).await;
        for held in self.state.running().values() {
            held.stop.cancel();
        }
        wait_until_idle(&self.state, Instant::now() + LET_GO).await;
        self.control.abandon.cancel();
        self.closing.cancel();
        let _ = self.acker.await;
        let rest = self.state.running().keys().copied().collect();
        give_back(&self.state, rest).await;
        self.state
    }
}

/// Until every end is confirmed, or the deadline.
async fn wait_until_idle(lane: &LaneState, deadline: Instant) {
    while !lane.running().is_empty() {
        tokio::select! {
            () = lane.confirmed.notified() => {}
            () = tokio::time::sleep_until(deadline) => return,
        }
    }
}

/// Gives these claims back to the front of the line, in their order.
async fn give_back(lane: &LaneState, mut numbers: Vec<u64>) {
    if numbers.is_empty() {
        return;
    }
    numbers.sort_unstable();
    let claims: Vec<ClaimId> = {
        let mut running = lane.running();
        numbers.iter().filter_map(|number| running.remove(number)).map(|held| held.claim).collect()
    };
    match tokio::time::timeout(REDIS_AT_STOP, lane.claims.release(&claims)).await {
        Ok(Ok(jobs)) => info!(lane = %lane.lane(), jobs, "gave jobs back"),
        _ => {
            warn!(lane = %lane.lane(), jobs = claims.len(), "could not give jobs back: the others will take them over");
        }
    }
}

/// Rings the lanes that a message calls, and all of them after a gap in the subscription.
async fn listen(queue: Queue, lanes: Vec<Arc<LaneState>>, gates: Gates, stop: CancellationToken) {
    let channels = queue.channels().clone();
    let control = channels.control.clone();
    let ring_all = || {
        for lane in &lanes {
            lane.wake.notify_one();
        }
        gates.ring();
    };
    let message = |channel: &str, payload: &str| {
        if channel == control {
            if payload == LANES_CHANGED {
                gates.ring();
            } else if let Ok(id) = payload.parse() {
                for lane in &lanes {
                    lane.promote(id);
                }
            }
        } else if let Some(lane) = lanes.iter().find(|lane| lane.lane().as_str() == payload) {
            lane.wake.notify_one();
        }
    };
    signals::listen(queue.servers().clone(), vec![channels.wake, channels.control], stop, ring_all, message).await;
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Host, process and chance: no two starts of a process share a name, so none waits for its predecessor's to lapse.
fn unique_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let host = host.as_deref().map_or("host", str::trim);
    format!("{host}-{}-{:08x}", std::process::id(), rand::random::<u32>())
}

#[cfg(test)]
mod tests {
    use apalis_core::worker::context::WorkerContext;

    use super::*;
    use crate::ids::JobId;
    use crate::queue::lane::lock;
    use crate::queue::{Final, Message};

    const SOON: Duration = Duration::from_secs(20);

    fn queue() -> Queue {
        let url =
            std::env::var("METRIQLAB_TEST_REDIS_URL").expect("METRIQLAB_TEST_REDIS_URL is not set: run `make test`");
        Queue::connect(&url, &format!("test-{}", JobId::new())).unwrap()
    }

    fn context(pool: &WorkerPool) -> WorkerContext {
        lock(&pool.lanes[1].control.context).clone().unwrap()
    }

    async fn run_one(queue: &Queue, ran: &Notify) {
        let job = Message { id: JobId::new(), kind: "noop".to_owned(), trace: None, group: None };
        queue.push(Lane::Sync, &job, None).await.unwrap();
        tokio::time::timeout(SOON, ran.notified()).await.unwrap();
    }

    /// An apalis worker that ends for whatever reason, or takes no jobs any more, is replaced, and no job is lost.
    #[tokio::test]
    async fn an_apalis_worker_that_ends_or_goes_deaf_is_built_anew_under_a_fresh_name() {
        let queue = queue();
        let ran = Arc::new(Notify::new());
        let noted = ran.clone();
        let pool = WorkerPool::start(&queue, WorkerSettings::default(), move |_| {
            noted.notify_one();
            async { Outcome::Final(Final::Done) }
        });
        run_one(&queue, &ran).await;
        let mut names = vec![context(&pool).name().to_owned()];
        let harms: [fn(&WorkerContext); 2] = [|context| context.stop().unwrap(), |context| context.pause().unwrap()];
        for harm in harms {
            harm(&context(&pool));
            run_one(&queue, &ran).await;
            names.push(context(&pool).name().to_owned());
        }
        let distinct: std::collections::HashSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), 3, "{names:?}");
        pool.stop(SOON).await;
    }
}
