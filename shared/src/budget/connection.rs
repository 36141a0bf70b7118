//! A connection to Redis for scripts, that heals by itself.

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisResult, ScriptInvocation};

use crate::redis_servers::{Address, Redirect, Redirects, RedisServers};

/// To the node that holds a key. Made when it is first needed, and made anew after any error. redis-rs's own manager would
/// keep one on which answers only time out, or whose server became a read-only replica in a failover.
pub(super) struct Connection {
    servers: RedisServers,
    key: String,
    open: Option<MultiplexedConnection>,
    /// Where a node of a cluster said that the key is now.
    moved_to: Option<Address>,
}

impl Connection {
    /// To the node of `servers` that holds `key`. Does not connect yet.
    pub(super) fn new(servers: RedisServers, key: &str) -> Self {
        Self { servers, key: key.to_owned(), open: None, moved_to: None }
    }

    /// Another one to the same node. Does not connect yet.
    pub(super) fn apart(&self) -> Self {
        Self::new(self.servers.clone(), &self.key)
    }

    /// Runs the script of `call`, which is loaded first where the server does not know it. One that a node of a cluster
    /// sends elsewhere was not carried out, and follows its key.
    pub(super) async fn invoke<T: FromRedisValue>(&mut self, call: &ScriptInvocation<'_>) -> RedisResult<T> {
        let mut redirects = Redirects::default();
        loop {
            let error = match self.invoke_once(call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match redirects.follow(&error).await {
                Some(Redirect::To(address)) => self.moved_to = address,
                Some(Redirect::Wait) => {}
                None => return Err(error),
            }
        }
    }

    async fn invoke_once<T: FromRedisValue>(&mut self, call: &ScriptInvocation<'_>) -> RedisResult<T> {
        let mut connection = match self.open.take() {
            Some(connection) => connection,
            None => self.servers.connect(&self.key, self.moved_to.take()).await?,
        };
        let answer = call.invoke_async(&mut connection).await?;
        self.open = Some(connection);
        Ok(answer)
    }
}
