//! From nothing to a running system, and back.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use api::{ApiServer, CALLBACK_PATH};
use sandbox::{Sandbox, SandboxConfig, StartError};
use secrecy::{ExposeSecret as _, SecretString};
use shared::api_key::ApiKey;
use shared::crypto::KeyRing;
use shared::secret_token::SecretToken;
use shared::settings::{
    ApiSettings, DatabaseSettings, PUBLIC_URL, RedisSettings, SANDBOX_BIND, SettingsError, TikTokSettings,
    WorkerSettings,
};
use shared::store::Store;
use shared::store::keys::NewKey;
use url::Url;
use worker::Worker;

use super::error::ServerError;
use super::greeting::Greeting;
use super::home::Home;
use super::postgres::{Postgres, PostgresOptions};
use super::redis::{Redis, RedisOptions};
use super::settings::{Args, Door, Plan, listen_for, loopback};
use crate::parts::{Common, Parts};
use crate::signals::Signals;

/// Where `up` keeps what its next start finds again, in the working directory.
pub const FOLDER: &str = ".metriqlab";
const DATABASE: &str = "metriqlab";
const PROJECT: &str = "default";
const ANY_LOOPBACK: &str = "127.0.0.1:0";

/// Everything that runs. Dropped, the servers are killed: the way out of a failed start.
struct System {
    api: ApiServer,
    worker: Worker,
    sandbox: Option<Sandbox>,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
}

/// `metriqlab up`: starts everything, says what to do next, and stops everything when asked to.
pub async fn run(args: Args) -> anyhow::Result<()> {
    // First of all, so that a signal ends the start in order, too.
    let mut signals = Signals::listen()?;
    let mut plan = args.check()?;
    // Before the folder is made: a start that is refused leaves nothing behind.
    let door = listen_for(&plan.api)?;
    let sandbox = if plan.sandbox { Some(start_sandbox(&mut plan.tiktok, &door.settings)?) } else { None };
    let home = Home::open(Path::new(FOLDER))?;
    door.warn();
    let (mut system, greeting) = tokio::select! {
        started = start(plan, door, sandbox, &home) => started?,
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

async fn start(plan: Plan, door: Door, sandbox: Option<Sandbox>, home: &Home) -> anyhow::Result<(System, Greeting)> {
    let Door { listener, settings: api, .. } = door;
    let place = home.servers();
    let (postgres, redis) =
        tokio::try_join!(start_postgres(&plan, place.join("postgres")), start_redis(&plan, place.join("redis")))?;
    let common = Common {
        database: database(plan.database, postgres.as_ref())?,
        redis: redis_settings(plan.redis, plan.redis_prefix, redis.as_ref())?,
        keyring: keyring(plan.encryption, home)?,
        tiktok: plan.tiktok,
    };
    // Before the parts: they begin their counters.
    let metrics = shared::telemetry::init_metrics()?;
    let parts = Parts::new(common, api.public_url.with_path(CALLBACK_PATH))?;
    parts.store().migrate().await?;
    let key = api_key(parts.store(), home).await?;
    let greeting = Greeting {
        invitation: invitation(parts.store(), &key, &api).await?,
        url: api.public_url.to_string(),
        key: SecretString::from(key.expose()),
        sandbox: sandbox.as_ref().map(Sandbox::base_url),
    };
    let cadence = plan.worker.cadence;
    // Nobody would start it anew.
    let own = WorkerSettings { deaf_after: None, ..plan.worker };
    let worker = parts.clone().start_worker(own, plan.grace, Some(metrics.clone()))?;
    let api = parts.start_api(api, Some(listener), plan.grace, metrics, cadence).await?;
    home.keep_addresses(&greeting.url, greeting.sandbox.as_deref())?;
    Ok((System { api, worker, sandbox, postgres, redis }, greeting))
}

/// The Postgres that was given, else the private one.
fn database(given: Option<DatabaseSettings>, private: Option<&Postgres>) -> anyhow::Result<DatabaseSettings> {
    let private = private.map(|private| DatabaseSettings { url: private.url().clone() });
    given.or(private).context("there is no Postgres")
}

/// The Redis that was given, else the private one.
fn redis_settings(
    given: Option<RedisSettings>,
    prefix: String,
    private: Option<&Redis>,
) -> anyhow::Result<RedisSettings> {
    let private = private.map(|private| RedisSettings { url: private.url().clone(), prefix });
    given.or(private).context("there is no Redis")
}

/// The keys that were given, else the folder's.
fn keyring(given: Option<KeyRing>, home: &Home) -> anyhow::Result<KeyRing> {
    if let Some(keyring) = given {
        return Ok(keyring);
    }
    let key = home.encryption_key()?;
    key.expose_secret().parse().context("the encryption-key in the folder .metriqlab is broken")
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
fn start_sandbox(tiktok: &mut TikTokSettings, api: &ApiSettings) -> anyhow::Result<Sandbox> {
    let config = |bind: &str| SandboxConfig {
        bind: bind.to_owned(),
        client_key: tiktok.client_key.clone(),
        client_secret: tiktok.client_secret.expose_secret().to_owned(),
        redirect_uris: vec![api.public_url.with_path(CALLBACK_PATH)],
        rate_limit: tiktok.rate_per_minute,
        rate_window: tiktok.rate_window,
        webhook_url: Some(format!("http://{}/webhooks/tiktok", loopback(api.bind))),
        ..SandboxConfig::default()
    };
    // Its own port, if that is free: links into it then outlive a restart.
    let sandbox = match sandbox::start(config(SANDBOX_BIND)) {
        Err(StartError::Bind { .. }) => sandbox::start(config(ANY_LOOPBACK)),
        started => started,
    };
    // All else is checked: only the redirect URI is left to be judged by TikTok's rules.
    let sandbox = sandbox.map_err(|error| match error {
        StartError::Invalid(problem) => anyhow::Error::from(SettingsError::Wrong {
            variable: PUBLIC_URL,
            problem: format!("{problem}; set it to `http://localhost:{}`, or use your own app", api.bind.port()),
        }),
        other => other.into(),
    })?;
    let base = Url::parse(&sandbox.base_url()).context("the sandbox's address")?;
    tiktok.auth_url = base.clone();
    tiktok.api_url = base;
    Ok(sandbox)
}

/// The key of the first start, as long as it works; else a new one, of the same project: others may call theirs the same.
async fn api_key(store: &Store, home: &Home) -> anyhow::Result<ApiKey> {
    if let Some(key) = home.api_key()?
        && let Some(known) = store.active_key(&key.hash()).await?
    {
        home.keep_project(known.project)?;
        return Ok(key);
    }
    let key = ApiKey::generate();
    let project = match home.project()? {
        // Not one of another database.
        Some(kept) if !store.projects_named(&kept.to_string()).await?.is_empty() => kept,
        _ => store.find_or_add_shells_project(PROJECT).await?,
    };
    let new = NewKey { hash: &key.hash(), prefix: key.prefix(), scopes: None, expires_at: None };
    store.add_limited_key(project, &new).await?;
    home.keep_project(project)?;
    home.keep_api_key(&key)?;
    Ok(key)
}

/// A link to the dashboard for the first owner of the key's project; `None` once it has members.
async fn invitation(store: &Store, key: &ApiKey, settings: &ApiSettings) -> anyhow::Result<Option<SecretString>> {
    let Some(key) = store.active_key(&key.hash()).await? else { return Ok(None) };
    let token = SecretToken::generate();
    let made = store.invite_first_owner(key.project, &token.hash()).await?;
    Ok(made.then(|| SecretString::from(settings.public_url.with_path(&api::invitation_path(&token)))))
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
        // At the same time: the requests under way wait for jobs.
        tokio::join!(self.api.stop(), self.worker.stop());
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
