//! The one task of a process that asks an endpoint's log for permits, for all its callers.
//!
//! It sleeps until a caller comes or goes, a permit comes back, or the instant that the log named; then it takes one turn
//! at the log with all that has gathered. Interactive callers stand in front of bulk ones; among each, the groups take turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::backstop::Backstop;
use super::log::{Ask, Granted, PermitNumber, SlidingLog};
use super::permit::Offer;
use super::{BudgetError, Class, PATIENCE, Permit, UsageLog, UsageLogError};
use crate::redis_servers::RESPONSE_TIMEOUT;
use crate::turns::{Group, Turns};

/// While somebody waits, the log is asked at least this often: an entry that another process gives back is free sooner
/// than the log could say, and an interactive caller's registration in it must be renewed.
pub(super) const RECHECK: Duration = Duration::from_secs(1);
/// Use is noted in Postgres at most this often, and endpoint.
const NOTED_EVERY: Duration = Duration::from_secs(1);
/// At most so many permits of a kind in one turn: no script holds Redis up for long.
const BATCH: usize = 500;
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_millis(500);

/// Tells the callers of this process apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WaiterId(u64);

impl WaiterId {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A caller that waits for a permit.
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) group: Option<Group>,
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) answer: oneshot::Sender<Result<Offer, BudgetError>>,
    /// For the permit to come back by.
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

pub(super) enum Command {
    Wait(Waiter, Class),
    /// A bulk caller became interactive.
    Promote(WaiterId),
    /// A caller was dropped.
    Left,
    /// A permit's response has come.
    Settled(PermitNumber),
    /// A permit comes back without a request.
    Unused(Permit),
}

/// When the next permits may come, as the log said at the last turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NextTurns {
    /// The next interactive one, no sooner.
    pub(super) interactive: Instant,
    /// The one for the last of this process's bulk callers, no sooner.
    pub(super) bulk: Instant,
}

/// Why a turn failed. Told to the log alone: callers learn that the budget can't be read.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("the log in Redis is lost again right after its start")]
    Lost,
    #[error("the usage log: {0}")]
    Usage(UsageLogError),
    #[error("the usage log does not answer")]
    UsageTimeout,
}

pub(super) struct Coordinator {
    app: String,
    endpoint: &'static str,
    log: SlidingLog,
    usage: Arc<dyn UsageLog>,
    backstop: Backstop,
    commands: mpsc::UnboundedReceiver<Command>,
    next_turns: watch::Sender<Option<NextTurns>>,
    interactive: Turns<Waiter>,
    bulk: Turns<Waiter>,
    settled: Vec<PermitNumber>,
    unused: Vec<PermitNumber>,
    next_number: PermitNumber,
    /// Permits from `next_number` on that a failed turn may have granted after all.
    doubtful: usize,
    /// Entries in use over the fleet, when last heard.
    entries: u32,
    /// An interactive caller of ours is known to the log, and holds back bulk grants.
    registered: bool,
    noted_at: Option<Instant>,
    /// When to take a turn if nothing happens before.
    wake: Option<Instant>,
    /// Set while the log can't be reached: no turn before.
    retry: Option<(Instant, Duration)>,
}

impl Coordinator {
    pub(super) fn new(
        app: String,
        endpoint: &'static str,
        log: SlidingLog,
        usage: Arc<dyn UsageLog>,
        commands: mpsc::UnboundedReceiver<Command>,
        next_turns: watch::Sender<Option<NextTurns>>,
    ) -> Self {
        gauge!("metriqlab_budget_quota", "endpoint" => endpoint).set(log.limits().quota);
        for rare in ["metriqlab_budget_unused_total", "metriqlab_budget_closed_total", "metriqlab_budget_lost_total"] {
            counter!(rare, "endpoint" => endpoint).increment(0);
        }
        super::breaker::begin_metrics(endpoint);
        Self {
            app,
            endpoint,
            backstop: Backstop::new(log.limits().quota, log.limits().window),
            log,
            usage,
            commands,
            next_turns,
            interactive: Turns::default(),
            bulk: Turns::default(),
            settled: Vec::new(),
            unused: Vec::new(),
            next_number: 0,
            doubtful: 0,
            entries: 0,
            registered: false,
            noted_at: None,
            wake: None,
            retry: None,
        }
    }

    /// Runs until the budget and all its permits are gone.
    pub(super) async fn run(mut self) {
        while self.something_happens().await {
            self.forget_who_left();
            match self.retry {
                Some((at, _)) if Instant::now() < at => self.lose_patience(),
                _ => self.turn().await,
            }
        }
        self.turn().await;
    }

    async fn something_happens(&mut self) -> bool {
        let command = match self.wake {
            None => self.commands.recv().await,
            Some(at) => tokio::select! {
                biased;
                command = self.commands.recv() => command,
                () = sleep_until(at) => return true,
            },
        };
        let Some(command) = command else { return false };
        self.take(command);
        // What else has gathered goes into the same turn.
        while let Ok(command) = self.commands.try_recv() {
            self.take(command);
        }
        true
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Wait(waiter, Class::Interactive) => self.interactive.push(waiter.group.clone(), waiter),
            Command::Wait(waiter, Class::Bulk) => self.bulk.push(waiter.group.clone(), waiter),
            Command::Promote(id) => {
                for waiter in self.bulk.take_out(|waiter| waiter.id == id) {
                    self.interactive.push(waiter.group.clone(), waiter);
                }
            }
            Command::Left => {}
            Command::Settled(number) => self.settled.push(number),
            Command::Unused(permit) => self.pass_on(permit),
        }
    }

    /// A permit that came back goes to the next caller, if it is fresh, else back to the log.
    fn pass_on(&mut self, mut permit: Permit) {
        counter!("metriqlab_budget_unused_total", "endpoint" => self.endpoint).increment(1);
        while permit.fresh() {
            let Some(waiter) = self.interactive.pop().or_else(|| self.bulk.pop()) else { break };
            match offer(waiter, permit) {
                Ok(()) => return,
                Err(refused) => permit = refused,
            }
        }
        self.backstop.refund();
        self.unused.push(permit.number);
    }

    fn forget_who_left(&mut self) {
        for (queue, class) in [(&mut self.interactive, Class::Interactive), (&mut self.bulk, Class::Bulk)] {
            queue.take_out(|waiter| waiter.answer.is_closed());
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            gauge!("metriqlab_budget_waiting", "endpoint" => self.endpoint, "class" => class.as_str())
                .set(queue.len() as f64);
        }
    }

    async fn turn(&mut self) {
        let nobody = self.interactive.is_empty() && self.bulk.is_empty();
        let nothing = self.settled.is_empty() && self.unused.is_empty() && !self.registered && self.entries == 0;
        if nobody && nothing {
            self.wake = None;
            return;
        }
        let asked_at = Instant::now();
        let asked = (self.interactive.len().min(BATCH), self.bulk.len().min(BATCH));
        match self.ask_log(asked).await {
            Ok(granted) => {
                if self.retry.take().is_some() {
                    tracing::info!(endpoint = self.endpoint, "the budget can be read again");
                }
                self.doubtful = 0;
                gauge!("metriqlab_budget_ceiling", "endpoint" => self.endpoint).set(granted.ceiling);
                self.registered = usize::try_from(granted.interactive).is_ok_and(|granted| granted < asked.0);
                self.next_number += u64::from(granted.interactive) + u64::from(granted.bulk);
                let denied = self.hand_out(asked_at, granted);
                self.refuse_who_would_be_late(granted);
                self.tell_when(granted);
                self.wake = self.next_wake(granted, denied);
            }
            Err(error) => {
                // They are taken back by the next turn, or else by their own expiry.
                self.doubtful = self.doubtful.max(asked.0 + asked.1);
                let pause = match self.retry {
                    None => {
                        tracing::warn!(endpoint = self.endpoint, %error, "the budget can't be read: no new requests");
                        FIRST_RETRY
                    }
                    Some((_, pause)) => (pause * 2).min(LAST_RETRY),
                };
                self.retry = Some((Instant::now() + pause, pause));
                self.lose_patience();
            }
        }
    }

    /// One turn at the log, which is started first if it is lost.
    async fn ask_log(&mut self, (interactive, bulk): (usize, usize)) -> Result<Granted, TurnError> {
        let settled = self.settled.len().min(BATCH);
        let unused = self.unused.len().min(BATCH);
        let ask = Ask {
            settled: self.settled.get(..settled).unwrap_or_default(),
            unused: self.unused.get(..unused).unwrap_or_default(),
            first: self.next_number,
            doubtful: self.doubtful,
            interactive,
            bulk,
        };
        let mut granted = self.log.grant(&ask).await?;
        if granted.is_none() {
            let age = bounded(self.usage.last_used_age(&self.app, self.endpoint)).await?;
            counter!("metriqlab_budget_lost_total", "endpoint" => self.endpoint).increment(1);
            self.log.start(age, NOTED_EVERY).await?;
            granted = self.log.grant(&ask).await?;
        }
        let granted = granted.ok_or(TurnError::Lost)?;
        if granted.interactive + granted.bulk > 0 {
            self.note_use().await?;
        }
        self.settled.drain(..settled);
        self.unused.drain(..unused);
        self.entries = granted.entries;
        gauge!("metriqlab_budget_used", "endpoint" => self.endpoint).set(granted.entries);
        Ok(granted)
    }

    /// Before the request goes out, and after the log has granted: a log that was found lost meanwhile by another process
    /// must not read this note as its past.
    async fn note_use(&mut self) -> Result<(), TurnError> {
        let now = Instant::now();
        if self.noted_at.is_none_or(|at| now.duration_since(at) >= NOTED_EVERY) {
            bounded(self.usage.touched(&self.app, self.endpoint)).await?;
            self.noted_at = Some(now);
        }
        Ok(())
    }

    /// Hands the granted permits out; answers for how long the process's backstop denies more, if it does.
    fn hand_out(&mut self, asked_at: Instant, granted: Granted) -> Option<Duration> {
        let mut denied = None;
        let total = u64::from(granted.interactive) + u64::from(granted.bulk);
        let first = self.next_number - total;
        for number in first..self.next_number {
            let class = if number - first < u64::from(granted.interactive) { Class::Interactive } else { Class::Bulk };
            if let Err(wait) = self.backstop.take() {
                tracing::warn!(endpoint = self.endpoint, "the log grants more than the quota allows: it is not used");
                self.unused.push(number);
                denied = Some(wait);
                continue;
            }
            counter!("metriqlab_budget_permits_total", "endpoint" => self.endpoint, "class" => class.as_str())
                .increment(1);
            self.hand_out_one(number, asked_at, class);
        }
        denied
    }

    fn hand_out_one(&mut self, number: PermitNumber, asked_at: Instant, class: Class) {
        let queue = match class {
            Class::Interactive => &mut self.interactive,
            Class::Bulk => &mut self.bulk,
        };
        while let Some(waiter) = queue.pop() {
            let permit = Permit { number, asked_at, commands: waiter.commands.clone() };
            if offer(waiter, permit).is_ok() {
                return;
            }
        }
        // All that waited have left meanwhile.
        self.backstop.refund();
        self.unused.push(number);
    }

    /// Who can't get a permit in time learns it at once, and does not wait for nothing.
    fn refuse_who_would_be_late(&mut self, granted: Granted) {
        let now = Instant::now();
        let limits = self.log.limits();
        refuse(&mut self.interactive, now, |_| granted.interactive_wait);
        refuse(&mut self.bulk, now, |ahead| granted.bulk_wait + limits.window * ahead / granted.ceiling.max(1));
    }

    fn tell_when(&self, granted: Granted) {
        let now = Instant::now();
        let behind = u32::try_from(self.bulk.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.next_turns.send_replace(Some(NextTurns {
            interactive: now + granted.interactive_wait,
            bulk: now + granted.bulk_wait + self.log.limits().window.saturating_mul(behind) / granted.ceiling.max(1),
        }));
    }

    fn next_wake(&self, granted: Granted, denied: Option<Duration>) -> Option<Instant> {
        let now = Instant::now();
        let leftover = self.settled.len() + self.unused.len() > 0;
        // Nobody interactive is left, but the log still holds back bulk grants for them.
        let withdraw = self.registered && self.interactive.is_empty();
        if denied.is_none() && (leftover || withdraw) {
            return Some(now);
        }
        let waits = [
            (!self.interactive.is_empty()).then_some(granted.interactive_wait),
            (!self.bulk.is_empty()).then_some(granted.bulk_wait),
            (leftover || withdraw).then_some(Duration::ZERO),
        ];
        let Some(wait) = waits.into_iter().flatten().min() else {
            // Nobody waits. The gauge is set once more when the window is over, or else it would show these for ever.
            return (granted.entries > 0).then(|| now + self.log.limits().keep.max(RECHECK));
        };
        let wait = wait.min(RECHECK).max(denied.unwrap_or_default());
        let deadlines = self.interactive.iter().chain(self.bulk.iter()).filter_map(|waiter| waiter.deadline);
        deadlines.chain([now + wait]).min()
    }

    /// While the log can't be reached: who has waited for long enough is told so.
    fn lose_patience(&mut self) {
        let now = Instant::now();
        let patience = |waiter: &Waiter| {
            let end = waiter.since + PATIENCE;
            waiter.deadline.map_or(end, |deadline| deadline.min(end))
        };
        for queue in [&mut self.interactive, &mut self.bulk] {
            for waiter in queue.take_out(|waiter| patience(waiter) <= now) {
                let _ = waiter.answer.send(Err(BudgetError::Unavailable));
            }
        }
        let ends = self.interactive.iter().chain(self.bulk.iter()).map(patience);
        self.wake = ends.chain(self.retry.map(|(at, _)| at)).min();
    }
}

/// Sends `permit` to `waiter`; hands it back if the caller has left.
fn offer(waiter: Waiter, permit: Permit) -> Result<(), Permit> {
    match waiter.answer.send(Ok(Offer(Some(permit)))) {
        Err(Ok(refused)) => refused.take().map_or(Ok(()), Err),
        _ => Ok(()),
    }
}

/// Refuses those whose deadline is over before `wait` is, which is told how many callers stand in front of each.
fn refuse(queue: &mut Turns<Waiter>, now: Instant, wait: impl Fn(u32) -> Duration) {
    let mut ahead = 0;
    let late = queue.take_out(|waiter| {
        let late = waiter.deadline.is_some_and(|deadline| deadline <= now + wait(ahead));
        ahead += u32::from(!late);
        late
    });
    for (waiter, ahead) in late.into_iter().zip(ahead..) {
        // Never zero: to come back at once would be a busy loop.
        let _ = waiter.answer.send(Err(BudgetError::NotBefore(wait(ahead).max(Duration::from_millis(1)))));
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, UsageLogError>>) -> Result<T, TurnError> {
    timeout(RESPONSE_TIMEOUT, call).await.map_err(|_| TurnError::UsageTimeout)?.map_err(TurnError::Usage)
}
