//! The scheduler: makes jobs for creators that are due and for batches, and feeds them to Redis, a few at a time. DESIGN: a
//! million can wait in Postgres, where waiting is cheap.
//!
//! Every worker process schedules, with no leader: Postgres's locks see to it that nothing is made twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::Rng as _;
use shared::ids::ProjectId;
use shared::queue::{Lane, Message, Queue, QueueError};
use shared::store::feeder::Fed;
use shared::store::lanes::{LaneSettings, LaneState};
use shared::store::{Store, StoreError};
use tokio::sync::watch;

/// The pause between two ticks when there is nothing to do, within these: processes that started together drift apart.
const IDLE: (Duration, Duration) = (Duration::from_millis(700), Duration::from_millis(1300));
/// The pause while there is.
const BUSY: (Duration, Duration) = (Duration::from_millis(70), Duration::from_millis(130));
/// Creators of one statement: it locks few, and lets others in between.
const CHUNK: i64 = 1000;
/// Bulk jobs in Redis that are ready to run, at least and at most: few, for Redis's memory; and a worker must not run out of
/// them between two ticks.
const WINDOW: (u64, u64) = (64, 1000);
/// With those that wait there for their next try, and the suspects. More than this and no new one comes, so Redis's memory is bounded.
const MOST_IN_REDIS: u64 = 5000;
/// Projects that take turns in one tick; the next tick goes on after the last of them.
const PROJECTS: i32 = 200;
/// What others have there keeps no project out: while there is no room, each gets in all the same, up to so many jobs that
/// it has in Redis; the lane sees to it that they have their turns. So Redis holds at most so many more for each project that
/// has something waiting: few, and still more than TikTok's usual quota lets run between two looks.
const MOST_EACH: i64 = 20;
/// How often they are topped up, and how many projects in one look; the next look goes on after the last of them.
const TOP_UP_EVERY: Duration = Duration::from_secs(1);
const TOP_UP_PROJECTS: i32 = 200;

/// Why a tick broke off.
#[derive(Debug, thiserror::Error)]
enum TickError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Schedules until it is dropped. `every` is how old data may get where nobody says otherwise; `lanes`, what operators have
/// said of the lanes, as far as it is known; `outage`, whether one of the platform's holds the bulk lane.
pub(crate) async fn run(
    store: Store,
    queue: Queue,
    every: Option<Duration>,
    lanes: watch::Receiver<Option<LaneSettings>>,
    outage: watch::Receiver<bool>,
) {
    let mut scheduler = Scheduler {
        store,
        queue,
        every,
        lanes,
        outage,
        pulled_in: every.is_none(),
        grown: None,
        after: None,
        window: WINDOW.0,
        topped_up_at: None,
        topped_up_to: None,
    };
    let mut broken = false;
    let mut pause = BUSY;
    loop {
        let (shortest, longest) = pause;
        let pause_now = rand::rng().random_range(shortest..=longest);
        tokio::time::sleep(pause_now).await;
        match scheduler.tick().await {
            Ok(busy) => {
                if broken {
                    tracing::info!("the scheduler works again");
                }
                (broken, pause) = (false, if busy { BUSY } else { IDLE });
            }
            // Once an outage, not once a tick.
            Err(error) => {
                if !broken {
                    tracing::warn!(%error, "the scheduler waits");
                }
                (broken, pause) = (true, IDLE);
            }
        }
    }
}

struct Scheduler {
    store: Store,
    queue: Queue,
    every: Option<Duration>,
    lanes: watch::Receiver<Option<LaneSettings>>,
    outage: watch::Receiver<bool>,
    /// Whether every creator's next turn lies within `every`, which may have been longer in the life before.
    pulled_in: bool,
    /// The project whose batch grew last.
    grown: Option<ProjectId>,
    /// The project that had the last turn.
    after: Option<ProjectId>,
    /// How many ready jobs Redis gets.
    window: u64,
    /// When the projects were last topped up.
    topped_up_at: Option<Instant>,
    /// The last project of that look; `None`: the next one begins with the first.
    topped_up_to: Option<ProjectId>,
}

impl Scheduler {
    /// One look at everything. `true`: there may be more to do at once.
    async fn tick(&mut self) -> Result<bool, TickError> {
        let began = Instant::now();
        let Some(bulk) = self.bulk() else { return Ok(false) };
        let made = bulk.takes_new() && self.make().await?;
        self.store.close_batches().await?;
        // Asked again: an operator may have paused or drained the lane while jobs were made.
        let fed = self.bulk().is_some_and(LaneState::is_fed) && self.feed().await?;
        crate::measure::ticked(began.elapsed());
        Ok(made || fed)
    }

    /// What the operators have set the lane to; `None` while that is not known yet.
    fn bulk(&self) -> Option<LaneState> {
        self.lanes.borrow().map(|settings| settings.of(Lane::Bulk).state)
    }

    /// Makes jobs for due creators and for the next project's oldest batch, a chunk of each.
    async fn make(&mut self) -> Result<bool, StoreError> {
        if let (false, Some(every)) = (self.pulled_in, self.every) {
            self.pulled_in = !is_full(i64::try_from(self.store.pull_in(every, CHUNK).await?).unwrap_or(CHUNK));
        }
        let due = self.store.claim_due(self.every, CHUNK).await?;
        let grown = self.store.grow_batches(self.grown, CHUNK).await?;
        // Where another worker is at it, the turn is kept: else the first project would have it again and again.
        self.grown = grown.as_ref().map(|grown| grown.project_id).or(self.grown);
        if let Some(due) = due.filter(|due| due.made > 0) {
            crate::measure::scheduled(u64::try_from(due.made).unwrap_or(0));
            tracing::debug!(due.looked_at, due.made, "creators are due");
        }
        Ok(due.is_some_and(|due| is_full(due.looked_at)) || grown.is_some())
    }

    /// Tops up the window in Redis. `true`: something was moved, or could have been.
    async fn feed(&mut self) -> Result<bool, TickError> {
        let depth = self.queue.depth(Lane::Bulk).await?;
        // Suspects run one at a time, however many slots are free: they feed nobody.
        let ready = depth.ready.saturating_sub(depth.suspects);
        if *self.outage.borrow() {
            self.feed_a_look(ready).await?;
            return Ok(false);
        }
        self.window = window_for(self.window, ready);
        let room = room_for(self.window, ready, depth.delayed.saturating_add(depth.suspects));
        if room == 0 {
            self.top_up().await?;
            return Ok(ready > 0);
        }
        let fed = self.store.feed(self.after, PROJECTS, i64::try_from(room).unwrap_or(CHUNK)).await?;
        // From the first project again, if these were the last ones.
        let was_at_the_end = fed.is_empty() && self.after.is_some();
        let projects: BTreeSet<ProjectId> = fed.iter().map(|job| job.project).collect();
        let more = i32::try_from(projects.len()).is_ok_and(|projects| projects >= PROJECTS);
        self.after = projects.last().copied().filter(|_| more);
        let is_fed = self.push(fed).await?;
        Ok(was_at_the_end || is_fed)
    }

    /// During an outage nothing goes on to Redis but what the next look at the platform needs: one job, if none is there.
    async fn feed_a_look(&self, ready: u64) -> Result<(), TickError> {
        if ready > 0 {
            return Ok(());
        }
        let fed = self.store.feed(None, 1, 1).await?;
        self.push(fed).await.map(|_| ())
    }

    /// A project does not wait until there is room again that another one's jobs have taken.
    async fn top_up(&mut self) -> Result<(), TickError> {
        if self.topped_up_at.is_some_and(|at| at.elapsed() < TOP_UP_EVERY) {
            return Ok(());
        }
        self.topped_up_at = Some(Instant::now());
        // Another process is at it: these projects have their look a second later.
        let Some(topped_up) = self.store.top_up(self.topped_up_to, TOP_UP_PROJECTS, MOST_EACH).await? else {
            return Ok(());
        };
        self.topped_up_to = topped_up.last;
        self.push(topped_up.jobs).await.map(|_| ())
    }

    /// `true`: there was something to push.
    async fn push(&self, mut fed: Vec<Fed>) -> Result<bool, TickError> {
        // Each project's oldest first. Between the projects, the lane takes turns.
        fed.sort_unstable_by_key(|job| (job.project, job.message.id));
        let messages: Vec<Message> = fed.into_iter().map(|job| job.message).collect();
        // The rows are committed: what is not pushed now the sweeper finds.
        self.queue.push_many(Lane::Bulk, &messages).await?;
        crate::measure::fed(messages.len());
        Ok(!messages.is_empty())
    }
}

fn is_full(rows: i64) -> bool {
    rows >= CHUNK
}

/// A window that the workers emptied since the last tick was too small; one that they hardly touched is too large.
fn window_for(window: u64, ready: u64) -> u64 {
    let next = if ready == 0 { window * 2 } else { window - window.min(ready) / 8 };
    next.clamp(WINDOW.0, WINDOW.1)
}

/// How many more jobs Redis may get; `others` are there too, and no free slot would take them.
fn room_for(window: u64, ready: u64, others: u64) -> u64 {
    window.saturating_sub(ready).min(MOST_IN_REDIS.saturating_sub(ready.saturating_add(others)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn redis_holds_no_more_than_its_share(window in 64_u64..=1000, ready in 0_u64..10_000, delayed in 0_u64..100_000) {
            let next = window_for(window, ready);
            prop_assert!((WINDOW.0..=WINDOW.1).contains(&next));
            let room = room_for(next, ready, delayed);
            prop_assert!(room == 0 || (ready + room <= WINDOW.1 && ready + delayed + room <= MOST_IN_REDIS));
        }

        #[test]
        fn a_window_that_is_emptied_grows_to_the_largest_and_a_full_one_shrinks_to_the_smallest(start in 64_u64..=1000) {
            let grown = (0..5).fold(start, |window, _| window_for(window, 0));
            prop_assert_eq!(grown, WINDOW.1);
            let shrunk = (0..60).fold(start, |window, _| window_for(window, window));
            prop_assert!(shrunk <= WINDOW.0 + 8);
        }
    }
}
