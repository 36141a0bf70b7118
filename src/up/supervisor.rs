//! From nothing to a running system, and back.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sandbox::{Sandbox, SandboxConfig};
use secrecy::{ExposeSecret as _, SecretString};
use shared::api_key::ApiKey;
use shared::settings::DatabaseSettings;
use shared::store::Store;
use url::Url;

use super::error::ServerError;
use super::greeting::Greeting;
use super::home::Home;
use super::postgres::{Postgres, PostgresOptions};
use super::redis::{Redis, RedisOptions};
use super::settings::{Args, Plan, loopback};
use crate::signals::Signals;

const FOLDER: &str = ".metriqlab";
const DATABASE: &str = "metriqlab";
const PROJECT: &str = "default";
/// The sandbox's port, if it is free: links into it then outlive a restart.
const SANDBOX_BIND: &str = "127.0.0.1:8090";
const ANY_LOOPBACK: &str = "127.0.0.1:0";

/// Everything that runs. Dropped, the servers are killed: the way out of a failed start.
struct System {
    sandbox: Option<Sandbox>,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
}

/// `metriqlab up`: starts everything, says what to do next, and stops everything when asked to.
pub async fn run(args: Args) -> anyhow::Result<()> {
    // First of all, so that a signal ends the start in order, too.
    let mut signals = Signals::listen()?;
    let plan = args.check()?;
    let home = Home::open(Path::new(FOLDER))?;
    let (mut system, greeting) = tokio::select! {
        started = start(plan, &home) => started?,
        () = signals.stop() => return Ok(()),
    };
    greeting.print();
    let lost = tokio::select! {
        lost = system.lost() => Some(lost),
        () = signals.stop() => None,
    };
    tracing::info!("stopping");
    tokio::select! {
        () = system.stop() => {}
        // Asked again: the servers are killed, and recover at the next start.
        () = signals.stop() => {}
    }
    lost.map_or(Ok(()), |lost| Err(lost.into()))
}

async fn start(mut plan: Plan, home: &Home) -> anyhow::Result<(System, Greeting)> {
    let place = home.servers();
    // All three take their time by themselves.
    let (postgres, redis) =
        tokio::try_join!(start_postgres(&plan, place.join("postgres")), start_redis(&plan, place.join("redis")))?;
    let sandbox = if plan.sandbox { Some(start_sandbox(&mut plan)?) } else { None };
    let database = match (&plan.database, &postgres) {
        (Some(given), _) => given.clone(),
        (None, Some(private)) => DatabaseSettings { url: private.url().clone() },
        (None, None) => anyhow::bail!("there is no Postgres"),
    };
    let store = Store::open(&database.url, 16)?;
    store.migrate().await?;
    let key = api_key(&store, home).await?;
    let greeting = Greeting {
        url: plan.api.public_url.to_string(),
        key: SecretString::from(key.expose()),
        sandbox: sandbox.as_ref().map(Sandbox::base_url),
    };
    Ok((System { sandbox, postgres, redis }, greeting))
}

async fn start_postgres(plan: &Plan, folder: PathBuf) -> Result<Option<Postgres>, ServerError> {
    if plan.database.is_some() {
        return Ok(None);
    }
    let options = PostgresOptions { database: DATABASE, ..PostgresOptions::default() };
    Postgres::start(&folder, &options).await.map(Some)
}

async fn start_redis(plan: &Plan, folder: PathBuf) -> Result<Option<Redis>, ServerError> {
    if plan.redis.is_some() {
        return Ok(None);
    }
    Redis::start(&folder, &RedisOptions::default()).await.map(Some)
}

/// Starts the sandbox and points the TikTok settings to it.
fn start_sandbox(plan: &mut Plan) -> anyhow::Result<Sandbox> {
    let config = |bind: &str| SandboxConfig {
        bind: bind.to_owned(),
        client_key: plan.tiktok.client_key.clone(),
        client_secret: plan.tiktok.client_secret.expose_secret().to_owned(),
        redirect_uris: vec![plan.api.public_url.with_path("/oauth/tiktok/callback")],
        rate_limit: plan.tiktok.rate_per_minute,
        rate_window: plan.tiktok.rate_window,
        webhook_url: Some(format!("http://{}/webhooks/tiktok", loopback(plan.api.bind))),
        ..SandboxConfig::default()
    };
    let sandbox = sandbox::start(config(SANDBOX_BIND)).or_else(|_| sandbox::start(config(ANY_LOOPBACK)))?;
    let base = Url::parse(&sandbox.base_url()).context("the sandbox's address")?;
    plan.tiktok.auth_url = base.clone();
    plan.tiktok.api_url = base;
    Ok(sandbox)
}

/// The key of the first start, as long as it works; else a new one.
async fn api_key(store: &Store, home: &Home) -> anyhow::Result<ApiKey> {
    if let Some(key) = home.api_key()?
        && store.active_key(&key.hash()).await?.is_some()
    {
        return Ok(key);
    }
    let key = ApiKey::generate();
    store.add_key(PROJECT, &key.hash(), key.prefix()).await?;
    home.keep_api_key(&key)?;
    Ok(key)
}

impl System {
    /// Waits for the end of a private server that nobody asked for.
    async fn lost(&mut self) -> ServerError {
        let postgres = async {
            match &mut self.postgres {
                Some(postgres) => postgres.died().await,
                None => std::future::pending().await,
            }
        };
        let redis = async {
            match &mut self.redis {
                Some(redis) => redis.died().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            lost = postgres => lost,
            lost = redis => lost,
        }
    }

    /// Stops everything, what stands on something before that.
    async fn stop(self) {
        if let Some(sandbox) = self.sandbox {
            sandbox.stop().await;
        }
        let postgres = async {
            if let Some(postgres) = self.postgres {
                postgres.stop().await;
            }
        };
        let redis = async {
            if let Some(redis) = self.redis {
                redis.stop().await;
            }
        };
        tokio::join!(postgres, redis);
    }
}
