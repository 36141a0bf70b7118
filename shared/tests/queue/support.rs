//! What the tests of the queue share.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use shared::ids::JobId;
use shared::queue::{Delivery, Final, Lane, Message, Outcome, Queue, WorkerPool, WorkerSettings};

/// Longest wait for anything that should happen at once; only a failing test waits so long.
pub const SOON: Duration = Duration::from_secs(20);

pub fn redis_url() -> String {
    std::env::var("METRIQLAB_TEST_REDIS_URL").expect("METRIQLAB_TEST_REDIS_URL is not set: run `make test`")
}

pub fn fresh_prefix() -> String {
    format!("test-{}", JobId::new())
}

/// A queue that no other test sees, and its prefix.
pub fn fresh_queue() -> (Queue, String) {
    let prefix = fresh_prefix();
    (Queue::connect(&redis_url(), &prefix).unwrap(), prefix)
}

pub fn message(kind: &str) -> Message {
    Message { id: JobId::new(), kind: kind.to_owned(), trace: None, group: None }
}

/// A read of rows under way.
pub type ReadRows = BoxFuture<'static, Result<Vec<(JobId, Final)>, String>>;

/// What a waiter reads where the test wants notices alone to count.
pub fn no_rows(_: Vec<JobId>) -> ReadRows {
    Box::pin(async { Ok(Vec::new()) })
}

/// Rows that are final once a handler has noted the job: notices may be lost, rows are not.
pub fn rows_of(ended: &Seen) -> impl Fn(Vec<JobId>) -> ReadRows + use<> {
    let ended = ended.clone();
    move |ids| {
        let ended = ended.ids();
        let finals = ids.into_iter().filter(|id| ended.contains(id)).map(|id| (id, Final::Done)).collect();
        Box::pin(async move { Ok(finals) })
    }
}

/// Settings under which a death is found in a second, with slots for eight syncs: the ninth is for revocations.
pub fn quick() -> WorkerSettings {
    WorkerSettings {
        concurrency: 9,
        heartbeat: Duration::from_millis(200),
        dead_after: Duration::from_secs(1),
        safety_poll: Duration::from_secs(60),
        retry_after: Duration::from_millis(10),
        unknown_after: Duration::from_millis(300),
    }
}

/// Waits until `condition` holds, and fails after [`SOON`].
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until this many were seen, however long it takes, as long as it goes on.
pub async fn until_all(seen: &Seen, number: usize) {
    let (mut moved, mut count) = (Instant::now(), 0);
    while count < number {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if seen.len() > count {
            (moved, count) = (Instant::now(), seen.len());
        }
        assert!(moved.elapsed() < SOON, "it stands still at {count} of {number}");
    }
}

/// Waits until one worker is left: the dead ones are struck off in each lane by itself.
pub async fn until_alone(queue: &Queue) {
    until("the dead are struck off in every lane", async || {
        queue.workers().await.is_ok_and(|workers| workers.len() == 1)
    })
    .await;
}

/// What Redis answers. It is asked again while it does not, as where this machine stands still for longer than a call
/// waits.
pub async fn answer<T, E: Display>(ask: impl AsyncFn() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(start.elapsed() < SOON, "no answer within {SOON:?}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Pushes until Redis takes it, as a caller does who has a sweeper behind it.
pub async fn push(queue: &Queue, lane: Lane, message: &Message) {
    answer(async || queue.push(lane, message, None).await).await;
}

/// The same, to run after `delay`.
pub async fn push_in(queue: &Queue, lane: Lane, message: &Message, delay: Duration) {
    answer(async || queue.push(lane, message, Some(delay)).await).await;
}

/// The same for many, to run at once.
pub async fn push_all(queue: &Queue, lane: Lane, messages: &[Message]) {
    answer(async || queue.push_many(lane, messages).await).await;
}

/// What handlers saw, in order.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<JobId>>>);

impl Seen {
    pub fn add(&self, id: JobId) {
        self.0.lock().unwrap().push(id);
    }

    pub fn ids(&self) -> Vec<JobId> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, id: JobId) -> usize {
        self.ids().iter().filter(|seen| **seen == id).count()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A worker that notes each delivery and says `outcome`.
pub fn worker(queue: &Queue, settings: WorkerSettings, seen: &Seen, outcome: Outcome) -> WorkerPool {
    let seen = seen.clone();
    WorkerPool::start(queue, settings, move |delivery: Delivery| {
        seen.add(delivery.message.id);
        let outcome = outcome.clone();
        async move { outcome }
    })
}

/// A worker whose jobs run until they are told to stop, and then end with nothing said.
pub fn stuck_worker(queue: &Queue, settings: WorkerSettings, seen: &Seen) -> WorkerPool {
    let seen = seen.clone();
    WorkerPool::start(queue, settings, move |delivery: Delivery| {
        seen.add(delivery.message.id);
        async move {
            let () = std::future::pending().await;
            Outcome::Final(Final::Done)
        }
    })
}

/// A connection past the queue. It waits for [`SOON`]: redis-rs's own half a second is little where a machine stands
/// still.
pub async fn raw(url: &str) -> MultiplexedConnection {
    let limits = AsyncConnectionConfig::new().set_connection_timeout(Some(SOON)).set_response_timeout(Some(SOON));
    redis::Client::open(url).unwrap().get_multiplexed_async_connection_with_config(&limits).await.unwrap()
}

/// All keys under a prefix. For tests alone: it reads every key of the server.
pub async fn keys(url: &str, prefix: &str) -> Vec<String> {
    let mut connection = raw(url).await;
    redis::cmd("KEYS").arg(format!("*{prefix}*")).query_async(&mut connection).await.unwrap()
}

/// A Redis of the test's own, on a socket, with an append-only file: it may be stopped, paused, killed and emptied.
pub struct OwnRedis {
    directory: tempfile::TempDir,
    server: Option<Child>,
}

impl OwnRedis {
    pub async fn start() -> Self {
        let mut redis = Self { directory: tempfile::tempdir().unwrap(), server: None };
        redis.up().await;
        redis
    }

    /// One that is to be started later.
    pub fn down_at_first() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), server: None }
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// Starts it, with what it knew when it was killed: it writes before it answers. It does not wait for the disk, for
    /// its machine is not killed.
    pub async fn up(&mut self) {
        let server = Command::new("redis-server")
            .args(["--port", "0", "--appendonly", "yes", "--appendfsync", "no", "--save", "", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.server = Some(server);
        let url = self.url();
        until("redis-server answers", async || {
            let Ok(client) = redis::Client::open(url.as_str()) else { return false };
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
            redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
        })
        .await;
    }

    pub fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill();
    }
}
