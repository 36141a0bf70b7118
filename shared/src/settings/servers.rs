//! Postgres, Redis and the key that guards what is stored there.

use std::fmt;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use super::SettingsError;
use super::parse::{given_secret, or_default, quoted};
use crate::crypto::KeyRing;
use crate::redis_servers::RedisServers;

const DATABASE_URL: &str = "DATABASE_URL";
const REDIS_URL: &str = "REDIS_URL";
const REDIS_PREFIX: &str = "METRIQLAB_REDIS_PREFIX";
const ENCRYPTION_KEY: &str = "METRIQLAB_ENCRYPTION_KEY";
const DEFAULT_PREFIX: &str = "metriqlab";

/// Postgres.
#[derive(Args, Clone)]
#[command(next_help_heading = "Servers")]
pub struct DatabaseArgs {
    /// Postgres, for example `postgres://user:password@host/metriqlab`; `sslmode=require` is honoured.
    #[arg(long, value_name = "URL", env = DATABASE_URL, hide_env_values = true)]
    pub database_url: Option<SecretString>,
}

/// Postgres. Its `Debug` shows nothing: the URL holds a password.
#[derive(Clone)]
pub struct DatabaseSettings {
    /// The URL, its password in it.
    pub url: SecretString,
}

impl DatabaseArgs {
    /// The database, if one is set.
    pub fn check(&self) -> Result<Option<DatabaseSettings>, SettingsError> {
        let Some(url) = given_secret(self.database_url.as_ref()) else { return Ok(None) };
        let known = ["postgres://", "postgresql://"].iter().any(|scheme| url.expose_secret().starts_with(scheme));
        if !known {
            // The value is not shown: there may be a password in it.
            return Err(SettingsError::wrong(
                DATABASE_URL,
                "write a URL like `postgres://user:password@host/metriqlab`",
            ));
        }
        Ok(Some(DatabaseSettings { url }))
    }

    /// The database, which must be set.
    pub fn require(&self) -> Result<DatabaseSettings, SettingsError> {
        self.check()?.ok_or(SettingsError::Missing {
            variable: DATABASE_URL,
            remedy: "set it to a Postgres URL, or run `metriqlab up`, which brings its own",
        })
    }
}

impl fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSettings").finish_non_exhaustive()
    }
}

/// Redis.
#[derive(Args, Clone)]
#[command(next_help_heading = "Servers")]
pub struct RedisArgs {
    /// Redis or Valkey, for example `redis://:password@host`, `redis+sentinel://h1,h2,h3/mymaster` or
    /// `redis+cluster://h1,h2,h3`; `rediss` for TLS.
    #[arg(long, value_name = "URL", env = REDIS_URL, hide_env_values = true)]
    pub redis_url: Option<SecretString>,
    /// Before every key and channel in Redis, so that several deployments can share one.
    #[arg(long, value_name = "NAME", env = REDIS_PREFIX, default_value = DEFAULT_PREFIX)]
    pub redis_prefix: String,
}

/// Redis. Its `Debug` leaves the URL out, which may hold a password.
#[derive(Clone)]
pub struct RedisSettings {
    /// The URL, its password in it.
    pub url: SecretString,
    /// Before every key and channel.
    pub prefix: String,
}

impl RedisArgs {
    /// The Redis, if one is set. The prefix is checked in any case.
    pub fn check(&self) -> Result<Option<RedisSettings>, SettingsError> {
        let prefix = self.prefix()?;
        let Some(url) = given_secret(self.redis_url.as_ref()) else { return Ok(None) };
        RedisServers::parse(url.expose_secret())
            .map_err(|problem| SettingsError::wrong(REDIS_URL, problem.to_string()))?;
        Ok(Some(RedisSettings { url, prefix }))
    }

    /// The Redis, which must be set.
    pub fn require(&self) -> Result<RedisSettings, SettingsError> {
        self.check()?.ok_or(SettingsError::Missing {
            variable: REDIS_URL,
            remedy: "set it to a Redis URL, or run `metriqlab up`, which brings its own",
        })
    }

    /// The prefix: letters, digits, `-`, `_`, `.` and `:`. Braces would make hash tags of their own, and others belong to patterns.
    pub fn prefix(&self) -> Result<String, SettingsError> {
        let prefix = or_default(&self.redis_prefix, DEFAULT_PREFIX);
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if prefix.len() > 64 || !prefix.chars().all(good) {
            let problem = format!("{} must be at most 64 letters, digits, `-`, `_`, `.` or `:`", quoted(prefix));
            return Err(SettingsError::wrong(REDIS_PREFIX, problem));
        }
        Ok(prefix.to_owned())
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The keys that encrypt the creators' tokens at rest.
#[derive(Args, Clone)]
#[command(next_help_heading = "Servers")]
pub struct EncryptionArgs {
    /// 32 bytes in base64 (`openssl rand -base64 32`): encrypts the creators' tokens at rest. A comma-separated list
    /// rotates: the first encrypts, all decrypt.
    #[arg(long, value_name = "KEYS", env = ENCRYPTION_KEY, hide_env_values = true)]
    pub encryption_key: Option<SecretString>,
}

impl EncryptionArgs {
    /// The keys, if there are any.
    pub fn check(&self) -> Result<Option<KeyRing>, SettingsError> {
        let Some(keys) = given_secret(self.encryption_key.as_ref()) else { return Ok(None) };
        Ok(Some(keys.expose_secret().parse::<KeyRing>()?))
    }

    /// The keys, which must be set.
    pub fn require(&self) -> Result<KeyRing, SettingsError> {
        self.check()?.ok_or(SettingsError::Missing {
            variable: ENCRYPTION_KEY,
            remedy: "make a key with `openssl rand -base64 32`, and keep it as long as the database",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis(url: &str, prefix: &str) -> Result<Option<RedisSettings>, SettingsError> {
        RedisArgs { redis_url: Some(SecretString::from(url)), redis_prefix: prefix.into() }.check()
    }

    #[test]
    fn passwords_are_in_no_message_and_no_debug() {
        let wrong = DatabaseArgs { database_url: Some(SecretString::from("mysql://u:hunter2@h/d")) };
        assert!(!wrong.check().unwrap_err().to_string().contains("hunter2"));
        let right = DatabaseArgs { database_url: Some(SecretString::from("postgres://u:hunter2@h/d")) };
        assert!(!format!("{:?}", right.require().unwrap()).contains("hunter2"));
        assert!(!redis("http://:hunter2@h", "p").unwrap_err().to_string().contains("hunter2"));
        assert!(!format!("{:?}", redis("redis://:hunter2@h", "p").unwrap()).contains("hunter2"));
    }

    #[test]
    fn an_empty_variable_is_an_absent_one() {
        assert!(DatabaseArgs { database_url: Some(SecretString::from(" ")) }.check().unwrap().is_none());
        assert!(redis("", "p").unwrap().is_none());
        assert!(EncryptionArgs { encryption_key: Some(SecretString::from("")) }.require().is_err());
        assert_eq!(redis("rediss://h", "").unwrap().unwrap().prefix, "metriqlab");
    }

    #[test]
    fn a_prefix_has_no_hash_tag_and_no_pattern() {
        for prefix in ["a{b}", "a*", "a b", "ä", &"x".repeat(65)] {
            assert!(redis("redis://h", prefix).is_err(), "{prefix}");
        }
        assert!(redis("redis://h", "team-1:prod.eu_1").is_ok());
    }
}
