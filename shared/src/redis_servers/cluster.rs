//! Who owns which slot of a cluster.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use redis::{ErrorKind, FromRedisValue, RedisResult, Value};

use super::{Address, RedisServers, nowhere, open_to_ask};

/// A range of slots, and the master that serves it.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    master: Address,
}

/// The master of the key's slot.
pub(super) async fn owner(servers: &RedisServers, key: &str) -> RedisResult<Address> {
    let (slot, ranges) = ask_all(servers, key).await?;
    let owner = ranges.into_iter().find(|range| (range.first..=range.last).contains(&slot));
    let owner = owner.ok_or((ErrorKind::Io, "no node of the cluster serves the slot of our keys"))?;
    Ok(owner.master)
}

/// One of the masters, by chance.
pub(super) async fn any_master(servers: &RedisServers) -> RedisResult<Address> {
    let mut masters = masters(servers).await?;
    if masters.is_empty() {
        return Err(nowhere("the cluster has no slots", None));
    }
    Ok(masters.swap_remove(rand::random_range(0..masters.len())))
}

/// All masters that serve slots.
pub(super) async fn masters(servers: &RedisServers) -> RedisResult<Vec<Address>> {
    let (_, ranges) = ask_all(servers, "").await?;
    Ok(distinct(&ranges))
}

/// Asks all nodes that we know at once; the first good answer counts. A node that is behind sends us to a wrong one, and
/// that one on to the right one (`MOVED`).
async fn ask_all(servers: &RedisServers, key: &str) -> RedisResult<(u16, Vec<Range>)> {
    let nodes = servers.candidates();
    let mut answers: FuturesUnordered<_> = nodes.iter().map(|node| ask(servers, node, key)).collect();
    let mut last = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok((slot, ranges)) => {
                servers.remember(distinct(&ranges));
                return Ok((slot, ranges));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(nowhere("no node of the cluster is within reach", last))
}

/// The slot of `key`, and who serves what.
async fn ask(servers: &RedisServers, node: &Address, key: &str) -> RedisResult<(u16, Vec<Range>)> {
    let mut connection = open_to_ask(&servers.0.login.client(node)?).await?;
    let mut ask = redis::pipe();
    ask.cmd("CLUSTER").arg("KEYSLOT").arg(key).cmd("CLUSTER").arg("SLOTS");
    let (slot, ranges): (u16, Vec<Vec<Value>>) = ask.query_async(&mut connection).await?;
    let ranges: Vec<Range> = ranges.into_iter().filter_map(|range| parse(&range, &node.host)).collect();
    if ranges.is_empty() {
        return Err(nowhere("a node of the cluster knows of no slots", None));
    }
    Ok((slot, ranges))
}

/// An entry of `CLUSTER SLOTS`: first slot, last slot, the master, its replicas; a node is host, port, id and more. A host
/// that is absent or empty is the one that we asked.
fn parse(range: &[Value], asked: &str) -> Option<Range> {
    let [first, last, Value::Array(master), ..] = range else { return None };
    let [host, port, ..] = master.as_slice() else { return None };
    let host: Option<String> = read(host)?;
    let host = host.filter(|host| !host.is_empty() && host != "?").unwrap_or_else(|| asked.to_owned());
    Some(Range { first: read(first)?, last: read(last)?, master: Address { host, port: read(port)? } })
}

fn read<T: FromRedisValue>(value: &Value) -> Option<T> {
    redis::from_redis_value_ref(value).ok()
}

fn distinct(ranges: &[Range]) -> Vec<Address> {
    let mut masters: Vec<Address> = Vec::new();
    for range in ranges {
        if !masters.contains(&range.master) {
            masters.push(range.master.clone());
        }
    }
    masters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_range_is_read_with_or_without_its_host() {
        let entry = |host| {
            let master = Value::Array(vec![host, Value::Int(7000), text("id"), Value::Array(vec![])]);
            [Value::Int(0), Value::Int(5460), master, Value::Array(vec![])]
        };
        let range =
            |host: &str| Some(Range { first: 0, last: 5460, master: Address { host: host.into(), port: 7000 } });
        assert_eq!(parse(&entry(text("10.0.0.1")), "asked"), range("10.0.0.1"));
        assert_eq!(parse(&entry(text("")), "asked"), range("asked"));
        assert_eq!(parse(&entry(Value::Nil), "asked"), range("asked"));
        assert_eq!(parse(&[Value::Int(0), Value::Int(1)], "asked"), None);
        assert_eq!(parse(&[], "asked"), None);
    }
}
