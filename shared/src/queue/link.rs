//! One connection to Redis that mends itself.
//!
//! redis-rs's `ConnectionManager` was not enough: it stays broken for ever when a reconnect ends in anything but an
//! I/O error (a server that is still loading, a password not yet set), and keeps a connection on which answers time out.

use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ScriptInvocation, ServerErrorKind};
use tracing::{info, warn};

use crate::redis_servers::{Address, Redirect, Redirects, RedisServers, redirect};

/// A caller that has waited for so long and goes away without an answer takes the connection with it: callers that give
/// up before the answer's own timeout would else keep one for ever that was cut without a word.
const SILENCE: Duration = Duration::from_secs(1);

/// After a failed connect, callers get its error for so long without another try, so that a dead server costs
/// a caller nothing and a thousand callers make ten connects a second.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A server that is the wrong one is left after this long: until then, whoever is asked for the right one may not know.
const SETTLED: Duration = Duration::from_millis(500);

/// A shared connection to the node that holds a key, made at the first use and again after every failure. In a cluster it
/// follows the key: every key of its calls is in the same slot.
pub(super) struct Link {
    servers: RedisServers,
    key: String,
    /// Where a node said that the key is now.
    moved_to: Mutex<Option<Address>>,
    current: RwLock<Option<Live>>,
    connecting: tokio::sync::Mutex<Option<(Instant, RedisError)>>,
    outage: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Live {
    generation: u64,
    made: Instant,
    connection: MultiplexedConnection,
}

/// A call under way on one connection.
struct Call<'a> {
    link: &'a Link,
    live: Live,
    since: Instant,
    answered: bool,
}

/// What is sent.
#[derive(Clone, Copy)]
enum Request<'a> {
    /// A script, loaded first if the server does not have it.
    Script(&'a ScriptInvocation<'a>),
    Command(&'a Cmd),
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.answered && self.since.elapsed() >= SILENCE {
            self.link.forget(self.live.generation);
        }
    }
}

impl Call<'_> {
    fn settle<T>(mut self, answer: RedisResult<T>) -> RedisResult<T> {
        self.answered = true;
        match &answer {
            Ok(_) => self.link.recovered(),
            Err(error) => match redirect(error) {
                Some(Redirect::To(address)) => self.link.follow(self.live.generation, address),
                Some(Redirect::Wait) => {}
                None => {
                    if is_broken(error, self.live.made.elapsed()) {
                        self.link.forget(self.live.generation);
                    }
                    self.link.failed(error);
                }
            },
        }
        answer
    }
}

impl Link {
    /// A link to the node of `servers` that holds `key`.
    pub(super) fn new(servers: RedisServers, key: &str) -> Self {
        Self {
            servers,
            key: key.to_owned(),
            moved_to: Mutex::default(),
            current: RwLock::new(None),
            connecting: tokio::sync::Mutex::new(None),
            outage: Mutex::new(None),
        }
    }

    /// Runs a prepared script, loading it if the server does not have it.
    pub(super) async fn script<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> RedisResult<T> {
        self.send(Request::Script(call)).await
    }

    /// As [`Link::script`] for a script that may run twice: a connection that turns out to be cut costs the caller nothing.
    pub(super) async fn script_again<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> RedisResult<T> {
        match self.script(call).await {
            Err(error) if error.is_connection_dropped() => self.script(call).await,
            answer => answer,
        }
    }

    /// Runs a plain command.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        self.send(Request::Command(command)).await
    }

    /// Sends a request to wherever the key is: one that a node sends elsewhere was not carried out, and is sent again.
    async fn send<T: FromRedisValue>(&self, request: Request<'_>) -> RedisResult<T> {
        let mut redirects = Redirects::default();
        loop {
            let mut call = self.call().await?;
            let answer = match request {
                Request::Script(script) => script.invoke_async(&mut call.live.connection).await,
                Request::Command(command) => command.query_async(&mut call.live.connection).await,
            };
            let error = match call.settle(answer) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if redirects.follow(&error).await.is_none() {
                return Err(error);
            }
        }
    }

    async fn call(&self) -> RedisResult<Call<'_>> {
        Ok(Call { link: self, live: self.live().await?, since: Instant::now(), answered: false })
    }

    async fn live(&self) -> RedisResult<Live> {
        if let Some(live) = self.current() {
            return Ok(live);
        }
        let asked = Instant::now();
        let mut connecting = self.connecting.lock().await;
        if let Some(live) = self.current() {
            return Ok(live);
        }
        if let Some((failed, error)) = connecting.as_ref()
            && (*failed > asked || failed.elapsed() < CONNECT_PAUSE)
        {
            return Err(error.clone());
        }
        let hint = self.moved_to.lock().unwrap_or_else(PoisonError::into_inner).take();
        match self.servers.connect(&self.key, hint).await {
            Ok(connection) => {
                *connecting = None;
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                let generation = rand::random();
                Ok(current.insert(Live { generation, made: Instant::now(), connection }).clone())
            }
            Err(error) => {
                self.failed(&error);
                *connecting = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn current(&self) -> Option<Live> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes no more use of a connection, unless it has been replaced already.
    fn forget(&self, generation: u64) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|now| now.generation == generation) {
            *current = None;
        }
    }

    /// The key is on another node now.
    fn follow(&self, generation: u64, address: Option<Address>) {
        *self.moved_to.lock().unwrap_or_else(PoisonError::into_inner) = address;
        self.forget(generation);
    }

    /// An outage is logged once when it begins and once when it ends, however many calls fail in between.
    fn failed(&self, error: &RedisError) {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if outage.is_none() {
            *outage = Some(Instant::now());
            metrics::counter!("metriqlab_queue_redis_outages_total").increment(1);
            warn!(%error, "Redis is out of reach; retrying until it is back");
        }
    }

    fn recovered(&self) {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = outage.take() {
            info!(seconds = since.elapsed().as_secs_f32(), "Redis is back");
        }
    }
}

/// Whether a connection of this age is of no more use: cut, silent, confused, or to a server that is a replica by now or has
/// lost its cluster (the slot may have another owner in the part that has not). An error that the server gave to one command
/// alone leaves it as it is.
fn is_broken(error: &RedisError, age: Duration) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown) => {
            age >= SETTLED
        }
        ErrorKind::Server(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn link(url: &str) -> Link {
        Link::new(RedisServers::parse(url).unwrap(), "key")
    }

    /// A way to Redis whose first connection falls silent when it is told to: nothing is closed, nothing comes through.
    async fn way_that_falls_silent(silence: Arc<tokio::sync::Notify>) -> String {
        let url = std::env::var("METRIQLAB_TEST_REDIS_URL").expect("METRIQLAB_TEST_REDIS_URL: run `make test`");
        let mut url = url::Url::parse(&url).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(6379));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = tokio::net::TcpStream::connect(&server).await.unwrap();
                let silence = silence.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = silence.notified() => std::future::pending().await,
                    }
                });
            }
        });
        url.set_port(Some(address.port())).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.to_string()
    }

    #[tokio::test]
    async fn a_connection_that_fell_silent_is_given_up_by_the_first_caller_who_does_not_wait() {
        let silence = Arc::new(tokio::sync::Notify::new());
        let link = link(&way_that_falls_silent(silence.clone()).await);
        let ping = redis::cmd("PING");
        let _: String = link.command(&ping).await.unwrap();
        silence.notify_one();
        let impatient = tokio::time::timeout(Duration::from_secs(2), link.command::<String>(&ping));
        assert!(impatient.await.is_err());
        let next = tokio::time::timeout(Duration::from_secs(20), link.command::<String>(&ping));
        assert_eq!(next.await.expect("an answer").unwrap(), "PONG");
    }

    #[tokio::test]
    async fn an_outage_is_logged_once_and_costs_no_caller_a_wait_and_shows_no_password() {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(log.clone()).finish());
        let link = link("redis://:hunter2@127.0.0.1:1");
        let start = Instant::now();
        for _ in 0..1_000 {
            let failed: RedisResult<String> = link.command(&redis::cmd("PING")).await;
            assert!(!failed.unwrap_err().to_string().contains("hunter2"));
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("out of reach") && !log.contains("hunter2"), "{log}");
    }
}
