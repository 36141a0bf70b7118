//! One connection to Redis that mends itself.
//!
//! redis-rs's `ConnectionManager` was not enough: it stays broken for ever when a reconnect ends in anything but an
//! I/O error (a server that is still loading, a password not yet set), and keeps a connection on which answers time out.

use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use tracing::{info, warn};

/// How long an answer may take. redis-rs's default of 500 ms fails under load.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A caller that has waited for so long and goes away without an answer takes the connection with it: callers that give
/// up before [`RESPONSE_TIMEOUT`] would else keep one for ever that was cut without a word.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// After a failed connect, callers get its error for so long without another try, so that a dead server costs
/// a caller nothing and a thousand callers make ten connects a second.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A shared connection, made at the first use and again after every failure.
pub(super) struct Link {
    client: Client,
    current: RwLock<Option<Live>>,
    connecting: tokio::sync::Mutex<Option<(Instant, RedisError)>>,
    outage: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Live {
    generation: u64,
    connection: MultiplexedConnection,
}

/// A call under way on one connection.
struct Call<'a> {
    link: &'a Link,
    live: Live,
    since: Instant,
    answered: bool,
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
            Err(error) => {
                if is_broken(error) {
                    self.link.forget(self.live.generation);
                }
                self.link.failed(error);
            }
        }
        answer
    }
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        Self { client, current: RwLock::new(None), connecting: tokio::sync::Mutex::new(None), outage: Mutex::new(None) }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a prepared script, loading it if the server does not have it.
    pub(super) async fn script<T: FromRedisValue>(&self, call: &redis::ScriptInvocation<'_>) -> RedisResult<T> {
        let mut under_way = self.call().await?;
        let answer = call.invoke_async(&mut under_way.live.connection).await;
        under_way.settle(answer)
    }

    /// As [`Link::script`] for a script that may run twice: a connection that turns out to be cut costs the caller nothing.
    pub(super) async fn script_again<T: FromRedisValue>(&self, call: &redis::ScriptInvocation<'_>) -> RedisResult<T> {
        match self.script(call).await {
            Err(error) if error.is_connection_dropped() => self.script(call).await,
            answer => answer,
        }
    }

    /// Runs a plain command.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &redis::Cmd) -> RedisResult<T> {
        let mut call = self.call().await?;
        let answer = command.query_async(&mut call.live.connection).await;
        call.settle(answer)
    }

    /// Runs several commands in one round trip.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, pipeline: &redis::Pipeline) -> RedisResult<T> {
        let mut call = self.call().await?;
        let answer = pipeline.query_async(&mut call.live.connection).await;
        call.settle(answer)
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
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                *connecting = None;
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                let generation = rand::random();
                Ok(current.insert(Live { generation, connection }).clone())
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

/// Whether the connection is of no more use: cut, silent, confused, or to a server that is a replica by now.
/// An error that the server gave to one command alone leaves it as it is.
fn is_broken(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(kind, ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown),
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
        let link = Link::new(Client::open(way_that_falls_silent(silence.clone()).await).unwrap());
        let ping = redis::cmd("PING");
        let _: String = link.command(&ping).await.unwrap();
        silence.notify_one();
        let impatient = tokio::time::timeout(Duration::from_secs(2), link.command::<String>(&ping));
        assert!(impatient.await.is_err());
        let next = tokio::time::timeout(Duration::from_secs(2), link.command::<String>(&ping));
        assert_eq!(next.await.expect("an answer").unwrap(), "PONG");
    }

    #[tokio::test]
    async fn an_outage_is_logged_once_and_costs_no_caller_a_wait_and_shows_no_password() {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(log.clone()).finish());
        let link = Link::new(Client::open("redis://:hunter2@127.0.0.1:1").unwrap());
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
