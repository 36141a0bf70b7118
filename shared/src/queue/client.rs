//! The queue as its users see it: push, promote, forget, ask. Claiming and finishing are the worker pool's.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;

use super::keys::{Channels, LaneKeys};
use super::link::Link;
use super::{CHUNK, DEAD_AFTER, Final, Lane, Message, measure, millis, notice};
use crate::ids::JobId;
use crate::redis_servers::{RedisServers, RedisUrlError};
use crate::turns::Group;

static PUSH: LazyLock<Script> = LazyLock::new(|| on_lines(include_str!("scripts/push.lua")));
static FORGET: LazyLock<Script> = LazyLock::new(|| on_lines(include_str!("scripts/forget.lua")));
static UNKNOWN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/unknown.lua")));
static DEPTH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/depth.lua")));

/// A script that puts jobs into lines or takes them out.
pub(super) fn on_lines(script: &str) -> Script {
    Script::new(&[include_str!("scripts/lines.lua"), script].concat())
}

/// How long after a flush every living worker has registered its claims anew: four heartbeats.
const EPOCH_SETTLES: Duration = Duration::from_secs(2);

/// What can go wrong with the queue.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The URL names no Redis.
    #[error("the Redis URL: {0}")]
    Url(#[from] RedisUrlError),
    /// A brace in the prefix would move the keys' hash tag.
    #[error("the Redis prefix must not be empty or hold a brace")]
    Prefix,
    /// Redis is out of reach, or refused. What was asked may have been done all the same; every call of [`Queue`] may
    /// be repeated.
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// A message that does not fit JSON; none of ours is.
    #[error("the message can't be written as JSON: {0}")]
    Message(#[from] serde_json::Error),
}

/// The lanes of one deployment in one Redis, or on the nodes of a cluster. Cheap to clone: all clones share one connection
/// (in a cluster, one a lane), which mends itself.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    servers: RedisServers,
    revoke: Place,
    sync: Place,
    bulk: Place,
    channels: Channels,
}

/// Where a lane is: its keys, and the way to the node that holds them.
struct Place {
    keys: LaneKeys,
    link: Arc<Link>,
}

/// Which of the jobs that were asked for Redis does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sweep {
    /// Redis has been flushed, or is new, and not every worker can have registered what it runs: ask later.
    TooSoon,
    /// No lane knows these.
    Unknown(Vec<JobId>),
}

/// How much there is in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Jobs that wait for a free slot alone, suspects among them.
    pub ready: u64,
    /// Those of them that were found on dead workers before: each process runs them one at a time.
    pub suspects: u64,
    /// Jobs that wait for their time.
    pub delayed: u64,
    /// Jobs that workers hold.
    pub running: u64,
    /// How long ago the first job in line was made, by the time in its id; the oldest of the first ones, where groups have
    /// lines of their own.
    pub oldest: Option<Duration>,
}

/// A worker process, as its heartbeats show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Host, process id and a random part: unique to one start of a process.
    pub name: String,
    /// Jobs that it holds, all lanes together.
    pub running: u64,
    /// Time since its last heartbeat, by Redis's clock.
    pub last_heartbeat: Duration,
}

impl WorkerInfo {
    /// Whether it was heard of lately. One that was not stays listed until another worker takes its jobs over: for ever, if
    /// none lives.
    pub fn is_alive(&self) -> bool {
        self.last_heartbeat <= DEAD_AFTER
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    /// A queue in the Redis at `url`, under `prefix`. Nothing is sent yet: Redis may be away now and come later.
    /// A `rediss://` URL needs a rustls crypto provider, installed by the process.
    pub fn connect(url: &str, prefix: &str) -> Result<Self, QueueError> {
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            return Err(QueueError::Prefix);
        }
        let servers = RedisServers::parse(url)?;
        measure::describe();
        Ok(Self::over(servers, Channels::new(prefix), |lane| LaneKeys::new(prefix, lane)))
    }

    /// The same lanes over connections of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self::over(self.servers().clone(), self.channels().clone(), |lane| self.keys(lane).clone())
    }

    fn over(servers: RedisServers, channels: Channels, keys: impl Fn(Lane) -> LaneKeys) -> Self {
        let one_server = (!servers.is_cluster()).then(|| Arc::new(Link::new(servers.clone(), "")));
        let place = |lane| {
            let keys = keys(lane);
            let link = one_server.clone().unwrap_or_else(|| Arc::new(Link::new(servers.clone(), &keys.jobs)));
            Place { keys, link }
        };
        let (revoke, sync, bulk) = (place(Lane::Revoke), place(Lane::Sync), place(Lane::Bulk));
        Self { inner: Arc::new(Inner { servers, revoke, sync, bulk, channels }) }
    }

    /// Queues a message, to run at once or after `delay`. A job that the lane knows already, in whatever state, stays
    /// as it is. Answers whether it was new.
    pub async fn push(&self, lane: Lane, message: &Message, delay: Option<Duration>) -> Result<bool, QueueError> {
        Ok(self.push_chunk(lane, std::slice::from_ref(message), delay).await? == 1)
    }

    /// Queues many messages, at most 500 in a round trip. After an error some are queued and some not: repeat all.
    /// Answers how many were new.
    pub async fn push_many(&self, lane: Lane, messages: &[Message]) -> Result<u64, QueueError> {
        let mut fresh = 0;
        for chunk in messages.chunks(CHUNK) {
            fresh += self.push_chunk(lane, chunk, None).await?;
        }
        Ok(fresh)
    }

    async fn push_chunk(&self, lane: Lane, chunk: &[Message], delay: Option<Duration>) -> Result<u64, QueueError> {
        let keys = self.keys(lane);
        let mut call = PUSH.prepare_invoke();
        call.key(&keys.of_lines()[..]).key(&keys.delayed);
        call.arg(&self.channels().wake).arg(lane.as_str()).arg(delay.map_or(0, millis));
        for messages in chunk.chunk_by(|one, next| one.group == next.group) {
            let group = messages.first().and_then(|message| message.group.as_ref());
            call.arg(group.map_or("", Group::as_str)).arg(messages.len());
            for message in messages {
                call.arg(message.id.to_string()).arg(serde_json::to_string(message)?);
            }
        }
        let fresh: u64 = self.link(lane).script_again(&call).await?;
        metrics::counter!("metriqlab_queue_pushed_total", "lane" => lane.as_str()).increment(fresh);
        Ok(fresh)
    }

    /// Moves a job of lane `from` to [`Lane::Sync`], because somebody waits for it now. If it runs, its holder is told
    /// instead ([`super::Delivery::interactive`]). A job that `from` does not know is simply pushed.
    pub async fn promote(&self, from: Lane, message: &Message) -> Result<(), QueueError> {
        if from == Lane::Sync {
            self.push(Lane::Sync, message, None).await?;
            return Ok(());
        }
        match self.take_out(from, message.id).await?.as_str() {
            "claimed" => {
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(&self.channels().control).arg(message.id.to_string());
                Ok(self.link(from).command(&publish).await?)
            }
            // Between the two steps no lane knows the job; if we die here, the sweeper pushes it.
            _ => self.push(Lane::Sync, message, None).await.map(|_| ()),
        }
    }

    /// Removes a job that nobody holds. Answers false if it runs; then it goes on.
    pub async fn forget(&self, lane: Lane, id: JobId) -> Result<bool, QueueError> {
        Ok(self.take_out(lane, id).await? != "claimed")
    }

    async fn take_out(&self, lane: Lane, id: JobId) -> Result<String, QueueError> {
        let keys = self.keys(lane);
        let mut call = FORGET.prepare_invoke();
        call.key(&keys.of_lines()[..]).key(&keys.delayed).key(&keys.claims).key(&keys.crashes).arg(id.to_string());
        Ok(self.link(lane).script_again(&call).await?)
    }

    /// Which of these jobs no lane knows: what the sweeper pushes again. Asks 500 at a time.
    pub async fn unknown(&self, ids: &[JobId]) -> Result<Sweep, QueueError> {
        let mut unknown = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let mut left: Vec<String> = chunk.iter().map(ToString::to_string).collect();
            for lane in Lane::ALL {
                let Some(still) = self.unknown_in(lane, &left).await? else {
                    return Ok(Sweep::TooSoon);
                };
                left = still;
            }
            let left: HashSet<String> = left.into_iter().collect();
            unknown.extend(chunk.iter().filter(|id| left.contains(&id.to_string())));
        }
        Ok(Sweep::Unknown(unknown))
    }

    /// Those of these jobs that `lane` does not know, whatever the others do.
    pub async fn unknown_to(&self, lane: Lane, ids: &[JobId]) -> Result<Sweep, QueueError> {
        let mut unknown = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let names: Vec<String> = chunk.iter().map(ToString::to_string).collect();
            let Some(left) = self.unknown_in(lane, &names).await? else { return Ok(Sweep::TooSoon) };
            unknown.extend(left.iter().filter_map(|id| id.parse::<JobId>().ok()));
        }
        Ok(Sweep::Unknown(unknown))
    }

    /// `None` if it is too soon to say.
    async fn unknown_in(&self, lane: Lane, ids: &[String]) -> Result<Option<Vec<String>>, QueueError> {
        let keys = self.keys(lane);
        let mut call = UNKNOWN.prepare_invoke();
        call.key(&keys.jobs).key(&keys.epoch).arg(millis(EPOCH_SETTLES));
        for id in ids {
            call.arg(id);
        }
        let answer: Vec<String> = self.link(lane).script_again(&call).await?;
        Ok(match answer.split_first() {
            Some((settled, unknown)) if settled == "1" => Some(unknown.to_vec()),
            _ => None,
        })
    }

    /// How much there is in a lane, at a cost that does not grow with it.
    pub async fn depth(&self, lane: Lane) -> Result<Depth, QueueError> {
        let keys = self.keys(lane);
        let mut call = DEPTH.prepare_invoke();
        call.key(&keys.lines).key(&keys.turns).key(&keys.solo).key(&keys.delayed).key(&keys.claims);
        let (ready, suspects, delayed, running, now, heads): (u64, u64, u64, u64, u64, Vec<Option<Vec<u8>>>) =
            self.link(lane).script_again(&call).await?;
        let oldest = heads.iter().flatten().filter_map(|id| made_at(id)).min();
        let oldest = oldest.map(|at| Duration::from_millis(now.saturating_sub(at)));
        Ok(Depth { ready, suspects, delayed, running, oldest })
    }

    /// The worker processes that Redis has heard of, by name: those that live, and those not yet found dead.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>, QueueError> {
        let mut workers: BTreeMap<String, WorkerInfo> = BTreeMap::new();
        for lane in Lane::ALL {
            let (keys, link) = (self.keys(lane), self.link(lane));
            // Each lane's node has a clock of its own.
            let (seconds, micros): (u64, u64) = link.command(&redis::cmd("TIME")).await?;
            let now = seconds * 1000 + micros / 1000;
            let mut list = redis::cmd("ZREVRANGE");
            list.arg(&keys.workers).arg(0).arg(CHUNK - 1).arg("WITHSCORES");
            let beats: Vec<(String, u64)> = link.command(&list).await?;
            let held = beats.iter().map(|(name, _)| {
                let mut count = redis::cmd("ZCARD");
                count.arg(keys.inflight(name));
                async move { link.command::<u64>(&count).await }
            });
            let held = futures::future::try_join_all(held).await?;
            for ((name, beat), held) in beats.into_iter().zip(held) {
                let age = Duration::from_millis(now.saturating_sub(beat));
                let worker =
                    workers.entry(name.clone()).or_insert(WorkerInfo { name, running: 0, last_heartbeat: age });
                worker.running += held;
                worker.last_heartbeat = worker.last_heartbeat.min(age);
            }
        }
        Ok(workers.into_values().collect())
    }

    /// Whether Redis answers, for every lane: a node of a cluster that has lost the others answers a PING, and nothing else.
    pub async fn ping(&self) -> Result<(), QueueError> {
        let asked = Lane::ALL.map(|lane| {
            let mut ask = redis::cmd("EXISTS");
            ask.arg(&self.keys(lane).epoch);
            async move { self.link(lane).command::<u8>(&ask).await }
        });
        futures::future::try_join_all(asked).await?;
        Ok(())
    }

    /// Sends a job's last word to its waiters once more: for a job whose row turned out to be final already.
    pub async fn notify(&self, id: JobId, last_word: &Final) -> Result<(), QueueError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&self.channels().done).arg(notice::encode(id, last_word));
        // Any node of a cluster passes it on to all.
        Ok(self.link(Lane::Sync).command(&publish).await?)
    }

    pub(super) fn servers(&self) -> &RedisServers {
        &self.inner.servers
    }

    /// To the node that holds the lane's keys.
    pub(super) fn link(&self, lane: Lane) -> &Link {
        &self.place_of(lane).link
    }

    pub(super) fn keys(&self, lane: Lane) -> &LaneKeys {
        &self.place_of(lane).keys
    }

    fn place_of(&self, lane: Lane) -> &Place {
        match lane {
            Lane::Revoke => &self.inner.revoke,
            Lane::Sync => &self.inner.sync,
            Lane::Bulk => &self.inner.bulk,
        }
    }

    pub(super) fn channels(&self) -> &Channels {
        &self.inner.channels
    }
}

/// The time in a `UUIDv7`, in ms since 1970.
fn made_at(id: &[u8]) -> Option<u64> {
    let (seconds, nanos) = std::str::from_utf8(id).ok()?.parse::<JobId>().ok()?.uuid().get_timestamp()?.to_unix();
    Some(seconds * 1000 + u64::from(nanos) / 1_000_000)
}
