//! What the Redis behind the queue is like, for whoever checks an installation.

use chrono::{DateTime, Utc};

use redis::aio::MultiplexedConnection;

use super::client::{Queue, QueueError};

/// A Redis server, by its `INFO`; `None` for what it does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisFacts {
    /// Its host and port.
    pub place: String,
    /// `redis`, `valkey`, or another by its own name.
    pub server: String,
    /// Its version, of Redis or of what it is compatible with.
    pub version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// `master` or `slave`.
    pub role: String,
    /// What it does when its memory is full.
    pub maxmemory_policy: Option<String>,
    /// Bytes that it may use; 0 for all.
    pub maxmemory: u64,
    /// Bytes that it uses.
    pub used_memory: u64,
    /// Whether it keeps an append-only file.
    pub appends: bool,
    /// When it writes snapshots (`save`); `None` where it does not tell, as managed ones do.
    pub saves: Option<String>,
    /// Its clock.
    pub now: DateTime<Utc>,
}

impl Queue {
    /// Where Redis is, as its URL says it, without what is secret.
    pub fn place(&self) -> String {
        self.servers().to_string()
    }

    /// What the servers are like: the one, the master that Sentinel names, or all masters of a cluster.
    pub async fn inspect(&self) -> Result<Vec<RedisFacts>, QueueError> {
        let mut facts = Vec::new();
        for (address, mut connection) in self.servers().masters().await? {
            facts.push(ask(address.to_string(), &mut connection).await?);
        }
        Ok(facts)
    }
}

async fn ask(place: String, connection: &mut MultiplexedConnection) -> redis::RedisResult<RedisFacts> {
    let info: String = redis::cmd("INFO").query_async(connection).await?;
    // Managed servers forbid this; that is no error.
    let save: Result<Vec<String>, _> = redis::cmd("CONFIG").arg("GET").arg("save").query_async(connection).await;
    let saves = save.ok().and_then(|pair| pair.into_iter().nth(1));
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(connection).await?;
    let now = DateTime::from_timestamp_micros(seconds.saturating_mul(1_000_000).saturating_add(micros));
    Ok(RedisFacts { place, ..read(&info, saves, now.unwrap_or_default()) })
}

fn read(info: &str, saves: Option<String>, now: DateTime<Utc>) -> RedisFacts {
    let value = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value.trim().to_owned())
    };
    let number = |name| value(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    RedisFacts {
        place: String::new(),
        server: value("server_name").unwrap_or_else(|| "redis".to_owned()),
        version: value("valkey_version").or_else(|| value("redis_version")).unwrap_or_default(),
        mode: value("redis_mode").or_else(|| value("server_mode")).unwrap_or_default(),
        role: value("role").unwrap_or_default(),
        maxmemory_policy: value("maxmemory_policy"),
        maxmemory: number("maxmemory"),
        used_memory: number("used_memory"),
        appends: value("aof_enabled").as_deref() == Some("1"),
        saves,
        now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valkey_and_redis_say_it_in_different_words() {
        let valkey = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n\
                      server_mode:standalone\r\nrole:master\r\nmaxmemory:0\r\nused_memory:1024\r\naof_enabled:1\r\n";
        let facts = read(valkey, None, DateTime::UNIX_EPOCH);
        assert_eq!(
            (facts.server.as_str(), facts.version.as_str(), facts.mode.as_str()),
            ("valkey", "8.0.1", "standalone")
        );
        assert!(facts.appends && facts.maxmemory_policy.is_none() && facts.used_memory == 1024);
        let redis = read(
            "redis_version:7.0.15\r\nredis_mode:cluster\r\nrole:slave\r\nmaxmemory_policy:noeviction\r\n",
            None,
            DateTime::UNIX_EPOCH,
        );
        assert_eq!((redis.version.as_str(), redis.mode.as_str(), redis.role.as_str()), ("7.0.15", "cluster", "slave"));
        assert_eq!(redis.maxmemory_policy.as_deref(), Some("noeviction"));
    }
}
