//! The queue: lanes of jobs in Redis, on apalis. It knows nothing of creators and nothing of SQL.
//!
//! Postgres holds what was promised; the queue carries it. It may lose everything (a flush) and the sweeper pushes it
//! again; it may deliver a job twice, and the job's row fences the second. It never blocks a caller for long and never
//! ends because Redis did.
//!
//! # A job's way
//!
//! ```text
//!  caller                     Redis, one lane                                      worker process
//!  ──────                     ───────────────                                      ──────────────
//!  Queue::push ── push.lua ─▶ jobs[id] = payload
//!                             lines[group] ◀ id (or delayed ◀ id by due time)
//!                             PUBLISH wake ──────────────────────────────────────▶ signals ─▶ wake
//!                 turns ─▶ lines[group] ▶ id ◀── fetch.lua, at most the free slots ── lane::fetch_until
//!                             claims[id] = worker:number                               │ Feed
//!                             inflight:worker ◀ id                                     ▼
//!                                                                                  apalis worker (backend) ─▶ handler
//!                                                                                      │ Outcome, through a Lease
//!                             jobs, claims, crashes, inflight ▷ id ◀── finish.lua ──── acker
//!  Watching::wait ◀───────── PUBLISH done "id outcome"
//! ```
//!
//! - `Final`: every trace of the job leaves Redis and one notice a batch goes out. `RetryIn`, `NotNow`, `Unknown`: `delayed`.
//! - A fetch first promotes what is due, at most 500 a call, and says when the next job is due: an idle worker holds one
//!   timer a lane and sends Redis nothing but its heartbeat.
//! - The groups (to us: the projects) take turns, by the requests that their jobs spend: a fetch counts one, the job's end
//!   the others ([`Delivery::spent`]). Each group has its line, first in, first out. `scripts/lines.lua` says how; it costs
//!   O(log groups), and one group alone is a plain line. Nothing of it stays when the lane has nothing to do.
//! - Slots are the process's, over all lanes; the bulk lane gets three quarters of them at most, and syncs leave one to
//!   revocations.
//! - A lane whose gate is closed ([`Gates`]) is not fetched from; what runs goes on.
//!
//! # When a worker dies
//!
//! Twice a second a worker writes itself into `workers`, by Redis's clock. One that was not heard of for three seconds is
//! dead: whoever notices puts what it held back to the front of its groups' lines, 500 jobs a call, and counts in `crashes`.
//! An outage is not the death of everybody: nobody is dead unless somebody's heartbeats have come for as long without a gap
//! (`reached`, which outlives a process, so that one that has just started takes over at once), nor for a process that was
//! itself cut off in that time. A job that only waited for its turn at something ([`Waiting`], `waiting`) has run nothing that
//! a worker could die of: it goes back to its line, and nothing is counted. A job that was found twice otherwise is a
//! suspect: it goes to `solo`, behind the others there, and of those each process runs one at a time. From then on a crash is
//! its own: after three more it is delivered as poison ([`Delivery::is_poison`]) and the handler declares it dead. What runs
//! all the same, a revocation, waits from then on, twice as long from crash to crash.
//!
//! A worker that was only paused finds at its next heartbeat that its claims are others' and cancels
//! [`Delivery::stop`]; whatever it says then matches no claim (but a last word is told if nobody holds the job, for a flush
//! may have taken the claim). A worker that stops waits, beating, then gives back what
//! is left to the front of the lines, in order, and signs off. After a flush (`epoch` has changed) the heartbeats register running
//! claims anew, and [`Queue::unknown`] holds its tongue for two seconds.
//!
//! # What apalis-redis 1.0.0 does, and why it can't happen here
//!
//! The numbers are those of our notes on apalis-redis 1.0.0 (f) and on apalis's `Persistence` (t). "By construction": the
//! part that did it is not used. The others name the test that pins the cure.
//!
//! | fact | here |
//! | --- | --- |
//! | f1 8,000 due jobs wedge the queue | `a_hundred_thousand_due_at_once_drain_and_leave_no_memory_behind` |
//! | f2 nor can a worker with 8,000 in flight be recovered | `a_worker_that_died_with_ten_thousand_jobs_is_recovered` |
//! | f3, t8 any Redis error ends the worker | `a_restart_of_redis_ends_no_worker_and_loses_no_job`; the backend's error type is [`std::convert::Infallible`] |
//! | f4 a name is refused while it is young, a stop does not sign off | `a_stop_gives_back_to_the_front_in_order_without_a_crash_and_signs_off`; names are unique to a start |
//! | f5 waiters poll, and get the first failure | `a_failed_attempt_is_no_last_word_and_comes_back_after_the_delay_that_was_asked_for` |
//! | f6, f7, t15 attempts and delays are not the handler's | the same; [`Outcome`] says both |
//! | f8 idempotency off, or for longer than the job | `a_push_is_idempotent_by_id_in_every_state_and_free_again_after_the_end` |
//! | f9 acknowledgements hang on another option | by construction: there is no option |
//! | f10, f27 statistics fail | `the_depth_says_how_long_the_first_in_line_has_waited`, and every test that reads [`Queue::depth`] |
//! | f11, f12 vacuum deletes live data; finished jobs stay | by construction, and `a_job_is_run_its_waiter_told_and_nothing_is_left_in_redis` |
//! | f13 a paused worker's word counts, then ends it | `a_worker_that_was_presumed_dead_is_told_and_its_last_word_counts_for_nothing`, `a_process_killed_or_paused_loses_its_job_to_another_within_seconds` |
//! | f14, t14 task tracking | by construction: the feature is off, and `Persistence` not used |
//! | f15, f16 nothing wakes a worker | `every_lane_is_served_and_the_trace_travels`, `an_idle_worker_starts_a_delayed_job_on_time_by_its_one_timer` (the safety poll is a minute in them) |
//! | f17, f29 an undeclared key, names with `:` | `every_key_of_a_lane_has_the_lanes_hash_tag`; each script lists its KEYS |
//! | f18, t9 answers time out after 500 ms, and Redis had claimed | `a_fetch_that_times_out_after_redis_claimed_is_made_good`, `a_claim_whose_answer_was_lost_is_given_back_and_runs` |
//! | f19 the worker's clock; crashes are not counted | scripts use Redis's `TIME` (`clocks.rs`); `a_job_that_kills_its_workers_runs_alone_and_is_declared_dead_in_the_end` |
//! | f20 a lease costs O(backlog) | by construction: no `LREM` |
//! | f21, t2 a fetch takes more than it can run, and is deaf meanwhile | `a_worker_takes_no_more_than_its_free_slots_and_reports_while_they_are_full` |
//! | f22, t5 a payload that can't be read ends the worker | `what_cannot_be_read_harms_nobody` |
//! | f23, t4 a wake-up is lost during a fetch | `no_wake_up_is_lost_between_a_fetch_and_the_next_push` |
//! | f24, t13 a push fails though it was done | idempotent; `cut_connections_are_made_again_and_no_caller_sees_it` |
//! | f25 a hot loop of restarts | `an_apalis_worker_that_ends_or_goes_deaf_is_built_anew_under_a_fresh_name`, with a growing pause |
//! | f26, t10, t11 a stop loses the batch, or lets handlers run on | `a_stop_gives_back_to_the_front_in_order_without_a_crash_and_signs_off`, `a_stop_ends_though_redis_is_away` |
//! | f28 every process fires a tick | by construction: no cron here |
//! | t1 acknowledgements wait for a wake-up | by construction: the acker is a task |
//! | t3 no heartbeats while stopping | `a_long_drain_is_no_death_and_its_jobs_end_where_they_run` |
//! | t6 a panic ends the worker | `a_panic_is_a_retry_and_ends_no_worker` |
//! | t7 a worker that neither runs nor returns | `an_apalis_worker_that_ends_or_goes_deaf_is_built_anew_under_a_fresh_name` |
//! | t12 a waiter misses its notice | `a_notice_lost_with_the_connection_is_made_up_for_when_it_is_back`, `a_job_that_ended_before_its_waiter_listened_is_found_in_its_row` |
//! | an outage taken for everybody's death | `an_outage_of_redis_is_not_the_death_of_its_workers` |
//! | jobs that wait for the budget are taken for poison | `three_deaths_make_no_suspect_of_a_job_that_only_waited` |
//! | an unknown kind is thrown away in a rolling deploy | `an_unknown_kind_is_left_for_a_worker_that_knows_it` |
//! | Redis is full, and the consumers stop too | `a_full_redis_refuses_pushes_but_not_the_work_that_is_there` |
//! | a reconnect loop logs a million lines | `an_outage_is_logged_once_and_costs_no_caller_a_wait_and_shows_no_password` |
//! | one large group makes all others wait | `a_group_of_ten_thousand_adds_a_round_to_the_wait_of_ten_small_ones`, `no_group_that_waits_is_ever_behind_by_more_than_a_round` |
//! | a last word is lost with a claim that a flush took | `a_last_word_whose_claim_was_lost_in_a_flush_is_told_all_the_same` |
//! | a flush starts what still runs | `after_a_flush_running_jobs_are_registered_anew_and_the_others_found_missing` |

mod acker;
mod backend;
mod claims;
mod client;
#[cfg(test)]
mod fairness;
mod feed;
mod gates;
mod heartbeat;
mod inspect;
mod keys;
mod lane;
mod link;
mod measure;
#[cfg(test)]
mod model;
mod notice;
mod pool;
mod progress;
mod signals;
mod slots;
mod waiter;
mod waiting;

use std::time::Duration;

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, Display, EnumString, IntoStaticStr, VariantArray};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use client::{Depth, Queue, QueueError, Sweep, WorkerInfo};
pub use gates::{Gates, Passage};
pub use inspect::RedisFacts;
pub use pool::{Liveness, WorkerPool, WorkerSettings};
pub use progress::{Following, Heard, Progress, ProgressEar, ProgressVoice, Step, Telling};
pub use waiter::{Waiter, Watching};
pub use waiting::Waiting;

use crate::ids::JobId;
use crate::turns::{Group, Spent};

/// The most entries that any script handles in one call: Redis does nothing else meanwhile.
const CHUNK: usize = 500;

/// A worker that was not heard of for so long is taken for dead, and its jobs are taken over.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);

/// A job that crashed this many workers while it ran alone is not run again; see [`Delivery::is_poison`].
pub const CRASHES_OF_A_POISON: u32 = 3;

/// The queues that a worker serves, each with its own concurrency.
#[derive(
    AsExpression,
    AsRefStr,
    Clone,
    Copy,
    Debug,
    Display,
    EnumString,
    Eq,
    FromSqlRow,
    Hash,
    IntoStaticStr,
    PartialEq,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
#[diesel(sql_type = Text)]
pub enum Lane {
    /// Disconnects: interactive, and never given up.
    Revoke,
    /// Syncs that somebody waits for, and the first one of a new connection.
    Sync,
    /// Scheduled and bulk resyncs.
    Bulk,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 3] = [Self::Revoke, Self::Sync, Self::Bulk];

    /// The lane's name, as keys, rows and metrics have it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether somebody waits for this lane's jobs, so that they go first to the budget.
    pub fn is_interactive(self) -> bool {
        !matches!(self, Self::Bulk)
    }
}

/// What travels through Redis for a job: ids alone; a worker reads the rest from Postgres.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The job's row, and the message's own id: a push is idempotent by it.
    pub id: JobId,
    /// The job's kind by name, so that a worker that does not know it yet leaves it alone.
    pub kind: String,
    /// W3C trace context of the request that queued the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Whose turn the job takes in its lane. Those without a group are one group together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
}

/// The last word on a job: what its waiters are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Final {
    /// Its effect is there.
    Done,
    /// It was given up; `code` is the contract's error code.
    Failed {
        /// For example `reauthorization_required`. One word.
        code: String,
    },
    /// Something overtook it: its creator was disconnected.
    Cancelled,
}

/// What a handler says became of a job that it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The job is over: it leaves Redis, and its waiters are told.
    Final(Final),
    /// It failed and is to be tried again after this time.
    RetryIn(Duration),
    /// It could not start or go on yet (the budget): it comes back after this time. Not an attempt.
    NotNow(Duration),
    /// There is nothing to do here and nobody to tell: the row says that the job is over, or in another lane.
    Gone,
    /// This version does not know the kind. The job is left for one that does.
    Unknown,
}

impl Outcome {
    /// As metrics and traces call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Final(Final::Done) => "done",
            Self::Final(Final::Failed { .. }) => "failed",
            Self::Final(Final::Cancelled) => "cancelled",
            Self::RetryIn(_) => "retry",
            Self::NotNow(_) => "not_now",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        }
    }
}

/// A job in the hands of a handler.
#[derive(Debug)]
pub struct Delivery {
    /// What was pushed.
    pub message: Message,
    /// Where it came from.
    pub lane: Lane,
    /// How many workers died of it while it ran alone.
    pub crashes: u32,
    /// Cancelled when the job is to be let go of: another worker has it by now, or this one stops.
    pub stop: CancellationToken,
    /// Whether somebody waits for the job. May become true while it runs.
    pub interactive: watch::Receiver<bool>,
    /// Where the handler counts the requests that the job spends: its group's next turns come later by as many.
    pub spent: Spent,
    /// Through which the handler waits for what others have to give.
    pub waiting: Waiting,
}

impl Delivery {
    /// Whether the handler is to declare the job dead instead of running it. A revocation is never dead.
    pub fn is_poison(&self) -> bool {
        self.lane != Lane::Revoke && self.crashes >= CRASHES_OF_A_POISON
    }
}

/// The longest delay that the scripts are given, in ms: 35 thousand years, which Lua's numbers still count exactly.
const LONGEST_DELAY: u64 = 1 << 50;

/// A duration in whole milliseconds, rounded up, as the scripts take it: a short delay is still one.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).min(LONGEST_DELAY)
}
