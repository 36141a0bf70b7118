//! A model of a fleet: jobs' rows, client pushes and worker processes that claim, finish, crash, are paused, taken over and
//! stopped, on the real scripts in a real Redis that is flushed now and then. Steps are drawn at random and in any order;
//! time passes when the model says so.
//!
//! What must hold, whatever happens: a job's effect is there once at most; a job that a living worker holds, and has told
//! Redis so, goes to no other; Redis forgets nothing but by a flush; a process runs one suspect at a time; and when the dust
//! has settled, every job that was promised is done and Redis holds nothing of any.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::claims::{ClaimId, Claims, End, FetchedJob, Verb};
use super::{Lane, Message, Queue, Sweep};
use crate::ids::{JobId, ProjectId};
use crate::turns::Group;

const JOBS: usize = 6;
/// Longer than any test: nobody is found dead unless the model says so.
const NEVER: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
enum Step {
    /// A client asks for a job: a row, and a push, or one that gets lost.
    Ask {
        job: Index,
        lost: bool,
    },
    /// Somebody waits for a bulk job.
    Promote {
        job: Index,
    },
    Fetch {
        process: Index,
        lane: Index,
        slots: usize,
    },
    /// A handler ends, and its end comes to Redis unless the process dies in between.
    Finish {
        process: Index,
        held: Index,
        dies: bool,
    },
    Retry {
        process: Index,
        held: Index,
    },
    /// A job begins to wait for its turn at something, or has it.
    Wait {
        process: Index,
        held: Index,
        over: bool,
    },
    Beat {
        process: Index,
    },
    Crash {
        process: Index,
    },
    Pause {
        process: Index,
    },
    Resume {
        process: Index,
    },
    /// A clean stop: what runs is given back.
    Stop {
        process: Index,
    },
    /// Somebody finds a process dead that is: crashed, or paused for long.
    TakeOver {
        process: Index,
        by: Index,
    },
    Flush,
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        6 => (index(), prop::bool::weighted(0.1)).prop_map(|(job, lost)| Step::Ask { job, lost }),
        1 => index().prop_map(|job| Step::Promote { job }),
        8 => (index(), index(), 1_usize..4).prop_map(|(process, lane, slots)| Step::Fetch { process, lane, slots }),
        6 => (index(), index(), prop::bool::weighted(0.2))
            .prop_map(|(process, held, dies)| Step::Finish { process, held, dies }),
        2 => (index(), index()).prop_map(|(process, held)| Step::Retry { process, held }),
        2 => (index(), index(), any::<bool>()).prop_map(|(process, held, over)| Step::Wait { process, held, over }),
        3 => index().prop_map(|process| Step::Beat { process }),
        2 => index().prop_map(|process| Step::Crash { process }),
        2 => index().prop_map(|process| Step::Pause { process }),
        2 => index().prop_map(|process| Step::Resume { process }),
        1 => index().prop_map(|process| Step::Stop { process }),
        4 => (index(), index()).prop_map(|(process, by)| Step::TakeOver { process, by }),
        1 => Just(Step::Flush),
        1 => Just(Step::Sweep),
    ]
}

/// A job's row: what Postgres would hold.
struct Row {
    message: Message,
    lane: Lane,
    open: bool,
    claim: u64,
    /// How often it was asked for anew, and how often its effect was written: the second must never pass the first.
    asked: u32,
    effects: u32,
    /// Requests that it spends.
    cost: u32,
    /// Whether Redis was told, and has not been flushed since: it never forgets by itself.
    told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Running,
    Paused,
    /// Its claims are still in Redis.
    Crashed,
}

struct Held {
    claim: ClaimId,
    payload: Arc<[u8]>,
    lane: Lane,
    job: usize,
    /// The row's claim at this start; `None`: the row had its last word already.
    fence: Option<u64>,
    suspect: bool,
    /// Whether the whole fleet knows that this process has it: nothing was flushed since, nobody took it over.
    sole: bool,
}

struct Process {
    claims: [Claims; 3],
    epochs: [String; 3],
    held: Vec<Held>,
    numbers: u64,
    life: Life,
}

struct World {
    queue: Queue,
    rows: Vec<Row>,
    processes: Vec<Process>,
}

fn at(lane: Lane) -> usize {
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

    async fn wait(&mut self, held: Index, over: bool) {
        if !self.held.is_empty() {
            let held = held.get(&self.held);
            let claims = &self.claims[at(held.lane)];
            if over {
                claims.go_on(held.claim.number).await.unwrap();
            } else {
                claims.wait(&held.claim).await.unwrap();
            }
        }
    }

    /// Drops what others have by now. As in the heartbeat, an epoch that changed means a flush.
    async fn beat(&mut self) {
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
    async fn new() -> Self {
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
    async fn join(&mut self) {
        let mut process = Process::new(&self.queue);
        process.beat().await;
        self.processes.push(process);
    }

    fn pick(&self, process: Index, life: Life) -> Option<usize> {
        let those: Vec<usize> = (0..self.processes.len()).filter(|at| self.processes[*at].life == life).collect();
        (!those.is_empty()).then(|| *process.get(&those))
    }

    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Ask { job, lost } => self.ask(job.index(JOBS), lost).await,
            Step::Promote { job } => self.promote(job.index(JOBS)).await,
            Step::Fetch { process, lane, slots } => {
                if let Some(process) = self.pick(process, Life::Running) {
                    self.fetch(process, *lane.get(&Lane::ALL), slots).await?;
                }
            }
            Step::Finish { process, held, dies } => self.end(process, held, None, dies).await?,
            Step::Retry { process, held } => self.end(process, held, Some(Duration::ZERO), false).await?,
            Step::Wait { process, held, over } => {
                if let Some(process) = self.pick(process, Life::Running) {
                    self.processes[process].wait(held, over).await;
                }
            }
            Step::Beat { process } => {
                if let Some(process) = self.pick(process, Life::Running) {
                    self.processes[process].beat().await;
                }
            }
            Step::Crash { process } => {
                if let Some(process) = self.pick(process, Life::Running) {
                    self.crash(process).await;
                }
            }
            Step::Pause { process } => self.change(process, Life::Running, Life::Paused),
            Step::Resume { process } => self.change(process, Life::Paused, Life::Running),
            Step::Stop { process } => {
                if let Some(process) = self.pick(process, Life::Running) {
                    self.stop(process).await;
                }
            }
            Step::TakeOver { process, by } => {
                let dead = self.pick(process, Life::Crashed).or_else(|| self.pick(process, Life::Paused));
                if let (Some(dead), Some(by)) = (dead, self.pick(by, Life::Running)) {
                    self.take_over(dead, by).await;
                }
            }
            Step::Flush => self.flush().await,
            Step::Sweep => self.sweep().await?,
        }
        Ok(())
    }

    fn change(&mut self, process: Index, from: Life, to: Life) {
        if let Some(process) = self.pick(process, from) {
            self.processes[process].life = to;
        }
    }

    async fn ask(&mut self, job: usize, lost: bool) {
        let row = &mut self.rows[job];
        if !row.open {
            // A new request after the end is a new job.
            row.message.id = JobId::new();
            (row.lane, row.open, row.claim, row.told) = (Lane::Bulk, true, 0, false);
            row.asked += 1;
        }
        if !lost {
            self.queue.push(row.lane, &row.message, None).await.unwrap();
            row.told = true;
        }
    }

    async fn promote(&mut self, job: usize) {
        let row = &mut self.rows[job];
        if row.open && row.lane == Lane::Bulk {
            row.lane = Lane::Sync;
            self.queue.promote(Lane::Bulk, &row.message).await.unwrap();
            row.told = true;
        }
    }

    async fn fetch(&mut self, process: usize, lane: Lane, slots: usize) -> Result<usize, TestCaseError> {
        let taker = &mut self.processes[process];
        let free_for_suspect = !taker.held.iter().any(|held| held.suspect);
        let first = taker.numbers;
        taker.numbers += slots as u64;
        let fetched = taker.claims[at(lane)].fetch(first, slots, free_for_suspect).await.unwrap();
        prop_assert!(fetched.jobs.len() <= slots);
        let count = fetched.jobs.len();
        for job in fetched.jobs {
            self.start(process, lane, job)?;
        }
        Ok(count)
    }

    /// What a handler does first: it claims the row.
    fn start(&mut self, process: usize, lane: Lane, fetched: FetchedJob) -> Result<(), TestCaseError> {
        let message: Message = serde_json::from_slice(&fetched.payload).unwrap();
        prop_assert!(message.id.to_string().as_bytes() == fetched.claim.id, "a payload of another job");
        for (other, holder) in self.processes.iter().enumerate() {
            let twice = holder.held.iter().any(|held| {
                held.sole && held.lane == lane && held.claim.id == fetched.claim.id && holder.life == Life::Running
            });
            prop_assert!(!twice, "process {process} was given a job that process {other} holds");
        }
        // A row that was asked for anew since is another job: this one has had its last word.
        let job = self.rows.iter().position(|row| row.message.id == message.id);
        let row = job.map(|job| &mut self.rows[job]).filter(|row| row.open);
        let fence = row.map(|row| {
            row.claim += 1;
            row.claim
        });
        let process = &mut self.processes[process];
        let suspects = process.held.iter().filter(|held| held.suspect).count();
        prop_assert!(!fetched.suspect || suspects == 0, "two suspects in one process");
        process.held.push(Held {
            claim: fetched.claim,
            payload: fetched.payload,
            lane,
            job: job.unwrap_or(0),
            fence,
            suspect: fetched.suspect,
            sole: true,
        });
        Ok(())
    }

    /// A handler ends: with the job's effect, or with a retry after `delay`.
    async fn end(
        &mut self,
        process: Index,
        held: Index,
        delay: Option<Duration>,
        dies: bool,
    ) -> Result<(), TestCaseError> {
        let Some(at) = self.pick(process, Life::Running).filter(|at| !self.processes[*at].held.is_empty()) else {
            return Ok(());
        };
        let which = held.index(self.processes[at].held.len());
        self.end_one(at, which, delay, dies).await
    }

    async fn end_one(
        &mut self,
        process: usize,
        which: usize,
        delay: Option<Duration>,
        dies: bool,
    ) -> Result<(), TestCaseError> {
        let held = self.processes[process].held.remove(which);
        let row = &mut self.rows[held.job];
        let same = row.message.id.to_string().as_bytes() == &held.claim.id[..];
        // The fence: whoever started the job later has a higher claim.
        let mine = same && row.open && held.fence == Some(row.claim);
        let verb = match delay {
            Some(delay) if mine => Verb::Delay(delay),
            None if mine => {
                row.open = false;
                row.effects += 1;
                prop_assert!(row.effects <= row.asked, "an effect was written twice");
                Verb::Final(format!("{} done", row.message.id))
            }
            _ if held.fence.is_none() => Verb::Final("again".into()),
            _ => Verb::Gone,
        };
        if dies {
            self.processes[process].held.push(held);
            self.crash(process).await;
        } else {
            let end = End { claim: held.claim, verb, group: row.message.group.clone(), cost: row.cost };
            self.processes[process].claims[at(held.lane)].finish(&[end]).await.unwrap();
        }
        Ok(())
    }

    /// Its claims stay in Redis until somebody takes them over. Another process starts in its stead.
    async fn crash(&mut self, process: usize) {
        let process = &mut self.processes[process];
        process.held.clear();
        process.life = Life::Crashed;
        self.join().await;
    }

    async fn stop(&mut self, process: usize) {
        let stopped = self.processes.swap_remove(process);
        for lane in Lane::ALL {
            let claims = stopped.claims[at(lane)].clone();
            let held = stopped.held.iter().filter(|held| held.lane == lane);
            let held: Vec<ClaimId> = held.map(|held| held.claim.clone()).collect();
            claims.release(&held).await.unwrap();
            claims.deregister().await.unwrap();
        }
        self.join().await;
    }

    async fn take_over(&mut self, dead: usize, by: usize) {
        // The scripts' clock counts whole milliseconds: a death takes one.
        tokio::time::sleep(Duration::from_millis(2)).await;
        for lane in Lane::ALL {
            let dead = self.processes[dead].claims[at(lane)].worker.clone();
            self.processes[by].claims[at(lane)].reclaim(&dead, Duration::ZERO).await.unwrap();
        }
        for held in &mut self.processes[dead].held {
            held.sole = false;
        }
    }

    async fn flush(&mut self) {
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
    async fn sweep(&mut self) -> Result<(), TestCaseError> {
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

    /// Everybody is back, the dead are found, and nothing new is asked for: all that was promised gets done.
    async fn settle(&mut self) -> Result<(), TestCaseError> {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_loses_a_job_or_does_one_twice(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.take(step).await?;
            }
            world.settle().await
        })?;
    }
}
