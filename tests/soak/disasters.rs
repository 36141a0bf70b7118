//! What befalls the fleet, and when.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

use crate::books::Books;
use crate::plan::Plan;
use crate::support::process::Process;
use crate::support::servers::{PrivatePostgres, PrivateRedis};

/// A worker is killed so often.
const KILL_EVERY: Duration = Duration::from_secs(5);

/// After a flush nothing is asked of TikTok until the window of all that had been asked is over: it, the time that an answer
/// may take, and what is reserved for clocks.
const LATE_ANSWERS: Duration = Duration::from_secs(12);

/// What befalls the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disaster {
    /// kill -9 of the worker that has run longest; another one is started.
    Kill,
    /// A worker stands still (SIGSTOP).
    Pause,
    /// It goes on.
    Resume,
    RestartRedis,
    FlushRedis,
    RestartPostgres,
}

/// A kill every five seconds for `length`, and these besides.
pub fn schedule(length: Duration, others: &[(Duration, Disaster)]) -> Vec<(Duration, Disaster)> {
    let kills = (1..).map(|number| (KILL_EVERY * number, Disaster::Kill)).take_while(|(at, _)| *at < length);
    let mut all: Vec<_> = kills.chain(others.iter().copied()).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

/// The workers, and how many of each disaster there were.
pub struct Fleet {
    folder: PathBuf,
    variables: Vec<(String, String)>,
    workers: Vec<Worker>,
    started: usize,
    paused: Option<Worker>,
    /// Each killed worker's name, and when.
    pub killed: Vec<(String, SystemTime)>,
    /// The same of those that were paused.
    pub stopped: Vec<(String, SystemTime)>,
    /// When Redis or Postgres was not to be had, until it had healed.
    pub outages: Vec<(SystemTime, SystemTime)>,
}

struct Worker {
    name: String,
    process: Process,
}

impl Fleet {
    /// So many workers, of which each signs its connections to Postgres with its name.
    pub fn start(size: usize, variables: &[(String, String)], folder: PathBuf) -> Self {
        let mut fleet = Self {
            folder,
            variables: variables.to_vec(),
            workers: Vec::new(),
            started: 0,
            paused: None,
            killed: Vec::new(),
            stopped: Vec::new(),
            outages: Vec::new(),
        };
        for _ in 0..size {
            fleet.add();
        }
        fleet
    }

    fn add(&mut self) {
        self.started += 1;
        let name = format!("worker-{}", self.started);
        let mut variables = self.variables.clone();
        for (variable, value) in &mut variables {
            if variable == "DATABASE_URL" {
                *value = format!("{value}?application_name={name}");
            }
        }
        let process = Process::start(&name, &["worker"], &variables, &self.folder);
        self.workers.push(Worker { name, process });
    }

    /// Lets it all happen.
    pub async fn suffer(
        &mut self,
        plan: &Plan,
        redis: &mut PrivateRedis,
        postgres: &mut PrivatePostgres,
        books: &Books,
    ) {
        let began = Instant::now();
        for (at, disaster) in &plan.disasters {
            tokio::time::sleep(at.saturating_sub(began.elapsed())).await;
            match disaster {
                Disaster::Kill => self.kill().await,
                Disaster::Pause => self.pause(),
                Disaster::Resume => self.resume(),
                Disaster::RestartRedis => {
                    let from = SystemTime::now();
                    redis.restart().await;
                    self.outages.push((from, SystemTime::now()));
                }
                Disaster::FlushRedis => {
                    redis.flush().await;
                    let now = SystemTime::now();
                    self.outages.push((now, now + plan.window + LATE_ANSWERS));
                }
                Disaster::RestartPostgres => {
                    let from = SystemTime::now();
                    books.postgres_leaves();
                    postgres.restart().await;
                    books.postgres_returns();
                    self.outages.push((from, SystemTime::now()));
                }
            }
        }
        self.resume();
    }

    async fn kill(&mut self) {
        let mut oldest = self.workers.remove(0);
        self.killed.push((oldest.name, SystemTime::now()));
        oldest.process.kill().await;
        self.add();
    }

    fn pause(&mut self) {
        // The youngest, which has longest to live.
        let Some(worker) = self.workers.pop() else { return };
        worker.process.signal(Signal::SIGSTOP);
        self.stopped.push((worker.name.clone(), SystemTime::now()));
        self.paused = Some(worker);
    }

    fn resume(&mut self) {
        if let Some(worker) = self.paused.take() {
            worker.process.signal(Signal::SIGCONT);
            self.workers.push(worker);
        }
    }

    /// What its workers say of trouble, for whoever looks for the cause of a failure.
    pub fn complaints(&self) -> String {
        let said = self.workers.iter().map(|worker| format!("--- {}\n{}", worker.name, worker.process.said()));
        said.collect::<Vec<_>>().join("\n")
    }
}
