//! What a worker process does to the jobs it holds: the scripts that fetch, finish, give back, beat and take over.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{FromRedisValue, RedisResult, Script, Value};

use super::client::on_lines;
use super::{CHUNK, CRASHES_OF_A_POISON, Lane, Queue, millis};
use crate::turns::Group;

static FETCH: LazyLock<Script> = LazyLock::new(|| on_lines(include_str!("scripts/fetch.lua")));
static FINISH: LazyLock<Script> = LazyLock::new(|| on_lines(include_str!("scripts/finish.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| on_lines(include_str!("scripts/release.lua")));
static WAIT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/wait.lua")));
static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/heartbeat.lua")));
static RECLAIM: LazyLock<Script> = LazyLock::new(|| on_lines(include_str!("scripts/reclaim.lua")));
static DEREGISTER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/deregister.lua")));

/// A job found on a dead worker this often is a suspect: from then on it runs alone.
pub(super) const CRASHES_OF_A_SUSPECT: u32 = 2;

/// One lane as one worker process works on it.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    pub queue: Queue,
    pub lane: Lane,
    /// Unique to this start of the process, so that a claim of its predecessor is never taken for its own.
    pub worker: String,
}

/// A claim by its job and its number, which this worker uses once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClaimId {
    /// As it stands in Redis: no id there, however strange, may keep the answer from being read.
    pub id: Vec<u8>,
    pub number: u64,
}

/// What a fetch brought.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Time until the first delayed job is due.
    pub next_due: Option<Duration>,
    /// Whether another fetch at once may bring more.
    pub more: bool,
    /// Whether suspects are in line.
    pub suspects: bool,
    pub jobs: Vec<FetchedJob>,
}

#[derive(Debug)]
pub(super) struct FetchedJob {
    pub claim: ClaimId,
    pub payload: Arc<[u8]>,
    pub crashes: u32,
    pub suspect: bool,
}

/// What becomes of a claim at its end.
#[derive(Debug, Clone)]
pub(super) enum Verb {
    /// The job leaves Redis and this line is sent to its waiters.
    Final(String),
    /// The job leaves Redis silently.
    Gone,
    /// The job comes back later.
    Delay(Duration),
}

/// A claim's end.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub claim: ClaimId,
    pub verb: Verb,
    /// Whose turn the job took.
    pub group: Option<Group>,
    /// Requests that the job spent, for its group's next turns.
    pub cost: u32,
}

/// What a heartbeat found.
#[derive(Debug)]
pub(super) struct Beat {
    pub epoch: String,
    /// Claims that Redis thinks this worker holds in the lane.
    pub inflight: usize,
    /// Positions, in the list that was sent, of the claims that somebody else has taken over.
    pub lost: Vec<usize>,
    /// Workers not heard of for too long, while others were.
    pub dead: Vec<String>,
}

impl Claims {
    /// Claims at most `slots` jobs, numbered from `first`.
    pub(super) async fn fetch(&self, first: u64, slots: usize, may_take_suspect: bool) -> RedisResult<Fetched> {
        let keys = self.queue.keys(self.lane);
        let mut call = FETCH.prepare_invoke();
        call.key(&keys.of_lines()[..]).key(&keys.solo).key(&keys.delayed).key(&keys.claims);
        call.key(&keys.crashes).key(&keys.workers).key(keys.inflight(&self.worker));
        call.arg(&self.worker).arg(first).arg(slots).arg(u8::from(may_take_suspect)).arg(CRASHES_OF_A_SUSPECT);
        let answer: Vec<Value> = self.queue.link(self.lane).script(&call).await?;
        parse_fetch(first, answer)
    }

    /// Ends at most 500 claims. Answers how many of them were not this worker's any more, and so were left alone.
    pub(super) async fn finish(&self, ends: &[End]) -> RedisResult<usize> {
        let (keys, channels) = (self.queue.keys(self.lane), self.queue.channels());
        let mut call = FINISH.prepare_invoke();
        call.key(&keys.of_lines()[..]).key(&keys.delayed).key(&keys.claims).key(&keys.crashes);
        call.key(keys.inflight(&self.worker)).key(&keys.waiting);
        call.arg(&channels.done).arg(&channels.wake).arg(self.lane.as_str()).arg(&self.worker).arg(ends.len());
        for End { claim, verb, .. } in ends {
            call.arg(&claim.id).arg(claim.number);
            match verb {
                Verb::Final(line) => call.arg("final").arg(line),
                Verb::Gone => call.arg("gone").arg(""),
                Verb::Delay(delay) => call.arg("delay").arg(millis(*delay)),
            };
        }
        // The fetch has counted each as one request.
        for (position, end) in (1_usize..).zip(ends).filter(|(_, end)| end.cost > 1) {
            call.arg(position).arg(end.group.as_ref().map_or("", Group::as_str)).arg(end.cost - 1);
        }
        let lost: Vec<usize> = self.queue.link(self.lane).script(&call).await?;
        Ok(lost.len())
    }

    /// Gives claims back to the front of the line, oldest first in `claims`; no crash is counted.
    pub(super) async fn release(&self, claims: &[ClaimId]) -> RedisResult<u64> {
        let keys = self.queue.keys(self.lane);
        let mut back = 0;
        // The last chunk first: each goes in front of the one before it.
        for chunk in claims.chunks(CHUNK).rev() {
            let mut call = RELEASE.prepare_invoke();
            call.key(&keys.of_lines()[..]).key(&keys.solo).key(&keys.claims).key(&keys.crashes);
            call.key(keys.inflight(&self.worker)).key(&keys.waiting);
            call.arg(&self.queue.channels().wake).arg(self.lane.as_str()).arg(&self.worker).arg(CRASHES_OF_A_SUSPECT);
            for claim in chunk {
                call.arg(&claim.id).arg(claim.number);
            }
            back += self.queue.link(self.lane).script_again::<u64>(&call).await?;
        }
        Ok(back)
    }

    /// Marks a claim as one whose job only waits, if it is still this worker's. The mark names the claim, so it says nothing
    /// of a later one, and it goes with the claim.
    pub(super) async fn wait(&self, claim: &ClaimId) -> RedisResult<bool> {
        let keys = self.queue.keys(self.lane);
        let mut call = WAIT.prepare_invoke();
        call.key(&keys.claims).key(&keys.waiting).arg(&claim.id).arg(self.name(claim.number));
        self.queue.link(self.lane).script_again(&call).await
    }

    /// Takes the mark back.
    pub(super) async fn go_on(&self, number: u64) -> RedisResult<()> {
        let mut unmark = redis::cmd("SREM");
        unmark.arg(&self.queue.keys(self.lane).waiting).arg(self.name(number));
        let link = self.queue.link(self.lane);
        match link.command(&unmark).await {
            Err(error) if error.is_connection_dropped() => link.command(&unmark).await,
            answer => answer,
        }
    }

    /// A claim as Redis knows it.
    fn name(&self, number: u64) -> String {
        format!("{}:{number}", self.worker)
    }

    /// Registers the worker and at most 500 of its claims, with their payloads.
    pub(super) async fn beat(
        &self,
        epoch: &str,
        dead_after: Duration,
        claims: &[(ClaimId, Arc<[u8]>)],
    ) -> RedisResult<Beat> {
        let keys = self.queue.keys(self.lane);
        let mut call = HEARTBEAT.prepare_invoke();
        call.key(&keys.workers).key(&keys.epoch).key(&keys.jobs).key(&keys.claims).key(keys.inflight(&self.worker));
        call.key(&keys.reached);
        call.arg(&self.worker).arg(epoch).arg(millis(dead_after));
        for (claim, payload) in claims {
            call.arg(&claim.id).arg(claim.number).arg(&**payload);
        }
        let (epoch, inflight, lost, dead): (String, usize, Vec<usize>, Vec<String>) =
            self.queue.link(self.lane).script_again(&call).await?;
        Ok(Beat { epoch, inflight, lost: lost.into_iter().map(|position| position.saturating_sub(1)).collect(), dead })
    }

    /// Takes back what a dead worker held, in chunks. Answers how many jobs; none if it turned out to be alive.
    pub(super) async fn reclaim(&self, dead: &str, dead_after: Duration) -> RedisResult<u64> {
        let keys = self.queue.keys(self.lane);
        let mut taken = 0;
        loop {
            let mut call = RECLAIM.prepare_invoke();
            call.key(&keys.of_lines()[..]).key(&keys.workers).key(&keys.solo).key(&keys.claims);
            call.key(&keys.crashes).key(keys.inflight(dead)).key(&keys.delayed).key(&keys.waiting);
            call.arg(&self.queue.channels().wake).arg(self.lane.as_str()).arg(dead);
            call.arg(millis(dead_after)).arg(CRASHES_OF_A_SUSPECT).arg(CRASHES_OF_A_POISON);
            let (back, more): (u64, u8) = self.queue.link(self.lane).script(&call).await?;
            taken += back;
            if more == 0 {
                return Ok(taken);
            }
        }
    }

    /// What Redis thinks this worker holds, oldest first, at most 500 after the first `skip`.
    pub(super) async fn inflight(&self, skip: usize) -> RedisResult<Vec<ClaimId>> {
        let mut list = redis::cmd("ZRANGE");
        list.arg(self.queue.keys(self.lane).inflight(&self.worker)).arg(skip).arg(skip + CHUNK - 1).arg("WITHSCORES");
        let members: Vec<(Vec<u8>, u64)> = self.queue.link(self.lane).command(&list).await?;
        Ok(members.into_iter().map(|(id, number)| ClaimId { id, number }).collect())
    }

    /// Leaves, at a clean stop.
    pub(super) async fn deregister(&self) -> RedisResult<()> {
        let keys = self.queue.keys(self.lane);
        let mut call = DEREGISTER.prepare_invoke();
        call.key(&keys.workers).key(keys.inflight(&self.worker)).key(&keys.reached).arg(&self.worker);
        self.queue.link(self.lane).script_again(&call).await
    }
}

fn parse_fetch(first: u64, answer: Vec<Value>) -> RedisResult<Fetched> {
    let mut values = answer.into_iter();
    let next_due: i64 = next(&mut values)?;
    let more: u8 = next(&mut values)?;
    let suspects: u64 = next(&mut values)?;
    // Only the first one may be a suspect.
    let mut crashes = u32::try_from(next::<i64>(&mut values)?).ok();
    let mut jobs = Vec::with_capacity(values.len() / 2);
    for number in first.. {
        if values.len() == 0 {
            break;
        }
        jobs.push(FetchedJob {
            claim: ClaimId { id: next(&mut values)?, number },
            payload: next::<Vec<u8>>(&mut values)?.into(),
            suspect: crashes.is_some(),
            crashes: crashes.take().unwrap_or(0),
        });
    }
    let next_due = u64::try_from(next_due).ok().map(Duration::from_millis);
    Ok(Fetched { next_due, more: more == 1, suspects: suspects > 0, jobs })
}

fn next<T: FromRedisValue>(values: &mut impl Iterator<Item = Value>) -> RedisResult<T> {
    Ok(T::from_redis_value(values.next().unwrap_or(Value::Nil))?)
}
