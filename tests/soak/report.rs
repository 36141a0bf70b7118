//! The table of it all.

use std::time::{Duration, SystemTime};

use tokio_postgres::Client;

use crate::audit::{Recovery, Witnessed};
use crate::books::Books;
use crate::disasters::{Disaster, Fleet};
use crate::plan::Plan;

/// A job of a dead worker runs elsewhere within this, if neither Redis nor Postgres was away meanwhile.
const RECOVERY: f64 = 10.0;
/// So many of the slowest recoveries are told of one by one.
const SLOWEST: usize = 5;
/// So long after an outage its traces may be seen: nobody is presumed dead before Redis was there for three seconds.
const AFTERMATH: Duration = Duration::from_secs(10);

/// What the soak showed.
pub struct Report {
    pub took: Duration,
    pub creators: usize,
    pub workers: usize,
    pub witnessed: Witnessed,
    /// 429s.
    pub refused: u64,
    /// Answers that were not true, and data that is not as it should be.
    pub wrong: Vec<String>,
    /// From each kill to the next start of each job that the worker held.
    pub killed: Vec<Recovery>,
    /// The same of a worker that was paused.
    pub paused: Vec<Recovery>,
    /// How many of its answers TikTok has spoilt.
    pub spoilt: u64,
}

impl Report {
    /// Whether nothing happened that must never happen, and something was done.
    pub fn is_clean(&self) -> bool {
        let Witnessed { lost, doubled, zombies, done, .. } = self.witnessed;
        let clean = lost == 0 && doubled == 0 && zombies == 0 && self.refused == 0 && self.wrong.is_empty();
        clean && done > 0
    }

    /// Whether it was as large, and the recoveries that no outage came between were as quick, as `plan` asks. After a kill
    /// there are some; who is paused may have nothing to do.
    pub fn keeps(&self, plan: &Plan, fleet: &Fleet) -> bool {
        let slowest = |recoveries: &[Recovery]| split(recoveries, &fleet.outages).0;
        let is_quick = |seconds: f64| seconds <= RECOVERY;
        plan.least_jobs.is_none_or(|least| {
            self.witnessed.made >= least
                && slowest(&self.killed).is_some_and(is_quick)
                && slowest(&self.paused).is_none_or(is_quick)
        })
    }

    pub fn print(&self, plan: &Plan, fleet: &Fleet, books: &Books) {
        let seen = &self.witnessed;
        let count = |disaster: Disaster| plan.disasters.iter().filter(|(_, what)| *what == disaster).count();
        let row = |what: &str, value: String| println!("  {what:<44} {value}");
        println!("\nThe soak: {:.0?}, {} workers, {} creators", self.took, self.workers, self.creators);
        row("kill -9 of a worker", count(Disaster::Kill).to_string());
        row("a worker paused, and resumed", count(Disaster::Pause).to_string());
        row("Redis restarted, flushed", format!("{}, {}", count(Disaster::RestartRedis), count(Disaster::FlushRedis)));
        row("Postgres restarted", count(Disaster::RestartPostgres).to_string());
        row("answers of TikTok's that were spoilt", self.spoilt.to_string());
        println!();
        row("sync jobs made", seen.made.to_string());
        row("  done, failed, cancelled", format!("{}, {}, {}", seen.done, seen.failed, seen.cancelled));
        row("creators disconnected", seen.revoked.to_string());
        row("starts of jobs (a job may take several)", seen.starts.to_string());
        println!();
        for ((what, status), times) in books.answers() {
            row(&format!("{what} answered with {status}"), times.to_string());
        }
        let (overdue, longest) = books.worst_waits();
        row("longest wait for an answer", format!("{longest:.1?}"));
        row("  beyond the wait that was asked for", format!("{overdue:.1?}"));
        println!();
        let (calm, rough) = split(&self.killed, &fleet.outages);
        row("jobs that a kill interrupted", self.killed.len().to_string());
        row("  slowest recovery", seconds(calm));
        tell_slowest(&self.killed, fleet);
        row("  where an outage came in between", seconds(rough));
        let (calm, rough) = split(&self.paused, &fleet.outages);
        row("jobs that a pause interrupted", self.paused.len().to_string());
        row("  slowest recovery", seconds(calm));
        row("  where an outage came in between", seconds(rough));
        println!();
        row("lost", seen.lost.to_string());
        row("effects doubled", seen.doubled.to_string());
        row("zombie writes", seen.zombies.to_string());
        row("429s", self.refused.to_string());
        row("wrong answers and wrong data", self.wrong.len().to_string());
    }

    /// The first of each fault, for whoever looks for its cause.
    pub async fn explain(&self, sql: &Client) {
        for wrong in self.wrong.iter().take(20) {
            println!("wrong: {wrong}");
        }
        crate::audit::explain(sql).await;
    }
}

/// The slowest recovery of calm times, and that of times with an outage.
fn split(recoveries: &[Recovery], outages: &[(SystemTime, SystemTime)]) -> (Option<f64>, Option<f64>) {
    let slowest = |rough: bool| {
        let chosen = recoveries.iter().filter(|recovery| was_rough(recovery, outages) == rough);
        chosen.map(|recovery| recovery.seconds).reduce(f64::max)
    };
    (slowest(false), slowest(true))
}

/// Whether an outage came in between.
fn was_rough(recovery: &Recovery, outages: &[(SystemTime, SystemTime)]) -> bool {
    let until = recovery.at + Duration::from_secs_f64(recovery.seconds.clamp(0.0, RECOVERY));
    outages.iter().any(|(from, to)| *from <= until && *to + AFTERMATH >= recovery.at)
}

/// The slowest recoveries of calm times, each with what else died meanwhile.
fn tell_slowest(recoveries: &[Recovery], fleet: &Fleet) {
    let mut calm: Vec<&Recovery> = recoveries.iter().filter(|recovery| !was_rough(recovery, &fleet.outages)).collect();
    calm.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    for Recovery { at, worker, job, kind, starts, seconds, next } in calm.into_iter().take(SLOWEST) {
        let after = |end: &SystemTime| end.duration_since(*at).ok().map(|passed| passed.as_secs_f64());
        let ends = fleet.killed.iter().chain(&fleet.stopped);
        let deaths: Vec<String> = ends
            .filter_map(|(name, end)| Some((name, after(end).filter(|after| *after > 0.0 && *after < *seconds)?)))
            .map(|(name, after)| format!("{name} at {after:.1} s"))
            .collect();
        let meanwhile = if deaths.is_empty() { "nobody".to_owned() } else { deaths.join(", ") };
        println!(
            "    {seconds:.1} s: {kind} {job}, start {starts} by {worker}, then {next}; died meanwhile: {meanwhile}"
        );
    }
}

fn seconds(time: Option<f64>) -> String {
    time.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds:.1} s"))
}
