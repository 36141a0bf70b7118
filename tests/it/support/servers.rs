//! Servers of a test's own, which it may stop, flush and start again on the same port.

use std::path::PathBuf;

use metriqlab::up::postgres::{Postgres, PostgresOptions};
use metriqlab::up::redis::{Redis, RedisOptions};
use metriqlab::up::temporary_folder;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::redis::connect;
use super::system::free_port;

/// A Redis of one's own; it keeps its data over a restart, as `up` configures it.
pub struct PrivateRedis {
    pub url: String,
    server: Option<Redis>,
    options: RedisOptions,
    folder: TempDir,
}

impl PrivateRedis {
    pub async fn start() -> Self {
        let folder = temporary_folder().expect("a folder");
        // One that no connection is given while the server is stopped.
        let options = RedisOptions { port: Some(free_port()), ..RedisOptions::default() };
        let server = Redis::start(&folder.path().join("redis"), &options).await.expect("start Redis");
        Self { url: server.url().expose_secret().to_owned(), server: Some(server), options, folder }
    }

    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        let server = Redis::start(&self.folder.path().join("redis"), &self.options).await.expect("start Redis again");
        assert_eq!(server.url().expose_secret(), self.url, "the same address and password");
        self.server = Some(server);
    }

    /// From now on it answers, but refuses every script, as one does that is a replica or whose disk is full.
    pub async fn refuse_scripts(&self) {
        let mut connection = connect(&self.url).await;
        let mut refuse = redis::cmd("ACL");
        refuse.arg("SETUSER").arg("default").arg("-@scripting");
        refuse.exec_async(&mut connection).await.expect("set");
    }

    /// Where it keeps its files.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("redis/data")
    }

    /// Empties it, as an operator's mistake or a failover to an empty replica would.
    pub async fn flush(&self) {
        let mut connection = connect(&self.url).await;
        redis::cmd("FLUSHALL").exec_async(&mut connection).await.expect("flush");
    }
}

/// A Postgres of one's own.
pub struct PrivatePostgres {
    pub url: String,
    server: Option<Postgres>,
    options: PostgresOptions,
    folder: TempDir,
}

impl PrivatePostgres {
    pub async fn start() -> Self {
        Self::start_with(PostgresOptions::default()).await
    }

    pub async fn start_with(options: PostgresOptions) -> Self {
        let folder = temporary_folder().expect("a folder");
        let path = folder.path().join("postgres");
        let options = PostgresOptions { port: Some(options.port.unwrap_or_else(free_port)), ..options };
        let server = Postgres::start(&path, &options).await.expect("start Postgres");
        Self { url: server.url().expose_secret().to_owned(), server: Some(server), options, folder }
    }

    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        let path = self.folder.path().join("postgres");
        self.server = Some(Postgres::start(&path, &self.options).await.expect("start Postgres again"));
    }
}
