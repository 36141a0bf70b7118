//! The fleet, its jobs' rows, and what Redis is to look like in the end.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::ids::{JobId, ProjectId};
use crate::queue::claims::{ClaimId, Claims};
use crate::queue::{Lane, Message, Queue, Sweep};
use crate::turns::Group;

pub(super) const JOBS: usize = 6;
/// Longer than any test: nobody is found dead unless the model says so.
const NEVER: Duration = Duration::from_secs(3600);
/// Where the lane of most jobs stands among all lanes.
pub(super) const BULK: usize = 2;

/// A job's row: what Postgres would hold.
pub(super) struct Row {
    pub(super) message: Message,
    pub(super) lane: Lane,
    pub(super) open: bool,
    pub(super) claim: u64,
    /// How often it was asked for anew, and how often its effect was written: the second must never pass the first.
    pub(super) asked: u32,
    pub(super) effects: u32,
    /// Requests that it spends.
    pub(super) cost: u32,
    /// Whether Redis was told, and has not been flushed since: it never forgets by itself.
    pub(super) told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    Running,
    Paused,
    /// Its claims are still in Redis.
    Crashed,
}

pub(super) struct Held {
    pub(super) claim: ClaimId,
    pub(super) payload: Arc<[u8]>,
    pub(super) lane: Lane,
    pub(super) job: usize,
    /// The row's claim at this start; `None`: the row had its last word already.
    pub(super) fence: Option<u64>,
    pub(super) suspect: bool,
    /// Whether the whole fleet knows that this process has it: nothing was flushed since, nobody took it over.
    pub(super) sole: bool,
}

pub(super) struct Process {
    pub(super) claims: [Claims; 3],
    pub(super) epochs: [String; 3],
    pub(super) held: Vec<Held>,
    pub(super) numbers: u64,
    pub(super) life: Life,
}

pub(super) struct World {
    pub(super) queue: Queue,
    pub(super) rows: Vec<Row>,
    pub(super) processes: Vec<Process>,
}

pub(super) fn at(lane: Lane) -> usize {
    Lane::ALL.iter().position(|one| *one == lane).unwrap()
}

impl Process {
    fn new(queue: &Queue) -> Self {
        let claims = |lane| Claims { queue: queue.clone(), lane, worker: format!("w-{}", JobId::new()) };
        Self {
            claims: Lane::ALL.map(claims),
            epochs: Default::default(),
            held: Vec::new(),
            numbers: 1,
            life: Life::Running,
        }
    }

    /// Drops what others have by now. As in the heartbeat, an epoch that changed means a flush.
    pub(super) async fn beat(&mut self) {
        for lane in Lane::ALL {
            let held: Vec<(ClaimId, Arc<[u8]>)> = self
                .held
                .iter()
                .filter(|held| held.lane == lane)
                .map(|held| (held.claim.clone(), held.payload.clone()))
                .collect();
            let beat = self.claims[at(lane)].beat(&self.epochs[at(lane)], NEVER, &held).await.unwrap();
            let lost: Vec<u64> = beat.lost.iter().map(|position| held[*position].0.number).collect();
            self.held.retain(|held| held.lane != lane || !lost.contains(&held.claim.number));
            // What is not lost is registered, anew if there was a flush.
            self.held.iter_mut().filter(|held| held.lane == lane).for_each(|held| held.sole = true);
            self.epochs[at(lane)] = beat.epoch;
        }
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let url = std::env::var("METRIQLAB_TEST_REDIS_URL").expect(
            "METRIQLAB_TEST_REDIS_URL is not set: run the tests with `make test`, which starts the servers they need",
        );
        let queue = Queue::connect(&url, &format!("test-model-{}", JobId::new())).unwrap();
        // Jobs of some groups and of none, that cost from one request to three.
        let row = |number: u32| Row {
            message: Message {
                id: JobId::new(),
                kind: "sync".into(),
                trace: None,
                group: (!number.is_multiple_of(3)).then(|| Group::from(ProjectId::new())),
            },
            cost: 1 + number / 2,
            lane: Lane::Bulk,
            open: false,
            claim: 0,
            asked: 0,
            effects: 0,
            told: false,
        };
        let mut world = Self { queue, rows: (0..).take(JOBS).map(row).collect(), processes: Vec::new() };
        for _ in 0..3 {
            world.join().await;
        }
        world
    }

    /// A new process: it fetches nothing before its first heartbeat.
    pub(super) async fn join(&mut self) {
        let mut process = Process::new(&self.queue);
        process.beat().await;
        self.processes.push(process);
    }
    pub(super) async fn flush(&mut self) {
        for (lane, key) in self.keys(true) {
            let _: u64 = self.queue.link(lane).command(redis::cmd("DEL").arg(key)).await.unwrap();
        }
        for held in self.processes.iter_mut().flat_map(|process| &mut process.held) {
            held.sole = false;
        }
        for row in &mut self.rows {
            row.told = false;
        }
    }

    /// The keys of jobs; with `all`, those of workers, too.
    fn keys(&self, all: bool) -> Vec<(Lane, String)> {
        let mut keys = Vec::new();
        for lane in Lane::ALL {
            let lane_keys = self.queue.keys(lane);
            let jobs = [
                &lane_keys.jobs,
                &lane_keys.lines,
                &lane_keys.turns,
                &lane_keys.ahead,
                &lane_keys.clock,
                &lane_keys.solo,
                &lane_keys.delayed,
                &lane_keys.claims,
                &lane_keys.crashes,
                &lane_keys.waiting,
            ];
            keys.extend(jobs.map(|key| (lane, key.clone())));
            let workers = self.processes.iter().map(|process| &process.claims[at(lane)].worker);
            keys.extend(workers.map(|worker| (lane, lane_keys.inflight(worker))));
            if all {
                keys.extend([&lane_keys.workers, &lane_keys.epoch, &lane_keys.reached].map(|key| (lane, key.clone())));
            }
        }
        keys
    }

    /// Two heartbeats pass, and the sweeper pushes what Redis does not know.
    pub(super) async fn sweep(&mut self) -> Result<(), TestCaseError> {
        if !self.processes.iter().any(|process| process.life == Life::Running) {
            return Ok(());
        }
        for process in self.processes.iter_mut().filter(|process| process.life == Life::Running) {
            process.beat().await;
        }
        for lane in Lane::ALL {
            self.age_epoch(lane).await;
        }
        let mut open: Vec<&mut Row> = self.rows.iter_mut().filter(|row| row.open).collect();
        let ids: Vec<JobId> = open.iter().map(|row| row.message.id).collect();
        let Sweep::Unknown(unknown) = self.queue.unknown(&ids).await.unwrap() else {
            panic!("the epoch is old enough")
        };
        for row in &mut open {
            if unknown.contains(&row.message.id) {
                prop_assert!(!row.told, "Redis forgot a job");
                self.queue.push(row.lane, &row.message, None).await.unwrap();
                row.told = true;
            }
        }
        let waited_for: Vec<JobId> =
            open.iter().filter(|row| row.lane == Lane::Sync).map(|row| row.message.id).collect();
        let Sweep::Unknown(behind) = self.queue.unknown_to(Lane::Sync, &waited_for).await.unwrap() else {
            panic!("the epoch is old enough")
        };
        for row in open.iter().filter(|row| behind.contains(&row.message.id)) {
            self.queue.promote(Lane::Bulk, &row.message).await.unwrap();
        }
        Ok(())
    }

    /// The epoch began long ago; everybody who knows it still does.
    async fn age_epoch(&mut self, lane: Lane) {
        let key = self.queue.keys(lane).epoch.clone();
        let epoch: Option<String> = self.queue.link(lane).command(redis::cmd("GET").arg(&key)).await.unwrap();
        let Some(epoch) = epoch else { return };
        let aged = (epoch.parse::<u64>().unwrap() - 60_000).to_string();
        let () = self.queue.link(lane).command(redis::cmd("SET").arg(&key).arg(&aged)).await.unwrap();
        for process in &mut self.processes {
            if process.epochs[at(lane)] == epoch {
                process.epochs[at(lane)].clone_from(&aged);
            }
        }
    }

    /// All that is delayed is due.
    async fn bring_on(&self, lane: Lane) {
        let delayed = &self.queue.keys(lane).delayed;
        let mut bring = redis::cmd("ZUNIONSTORE");
        bring.arg(delayed).arg(1).arg(delayed).arg("WEIGHTS").arg(0);
        let _: u64 = self.queue.link(lane).command(&bring).await.unwrap();
    }

    /// Everybody is back, the dead are found, and nothing new is asked for: all that was promised gets done.
    pub(super) async fn settle(&mut self) -> Result<(), TestCaseError> {
        for process in &mut self.processes {
            if process.life == Life::Paused {
                process.life = Life::Running;
            }
        }
        let keys = self.keys(false);
        // A job that was found on dead workers runs alone in each process, so this takes some rounds.
        for _ in 0..2 * JOBS {
            let by = self.processes.iter().position(|process| process.life == Life::Running).unwrap();
            for dead in 0..self.processes.len() {
                if self.processes[dead].life == Life::Crashed {
                    self.take_over(dead, by).await;
                }
            }
            self.processes.retain(|process| process.life == Life::Running);
            for lane in Lane::ALL {
                self.bring_on(lane).await;
            }
            self.sweep().await?;
            for process in 0..self.processes.len() {
                for lane in Lane::ALL {
                    self.fetch(process, lane, JOBS).await?;
                }
                while !self.processes[process].held.is_empty() {
                    self.end_one(process, 0, None, false).await?;
                }
            }
        }
        for row in &self.rows {
            prop_assert!(!row.open, "a job was lost");
            prop_assert_eq!(row.effects, row.asked);
        }
        for (lane, key) in keys {
            let there: bool = self.queue.link(lane).command(redis::cmd("EXISTS").arg(&key)).await.unwrap();
            prop_assert!(!there, "{key} is left in Redis");
        }
        self.flush().await;
        Ok(())
    }
}
