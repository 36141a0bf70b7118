//! A connection to Redis for scripts, that heals by itself.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo as _, RedisResult, ScriptInvocation};

/// redis-rs gives up after 500 ms by default, which a busy server may need.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// The client for `url`. Does not connect.
pub(super) fn client(url: &str) -> RedisResult<Client> {
    // Calls are small and wait for their answers: nothing is gained by holding them back (Nagle), which is redis-rs's default.
    Client::open(url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

/// Made when it is first needed, and made anew after any error. redis-rs's own manager would keep one on which answers
/// only time out, or whose server became a read-only replica in a failover.
pub(super) struct Connection {
    client: Client,
    open: Option<MultiplexedConnection>,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self { client, open: None }
    }

    /// Runs the script of `call`, which is loaded first where the server does not know it.
    pub(super) async fn invoke<T: FromRedisValue>(&mut self, call: &ScriptInvocation<'_>) -> RedisResult<T> {
        let mut connection = match self.open.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let answer = call.invoke_async(&mut connection).await?;
        self.open = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}
