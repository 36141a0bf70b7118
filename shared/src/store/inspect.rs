//! What the server behind the store is like, for whoever checks an installation. SQL that diesel has no words for: it asks
//! for settings and for what the server knows of its sessions.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{QueryableByName, sql_query, sql_types};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use secrecy::{ExposeSecret as _, SecretString};

use super::target::Target;
use super::{Connection, Store, StoreError};

/// Sessions that are held while another one is watched. More than one, for a pooler may hand them out in turn.
const HELD: usize = 3;
/// Postgres itself answers at once; a pooler that has no session left lets us wait.
const ANSWER: Duration = Duration::from_secs(2);

/// A Postgres server.
#[derive(Debug, Clone, QueryableByName)]
pub struct PostgresFacts {
    /// As it says it, for example `15.14 (Debian 15.14-0+deb12u1)`.
    #[diesel(sql_type = sql_types::Text)]
    pub version: String,
    /// The version of TLS; `None` for none. Behind a pooler, the pooler's own.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    pub tls: Option<String>,
    /// All that it takes, those for its administrators left out.
    #[diesel(sql_type = sql_types::Integer)]
    pub max_connections: i32,
    /// Those in use now, of all programs.
    #[diesel(sql_type = sql_types::BigInt)]
    pub connections: i64,
    /// `fsync` and `full_page_writes`: without them a crash of the machine may destroy the data.
    #[diesel(sql_type = sql_types::Bool)]
    pub survives_crashes: bool,
    /// `synchronous_commit`: without it a crash may take what was just promised.
    #[diesel(sql_type = sql_types::Bool)]
    pub commits_are_durable: bool,
    /// A replica, which refuses to write.
    #[diesel(sql_type = sql_types::Bool)]
    pub is_replica: bool,
    /// Its clock.
    #[diesel(sql_type = sql_types::Timestamptz)]
    pub now: DateTime<Utc>,
}

const FACTS: &str = "SELECT current_setting('server_version') AS version, \
    (SELECT ssl.version FROM pg_stat_ssl AS ssl WHERE ssl.pid = pg_backend_pid() AND ssl.ssl) AS tls, \
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int \
        AS max_connections, \
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections, \
    current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on' AS survives_crashes, \
    current_setting('synchronous_commit') <> 'off' AS commits_are_durable, \
    pg_is_in_recovery() AS is_replica, clock_timestamp() AS now";

/// Whose the session of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// The connection's own.
    Own,
    /// A pooler's, which gives each transaction another one.
    Pooled,
}

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = sql_types::Integer)]
    pid: i32,
}

/// A URL as an operator may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Host, port and database.
    pub name: String,
    /// Whether the URL says `pgbouncer=true`.
    pub is_pooled: bool,
}

impl Place {
    /// Where a URL leads.
    pub fn of(url: &SecretString) -> Result<Self, StoreError> {
        let target = Target::parse(url.expose_secret())?;
        Ok(Self { name: target.place(), is_pooled: target.is_pooled })
    }
}

impl Store {
    /// What the server is like.
    pub async fn inspect(&self) -> Result<PostgresFacts, StoreError> {
        Ok(sql_query(FACTS).get_result(&mut self.connection().await?).await?)
    }

    /// Whether a connection keeps its session. Needs a store with room for four connections.
    ///
    /// It looks whether a connection's server process changes while others are in transactions. Behind a pooler it does, or
    /// the statement that was prepared in the first process is unknown in the second.
    pub async fn session(&self) -> Result<Session, StoreError> {
        let mut watched = self.connection().await?;
        let before = pid(&mut watched).await?;
        let mut held = Vec::new();
        for _ in 0..HELD {
            let mut connection = self.connection().await?;
            match tokio::time::timeout(ANSWER, connection.batch_execute("BEGIN; SELECT 1")).await {
                Ok(begun) => begun?,
                Err(_) => return Ok(Session::Pooled),
            }
            held.push(connection);
        }
        let after = match tokio::time::timeout(ANSWER, pid(&mut watched)).await {
            Ok(Ok(pid)) => Some(pid),
            Ok(Err(StoreError::Query(error))) if error.to_string().contains("prepared statement") => None,
            Ok(Err(error)) => return Err(error),
            Err(_) => None,
        };
        for connection in &mut held {
            connection.batch_execute("ROLLBACK").await?;
        }
        Ok(if after == Some(before) { Session::Own } else { Session::Pooled })
    }
}

async fn pid(connection: &mut Connection) -> Result<i32, StoreError> {
    Ok(sql_query("SELECT pg_backend_pid() AS pid").get_result::<Backend>(connection).await?.pid)
}
