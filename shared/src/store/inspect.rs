//! What the server behind the store is like, for whoever checks an installation. SQL that diesel has no words for: it asks
//! for settings and for what the server knows of its sessions.

use chrono::{DateTime, Utc};
use diesel::{QueryableByName, sql_query, sql_types};
use diesel_async::RunQueryDsl;
use secrecy::{ExposeSecret as _, SecretString};

use super::target::Target;
use super::{Connection, Store, StoreError};

/// How often two connections ask for their sessions. One round tells two of an idle pooler's apart from own ones; more of them,
/// for a busy pooler may give each the same one by chance.
const ROUNDS: usize = 20;

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

    /// Whether a connection keeps its session. Needs a store with room for two connections.
    ///
    /// Two of them ask in turn which server process they speak to. Own sessions never change and are never shared. A pooler by
    /// transaction gives each question the session that was used last, so that both get the same one; or the next in turn, so
    /// that one connection's changes; and whatever others do meanwhile changes it, too. Or the statement that was prepared in
    /// one process is unknown in the next.
    pub async fn session(&self) -> Result<Session, StoreError> {
        let mut connections = [self.connection().await?, self.connection().await?];
        let mut before = None;
        for _ in 0..ROUNDS {
            let mut pids = [0; 2];
            for (connection, pid) in connections.iter_mut().zip(&mut pids) {
                *pid = match process_of(connection).await {
                    Err(StoreError::Query(error)) if error.to_string().contains("prepared statement") => {
                        return Ok(Session::Pooled);
                    }
                    answer => answer?,
                };
            }
            if pids[0] == pids[1] || before.is_some_and(|before| before != pids) {
                return Ok(Session::Pooled);
            }
            before = Some(pids);
        }
        Ok(Session::Own)
    }
}

async fn process_of(connection: &mut Connection) -> Result<i32, StoreError> {
    Ok(sql_query("SELECT pg_backend_pid() AS pid").get_result::<Backend>(connection).await?.pid)
}
