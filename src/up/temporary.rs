//! Private servers for tests and benchmarks, in a folder that goes with them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::account::Account;
use super::error::ServerError;
use super::files::PASSAGE;
use super::postgres::{Postgres, PostgresOptions};
use super::redis::{Redis, RedisOptions};

/// A Postgres and a Redis that keep nothing. Dropped, they are killed, and their folder goes.
pub struct TemporaryServers {
    /// The Postgres.
    pub postgres: Postgres,
    /// The Redis.
    pub redis: Redis,
    /// The last field: it is dropped last.
    folder: TempDir,
}

impl TemporaryServers {
    /// Starts both, with room for many tests at a time.
    pub async fn start() -> Result<Self, ServerError> {
        let folder = temporary_folder()?;
        let postgres = PostgresOptions { durable: false, max_connections: 600, ..PostgresOptions::default() };
        let redis = RedisOptions { durable: false, ..RedisOptions::default() };
        let (postgres_folder, redis_folder) = (folder.path().join("postgres"), folder.path().join("redis"));
        let (postgres, redis) =
            tokio::try_join!(Postgres::start(&postgres_folder, &postgres), Redis::start(&redis_folder, &redis))?;
        Ok(Self { postgres, redis, folder })
    }

    /// Where their files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends both and removes their folder.
    pub async fn stop(self) {
        tokio::join!(self.postgres.stop(), self.redis.stop());
    }
}

/// A new folder that the servers' account can reach, which a temporary folder of root's own may not be. It goes when
/// the value is dropped.
pub fn temporary_folder() -> Result<TempDir, ServerError> {
    let mut parents = vec![std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    if let Some(account) = Account::for_data(&std::env::temp_dir().join("none"))? {
        parents.retain(|parent| account.can_reach(parent));
    }
    let parent = parents.first().cloned().unwrap_or_else(std::env::temp_dir);
    let make = || {
        let folder = tempfile::Builder::new().prefix("metriqlab-").tempdir_in(&parent)?;
        std::fs::set_permissions(folder.path(), Permissions::from_mode(PASSAGE))?;
        Ok(folder)
    };
    make().map_err(ServerError::io("make a folder in", &parent))
}
