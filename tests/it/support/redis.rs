//! What Redis holds, seen from outside.

use std::fmt::Write as _;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Value};

use super::DEADLINE;

/// A connection that waits for each answer: redis-rs's own half a second is little on a busy machine or disk.
pub async fn connect(url: &str) -> MultiplexedConnection {
    let limits =
        AsyncConnectionConfig::new().set_connection_timeout(Some(DEADLINE)).set_response_timeout(Some(DEADLINE));
    let client = Client::open(url).expect("a Redis URL");
    client.get_multiplexed_async_connection_with_config(&limits).await.expect("connect to Redis")
}

/// Every key whose name matches `pattern`, and all that stands in it, of whatever type: as text, and whole. (`DUMP` compresses
/// what is long, and so hides it.)
pub async fn contents(url: &str, pattern: &str) -> Vec<(String, String)> {
    let mut connection = connect(url).await;
    let (mut found, mut cursor) = (Vec::new(), 0_u64);
    loop {
        let scan = redis::cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(500).clone();
        let (next, keys): (u64, Vec<String>) = scan.query_async(&mut connection).await.expect("scan");
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.expect("a type");
            let (command, whole): (&str, &[&str]) = match kind.as_str() {
                // It has ended since.
                "none" => continue,
                "string" => ("GET", &[]),
                "hash" => ("HGETALL", &[]),
                "set" => ("SMEMBERS", &[]),
                "list" => ("LRANGE", &["0", "-1"]),
                "zset" => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
                other => panic!("{key}: nobody reads a {other} here yet"),
            };
            let read = redis::cmd(command).arg(&key).arg(whole).clone();
            let mut text = String::new();
            write_out(&read.query_async(&mut connection).await.expect("read a key"), &mut text);
            found.push((key, text));
        }
        cursor = next;
        if cursor == 0 {
            return found;
        }
    }
}

fn write_out(value: &Value, text: &mut String) {
    match value {
        Value::BulkString(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
        Value::SimpleString(simple) => text.push_str(simple),
        Value::Array(all) | Value::Set(all) => all.iter().for_each(|one| write_out(one, text)),
        Value::Map(all) => all.iter().flat_map(|(key, value)| [key, value]).for_each(|one| write_out(one, text)),
        Value::Nil => {}
        other => write!(text, "{other:?}").expect("memory"),
    }
    text.push('\n');
}
