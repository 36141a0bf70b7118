//! One lane in one worker process: what it holds, and the task that fetches for it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::claims::{ClaimId, Claims, Fetched, FetchedJob};
use super::feed::{Feed, Job, Lease};
use super::gates::{Gates, Passage};
use super::slots::{Slot, Slots, SuspectPermit, SuspectSlot};
use super::{CHUNK, Delivery, Lane, Message, Outcome, Waiting, WorkerSettings};
use crate::ids::JobId;
use crate::turns::{Group, Spent};

/// Ends that Redis has not confirmed yet: with more than this, the lane fetches nothing.
const UNCONFIRMED: usize = 4 * CHUNK;

/// How long a job's promotion is remembered that came before its delivery.
const PROMOTION_REMEMBERED: Duration = Duration::from_secs(10);

/// First pause between two tries while Redis is away.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(50);

/// Longest pause between two tries while Redis is away.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// A lane's state in this process, shared by its fetcher, its handlers, its acker and the heartbeat.
pub(super) struct LaneState {
    pub claims: Claims,
    pub settings: WorkerSettings,
    /// Rings when there may be something to fetch. A ring while nobody listens is kept, so that none is lost.
    pub wake: Arc<Notify>,
    /// Rings when the acker has confirmed ends.
    pub confirmed: Notify,
    /// Set when Redis may hold claims for us that we do not know of.
    pub reconcile: AtomicBool,
    /// Set by the first good heartbeat.
    pub registered: CancellationToken,
    pub feed: Feed,
    running: Mutex<HashMap<u64, Running>>,
    promoted: Mutex<HashMap<JobId, Instant>>,
    ends: mpsc::UnboundedSender<(u64, Outcome)>,
    /// Ends on their way to Redis.
    unconfirmed: AtomicUsize,
    numbers: AtomicU64,
    slots: Arc<Slots>,
    suspect: Arc<SuspectSlot>,
    gates: Gates,
    last_fetch: Mutex<Instant>,
    last_refusal: Mutex<Option<Instant>>,
    /// Waiting for a free slot, or for the lane's gate: not fetching is right then.
    full: AtomicBool,
}

/// A claim that this process holds, from the fetch to the confirmed end.
pub(super) struct Running {
    pub claim: ClaimId,
    pub job: Option<JobId>,
    pub payload: Arc<[u8]>,
    pub group: Option<Group>,
    pub spent: Spent,
    pub stop: CancellationToken,
    pub interactive: watch::Sender<bool>,
    /// Its handler has spoken; the acker has it.
    pub ended: bool,
    /// Another worker has the job by now.
    pub lost: bool,
}

/// A panic while one of these locks was held left nothing half done that matters.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LaneState {
    pub(super) fn new(
        claims: Claims,
        settings: WorkerSettings,
        wake: Arc<Notify>,
        slots: Arc<Slots>,
        suspect: Arc<SuspectSlot>,
        gates: Gates,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<(u64, Outcome)>) {
        let (ends, acker) = mpsc::unbounded_channel();
        let lane = Self {
            claims,
            settings,
            wake,
            confirmed: Notify::new(),
            reconcile: AtomicBool::new(false),
            registered: CancellationToken::new(),
            feed: Feed::default(),
            running: Mutex::default(),
            promoted: Mutex::default(),
            ends,
            unconfirmed: AtomicUsize::new(0),
            numbers: AtomicU64::new(1),
            slots,
            suspect,
            gates,
            last_fetch: Mutex::new(Instant::now()),
            last_refusal: Mutex::default(),
            full: AtomicBool::new(false),
        };
        (Arc::new(lane), acker)
    }

    pub(super) fn lane(&self) -> Lane {
        self.claims.lane
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<u64, Running>> {
        lock(&self.running)
    }

    /// Time since the last fetch that Redis answered; zero while the lane has no slot to fetch for.
    pub(super) fn last_fetch_age(&self) -> Duration {
        if self.full.load(Ordering::Acquire) { Duration::ZERO } else { lock(&self.last_fetch).elapsed() }
    }

    /// The same, of a fetch that Redis answered or refused.
    pub(super) fn last_word_age(&self) -> Duration {
        let fetch = self.last_fetch_age();
        lock(&self.last_refusal).map_or(fetch, |refusal| fetch.min(refusal.elapsed()))
    }

    /// Notes an error, if the server itself said no: it is a replica without a master, its disk is full, a permission is
    /// missing… Only its own errors have a code.
    pub(super) fn note_refusal(&self, error: &redis::RedisError) {
        if error.code().is_some() {
            *lock(&self.last_refusal) = Some(Instant::now());
        }
    }

    pub(super) fn ended(&self, number: u64, outcome: Outcome) {
        if let Some(running) = self.running().get_mut(&number) {
            running.ended = true;
        }
        self.unconfirmed.fetch_add(1, Ordering::AcqRel);
        // The acker is gone only after a stop has given everything back.
        let _ = self.ends.send((number, outcome));
    }

    /// The ends of these claims are in Redis: the process holds them no more.
    pub(super) fn confirm(&self, numbers: &[u64]) {
        {
            let mut running = self.running();
            for number in numbers {
                running.remove(number);
            }
        }
        self.unconfirmed.fetch_sub(numbers.len(), Ordering::AcqRel);
        self.confirmed.notify_one();
    }

    /// Somebody waits for this job now.
    pub(super) fn promote(&self, id: JobId) {
        {
            let mut promoted = lock(&self.promoted);
            promoted.retain(|_, since| since.elapsed() < PROMOTION_REMEMBERED);
            promoted.insert(id, Instant::now());
        }
        for running in self.running().values().filter(|running| running.job == Some(id)) {
            running.interactive.send_replace(true);
        }
    }

    /// Fetches whenever there may be something to fetch and a slot to run it, until `stop`. A fetch under way is run to
    /// its end: its answer says what we hold.
    pub(super) async fn fetch_until(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.registered.cancelled() => {}
        }
        let mut due = Some(Duration::ZERO);
        while !stop.is_cancelled() {
            // Idle, this is all: one ring, one timer for the next due job, and a slow look in case a ring got lost.
            let timer = due.unwrap_or(Duration::MAX).min(self.settings.safety_poll);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(timer) => {}
            }
            due = self.fetch_all(&stop).await;
        }
    }

    /// Fetches until the lane has nothing for us. Answers the time until the next delayed job is due.
    async fn fetch_all(self: &Arc<Self>, stop: &CancellationToken) -> Option<Duration> {
        let mut backoff = SHORTEST_BACKOFF;
        let mut suspect = None;
        loop {
            let slot = tokio::select! {
                () = stop.cancelled() => return None,
                slot = self.free_slot() => slot?,
            };
            let Some(slot) = self.through_gate(slot) else {
                // Closed while we waited for the slot. A suspect's permit is not kept from the other lanes meanwhile.
                suspect = None;
                self.wait_at_gate(stop).await;
                continue;
            };
            match self.fetch_once(slot, suspect.take()).await {
                Ok(fetched) => {
                    backoff = SHORTEST_BACKOFF;
                    if fetched.suspects {
                        suspect = self.suspect.try_take();
                    }
                    if !fetched.more && suspect.is_none() {
                        return fetched.next_due;
                    }
                    // Short jobs that are about to end free their slots for the same fetch.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    debug!(lane = %self.lane(), %error, "fetch failed");
                    self.note_refusal(&error);
                    self.reconcile.store(true, Ordering::Release);
                    tokio::select! {
                        () = stop.cancelled() => return None,
                        () = tokio::time::sleep(backoff.mul_f64(rand::random_range(0.5..1.0))) => {}
                    }
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
            }
        }
    }

    /// As many of these slots as the gate lets through.
    fn through_gate(&self, mut slot: Slot) -> Option<Slot> {
        match self.gates.passage(self.lane()) {
            Passage::All => Some(slot),
            Passage::One => slot.split(),
            Passage::Nothing => None,
        }
    }

    async fn wait_at_gate(&self, stop: &CancellationToken) {
        self.full.store(true, Ordering::Release);
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.gates.opened(self.lane()) => {}
        }
        *lock(&self.last_fetch) = Instant::now();
        self.full.store(false, Ordering::Release);
    }

    /// Makes room for so many jobs of a dead worker.
    pub(super) fn make_room(&self, jobs: u64) {
        self.slots.lend(self.lane(), usize::try_from(jobs).unwrap_or(usize::MAX));
    }

    async fn free_slot(&self) -> Option<Slot> {
        while self.unconfirmed.load(Ordering::Acquire) > UNCONFIRMED {
            self.confirmed.notified().await;
        }
        let mut acquiring = pin!(self.slots.acquire(self.lane()));
        // Who finds one at once has waited for none: a fetch that failed and is tried again is none the younger for it.
        if let Poll::Ready(slot) = futures::poll!(acquiring.as_mut()) {
            return slot;
        }
        self.full.store(true, Ordering::Release);
        let slot = acquiring.await;
        *lock(&self.last_fetch) = Instant::now();
        self.full.store(false, Ordering::Release);
        slot
    }

    async fn fetch_once(self: &Arc<Self>, slot: Slot, suspect: Option<SuspectPermit>) -> redis::RedisResult<Fetched> {
        if self.reconcile.load(Ordering::Acquire) {
            self.release_strays().await?;
            self.reconcile.store(false, Ordering::Release);
        }
        let first = self.numbers.fetch_add(slot.count() as u64, Ordering::Relaxed);
        let mut fetched = self.claims.fetch(first, slot.count(), suspect.is_some()).await?;
        *lock(&self.last_fetch) = Instant::now();
        let jobs = std::mem::take(&mut fetched.jobs);
        if !jobs.is_empty() {
            self.gates.went_through(self.lane());
        }
        self.hand_over(jobs, slot, suspect);
        Ok(fetched)
    }

    fn hand_over(self: &Arc<Self>, jobs: Vec<FetchedJob>, mut slot: Slot, mut suspect: Option<SuspectPermit>) {
        if jobs.is_empty() {
            return;
        }
        metrics::counter!("metriqlab_queue_fetched_total", "lane" => self.lane().as_str()).increment(jobs.len() as u64);
        let mut ready = Vec::with_capacity(jobs.len());
        for job in jobs {
            let Some(slot) = slot.split() else { break };
            let suspect = if job.suspect { suspect.take() } else { None };
            ready.extend(self.job(job, slot, suspect));
        }
        self.feed.push(ready);
    }

    /// Registers a claim. A payload that can't be read gives no job: it ends as an unknown kind does, or, under an id
    /// that is none of ours, for good.
    fn job(self: &Arc<Self>, fetched: FetchedJob, slot: Slot, suspect: Option<SuspectPermit>) -> Option<Job> {
        let message = serde_json::from_slice::<Message>(&fetched.payload);
        let job = std::str::from_utf8(&fetched.claim.id).ok().and_then(|id| id.parse::<JobId>().ok());
        let number = fetched.claim.number;
        let waited_for = self.lane().is_interactive() || job.is_some_and(|id| lock(&self.promoted).contains_key(&id));
        let (interactive, listen) = watch::channel(waited_for);
        let (stop, spent) = (CancellationToken::new(), Spent::default());
        self.running().insert(
            number,
            Running {
                claim: fetched.claim,
                job,
                payload: fetched.payload,
                group: message.as_ref().ok().and_then(|message| message.group.clone()),
                spent: spent.clone(),
                stop: stop.clone(),
                interactive,
                ended: false,
                lost: false,
            },
        );
        let lease = Lease::new(self.clone(), number, slot, suspect);
        match (message, job) {
            (Ok(message), Some(id)) if message.id == id => {
                let crashes = fetched.crashes.saturating_sub(super::claims::CRASHES_OF_A_SUSPECT);
                let waiting = Waiting::new(self.clone(), number);
                let interactive = listen;
                let delivery = Delivery { message, lane: self.lane(), crashes, stop, interactive, spent, waiting };
                Some(Job { delivery, lease })
            }
            (_, Some(id)) => {
                warn!(lane = %self.lane(), %id, "a message can't be read by this version: left alone");
                lease.end(Outcome::Unknown);
                None
            }
            (_, None) => {
                warn!(lane = %self.lane(), "a message without a job's id was dropped");
                lease.end(Outcome::Gone);
                None
            }
        }
    }

    /// Gives back what Redis holds for us but we do not know of: the answer to its fetch was lost.
    async fn release_strays(&self) -> redis::RedisResult<()> {
        let mut known = 0;
        loop {
            let held = self.claims.inflight(known).await?;
            let page = held.len();
            let strays: Vec<ClaimId> = {
                let running = self.running();
                held.into_iter().filter(|claim| !running.contains_key(&claim.number)).collect()
            };
            known += page - strays.len();
            if !strays.is_empty() {
                warn!(lane = %self.lane(), claims = strays.len(), "giving back claims whose fetch was not answered");
                self.claims.release(&strays).await?;
            }
            if page < CHUNK {
                return Ok(());
            }
        }
    }
}
