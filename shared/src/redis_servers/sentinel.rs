//! The master that Sentinel names.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{Client, ErrorKind, RedisError, RedisResult, Value};

use super::{Address, Login, nowhere, open, open_to_ask};

/// Asks all Sentinels at once, and connects to what the first one names that says of itself that it is the master: a
/// Sentinel may be behind, and right after a failover the old master may be back as a replica.
pub(super) async fn master(
    login: &Login,
    sentinels: &[Client],
    name: &str,
) -> RedisResult<(Address, MultiplexedConnection)> {
    let mut answers: FuturesUnordered<_> = sentinels.iter().map(|sentinel| ask(sentinel, name)).collect();
    let mut last = None;
    let mut tried: Vec<Address> = Vec::new();
    while let Some(answer) = answers.next().await {
        let address = match answer {
            Ok(address) if tried.contains(&address) => continue,
            Ok(address) => address,
            Err(error) => {
                last = Some(error);
                continue;
            }
        };
        match open_master(login, &address).await {
            Ok(connection) => return Ok((address, connection)),
            Err(error) => last = Some(error),
        }
        tried.push(address);
    }
    Err(nowhere("no Sentinel is within reach", last))
}

async fn ask(sentinel: &Client, name: &str) -> RedisResult<Address> {
    let mut connection = open_to_ask(sentinel).await?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let found: Option<(String, u16)> = ask.query_async(&mut connection).await?;
    let (host, port) =
        found.ok_or((ErrorKind::MasterNameNotFoundBySentinel, "Sentinel knows no master of this name"))?;
    Ok(Address { host, port })
}

async fn open_master(login: &Login, address: &Address) -> RedisResult<MultiplexedConnection> {
    let mut connection = open(&login.client(address)?).await?;
    let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
    match role.first().map(redis::from_redis_value_ref::<String>) {
        Some(Ok(role)) if role == "master" => Ok(connection),
        _ => Err(RedisError::from((ErrorKind::Io, "the server that Sentinel names is no master (yet)"))),
    }
}
