//! The settings of the commands that look at a system from outside: in a folder where `metriqlab up` has run, what it has kept
//! stands for what is not set.

use std::path::Path;

use ::metriqlab::up::{FOLDER, Kept, ServerError};
use secrecy::{ExposeSecret as _, SecretString};
use shared::crypto::KeyRing;
use shared::settings::{
    DatabaseArgs, DatabaseSettings, EncryptionArgs, QuotaSettings, RedisArgs, RedisSettings, SANDBOX_CLIENT_KEY,
    TikTokArgs,
};

/// For the help of these commands.
pub const HELP: &str = "In a folder where `metriqlab up` has run, its servers are used unless others are set.";

/// The database that is set, else the folder's.
pub fn database(args: &DatabaseArgs) -> anyhow::Result<DatabaseSettings> {
    let database_url = given_or_kept(args.database_url.as_ref(), |kept| kept.database_url)?;
    Ok(DatabaseArgs { database_url }.require()?)
}

/// The Redis that is set, else the folder's. The prefix is never kept.
pub fn redis(args: &RedisArgs) -> anyhow::Result<RedisSettings> {
    let redis_url = given_or_kept(args.redis_url.as_ref(), |kept| kept.redis_url)?;
    Ok(RedisArgs { redis_url, ..args.clone() }.require()?)
}

/// The keys that are set, else the folder's.
pub fn encryption(args: &EncryptionArgs) -> anyhow::Result<KeyRing> {
    let encryption_key = given_or_kept(args.encryption_key.as_ref(), |kept| kept.encryption_key)?;
    Ok(EncryptionArgs { encryption_key }.require()?)
}

/// Where browsers reach the API that was started in this folder last.
pub fn api_url() -> anyhow::Result<Option<String>> {
    Ok(read()?.api_url)
}

/// The quota, and the app that is set, else that of the folder's sandbox.
pub fn quota(args: &TikTokArgs) -> anyhow::Result<QuotaSettings> {
    let mut quota = args.quota()?;
    if !args.is_configured() && read()?.sandbox_url.is_some() {
        quota.client_key = Some(SANDBOX_CLIENT_KEY.to_owned());
    }
    Ok(quota)
}

/// The folder is read only where something is not set: who may not read it can still say everything.
fn given_or_kept(
    given: Option<&SecretString>,
    kept: impl FnOnce(Kept) -> Option<SecretString>,
) -> Result<Option<SecretString>, ServerError> {
    match given {
        Some(given) if !given.expose_secret().trim().is_empty() => Ok(Some(given.clone())),
        _ => Ok(kept(read()?)),
    }
}

fn read() -> Result<Kept, ServerError> {
    Kept::read(Path::new(FOLDER))
}
