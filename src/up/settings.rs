//! What `up` is told, and what it decides where it is told nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context as _;
use secrecy::SecretString;
use shared::crypto::KeyRing;
use shared::settings::{
    ApiArgs, ApiSettings, DEFAULT_BIND, DatabaseArgs, DatabaseSettings, EncryptionArgs, RedisArgs, RedisSettings,
    SANDBOX_CLIENT_KEY, SANDBOX_CLIENT_SECRET, SettingsError, ShutdownArgs, TikTokArgs, TikTokSettings, WorkerArgs,
    WorkerSettings,
};

/// How many ports after the default one are tried when that is taken.
const OTHER_PORTS: u16 = 50;
/// Who presses ctrl-C waits for nobody: what runs is given back, and goes on at the next start.
const LONGEST_GRACE: Duration = Duration::from_secs(3);

/// The settings of `metriqlab up`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    tiktok: TikTokArgs,
    #[command(flatten)]
    shutdown: ShutdownArgs,
}

/// What is to be started, all of it checked.
pub(super) struct Plan {
    /// The Postgres to use instead of a private one.
    pub(super) database: Option<DatabaseSettings>,
    /// The Redis to use instead of a private one.
    pub(super) redis: Option<RedisSettings>,
    /// Its prefix, whichever Redis it is.
    pub(super) redis_prefix: String,
    /// The keys to use instead of the folder's.
    pub(super) encryption: Option<KeyRing>,
    /// Good, and still without the port that it gets if none was asked for.
    pub(super) api: ApiArgs,
    pub(super) worker: WorkerSettings,
    /// The app; the sandbox's, with addresses that it is given when it runs, if `sandbox` says so.
    pub(super) tiktok: TikTokSettings,
    pub(super) sandbox: bool,
    pub(super) grace: Duration,
}

impl Args {
    /// Checks everything, and decides whether there is a sandbox. Touches nothing yet.
    pub(super) fn check(mut self) -> Result<Plan, SettingsError> {
        let sandbox = !self.tiktok.is_configured();
        if sandbox {
            self.tiktok.tiktok_client_key = Some(SANDBOX_CLIENT_KEY.into());
            self.tiktok.tiktok_client_secret = Some(SecretString::from(SANDBOX_CLIENT_SECRET));
        }
        self.api.check()?;
        Ok(Plan {
            database: self.database.check()?,
            redis: self.redis.check()?,
            redis_prefix: self.redis.prefix()?,
            encryption: self.encryption.check()?,
            api: self.api,
            worker: self.worker.check()?,
            tiktok: self.tiktok.check()?,
            sandbox,
            grace: self.shutdown.check()?.min(LONGEST_GRACE),
        })
    }
}

/// Where the API listens.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    /// The API's settings, with the address that it has got.
    pub(super) settings: ApiSettings,
    /// Whether the default address was taken.
    moved: bool,
}

impl Door {
    /// Says so if it is not where it is looked for.
    pub(super) fn warn(&self) {
        if self.moved {
            tracing::warn!("another program listens on {DEFAULT_BIND}: this one takes {}", self.settings.bind);
        }
    }
}

/// Listens for the API. Before anything else starts: the redirect URI needs the port's number, and nobody can take the port
/// in between. Only who has asked for no address gets another one than the default: a public URL leads to that, too.
pub(super) fn listen_for(args: &ApiArgs) -> anyhow::Result<Door> {
    let mut args = args.clone();
    let default: SocketAddr = DEFAULT_BIND.parse()?;
    let fixed = args.has_bind() || args.has_public_url();
    let listener = if fixed { listen(args.check()?.bind)? } else { listen_near(default)? };
    let address = listener.local_addr()?;
    args.bind = Some(address.to_string());
    Ok(Door { listener, settings: args.check()?, moved: !fixed && address != default })
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("METRIQLAB_BIND: can't listen on {address}; stop what does, or choose another address")
    })
}

/// On this address, or the next port that is free.
fn listen_near(default: SocketAddr) -> anyhow::Result<TcpListener> {
    let mut ports = default.port()..=default.port().saturating_add(OTHER_PORTS);
    let found = ports.find_map(|port| TcpListener::bind((default.ip(), port)).ok());
    found.with_context(|| format!("no free port from {} on: set METRIQLAB_BIND", default.port()))
}

/// Where a process of this machine reaches what listens on `address`.
pub(super) fn loopback(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(public_url: Option<&str>) -> ApiArgs {
        ApiArgs {
            bind: None,
            public_url: public_url.map(str::to_owned),
            sync_wait: String::new(),
            api_rate: String::new(),
            cors_origins: None,
            trusted_proxies: None,
        }
    }

    #[test]
    fn another_port_is_only_for_who_named_none() {
        // If this fails, somebody else listens there, which is as good.
        let _taken = TcpListener::bind(DEFAULT_BIND);
        let door = listen_for(&args(None)).unwrap();
        assert!(door.moved && door.settings.public_url.to_string() == format!("http://{}", door.settings.bind));
        assert!(listen_for(&args(Some("https://api.example.com"))).is_err());
    }
}
