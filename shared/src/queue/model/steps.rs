//! What can happen, and how it does.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{Held, JOBS, Life, World, at};
use crate::ids::JobId;
use crate::queue::claims::{ClaimId, End, FetchedJob, Verb};
use crate::queue::{Lane, Message};

/// Where the numbers end that a choice is made by ([`one_of`]): far above the number of things to choose among.
const ANY: usize = 60;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A client asks for a job: a row, and a push, or one that gets lost.
    Ask {
        job: usize,
        lost: bool,
    },
    /// Somebody waits for a bulk job.
    Promote {
        job: usize,
    },
    Fetch {
        process: usize,
        lane: usize,
        slots: usize,
    },
    /// A handler ends, and its end comes to Redis unless the process dies in between.
    Finish {
        process: usize,
        held: usize,
        dies: bool,
    },
    Retry {
        process: usize,
        held: usize,
    },
    /// A job begins to wait for its turn at something, or has it.
    Wait {
        process: usize,
        held: usize,
        over: bool,
    },
    Beat {
        process: usize,
    },
    Crash {
        process: usize,
    },
    Pause {
        process: usize,
    },
    Resume {
        process: usize,
    },
    /// A clean stop: what runs is given back.
    Stop {
        process: usize,
    },
    /// Somebody finds a process dead that is: crashed, or paused for long.
    TakeOver {
        process: usize,
        by: usize,
    },
    Flush,
    Sweep,
}

/// One of those that there are by then.
fn one_of<T: Copy>(those: &[T], which: usize) -> Option<T> {
    those.get(which.checked_rem(those.len())?).copied()
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let index = || 0..ANY;
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

impl World {
    fn pick(&self, process: usize, life: Life) -> Option<usize> {
        let those: Vec<usize> = (0..self.processes.len()).filter(|at| self.processes[*at].life == life).collect();
        one_of(&those, process)
    }

    pub(super) async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Ask { job, lost } => self.ask(job % JOBS, lost).await,
            Step::Promote { job } => self.promote(job % JOBS).await,
            Step::Fetch { process, lane, slots } => {
                if let Some(process) = self.pick(process, Life::Running) {
                    self.fetch(process, Lane::ALL[lane % Lane::ALL.len()], slots).await?;
                }
            }
            Step::Finish { process, held, dies } => self.end(process, held, None, dies).await?,
            Step::Retry { process, held } => self.end(process, held, Some(Duration::ZERO), false).await?,
            Step::Wait { process, held, over } => {
                if let Some(process) = self.pick(process, Life::Running) {
                    self.wait(process, held, over).await;
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

    fn change(&mut self, process: usize, from: Life, to: Life) {
        if let Some(process) = self.pick(process, from) {
            self.processes[process].life = to;
        }
    }

    async fn wait(&mut self, process: usize, held: usize, over: bool) {
        let process = &self.processes[process];
        if !process.held.is_empty() {
            let held = &process.held[held % process.held.len()];
            let claims = &process.claims[at(held.lane)];
            if over {
                claims.go_on(held.claim.number).await.unwrap();
            } else {
                claims.wait(&held.claim).await.unwrap();
            }
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

    pub(super) async fn fetch(&mut self, process: usize, lane: Lane, slots: usize) -> Result<usize, TestCaseError> {
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
        process: usize,
        held: usize,
        delay: Option<Duration>,
        dies: bool,
    ) -> Result<(), TestCaseError> {
        let Some(at) = self.pick(process, Life::Running).filter(|at| !self.processes[*at].held.is_empty()) else {
            return Ok(());
        };
        let which = held % self.processes[at].held.len();
        self.end_one(at, which, delay, dies).await
    }

    pub(super) async fn end_one(
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
            let overtaken = same && matches!(verb, Verb::Gone);
            let end = End { claim: held.claim, verb, group: row.message.group.clone(), cost: row.cost };
            let lost = self.processes[process].claims[at(held.lane)].finish(&[end]).await.unwrap();
            // After a flush the run that Redis knows may be one that another has overtaken. The job leaves with it.
            row.told &= !overtaken || lost == 1;
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

    pub(super) async fn take_over(&mut self, dead: usize, by: usize) {
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
}
