//! The settings, each section checked by itself. Where `up` has run in this folder, what it has kept stands for what is
//! not set.

use std::path::Path;

use ::metriqlab::up::{FOLDER, Kept};
use secrecy::{ExposeSecret as _, SecretString};
use shared::budget::Quota;
use shared::crypto::KeyRing;
use shared::queue::Queue;
use shared::settings::{
    ApiSettings, DatabaseSettings, RedisSettings, SANDBOX_CLIENT_KEY, SANDBOX_CLIENT_SECRET, SettingsError,
    TikTokSettings,
};
use shared::store::Store;
use url::Url;

use super::Args;
use super::report::Check;

const NAME: &str = "settings";
/// One that is watched, and those that are held meanwhile; and one for every other question.
const CONNECTIONS: usize = 6;

/// What the rest of the checks look at; `None` where the setting is wrong.
pub(super) struct Settings {
    pub(super) database: Option<DatabaseSettings>,
    pub(super) redis: Option<RedisSettings>,
    pub(super) keyring: Option<KeyRing>,
    pub(super) api: Option<ApiSettings>,
    pub(super) tiktok: Option<TikTokSettings>,
    /// Whether somebody said where browsers reach the API.
    pub(super) has_public_url: bool,
    /// Whether the TikTok is `up`'s sandbox.
    pub(super) is_sandbox: bool,
    /// Whether something came from the folder.
    is_kept: bool,
}

impl Settings {
    /// Reads them all, and says what is wrong.
    pub(super) fn gather(mut args: Args) -> (Self, Vec<Check>) {
        let mut wrong = Vec::new();
        let kept = Kept::read(Path::new(FOLDER)).unwrap_or_else(|error| {
            wrong.push(Check::fail(NAME, error.to_string(), "run this as the user who runs `metriqlab up`"));
            Kept::default()
        });
        let is_sandbox = !args.tiktok.is_configured() && kept.sandbox_url.is_some();
        let is_kept = fill(&mut args, kept);
        let mut take = Taker(&mut wrong);
        let settings = Self {
            database: take.take(args.database.require()),
            redis: take.take(args.redis.require()),
            keyring: take.take(args.encryption.require()),
            api: take.take(args.api.check()),
            tiktok: take.take(args.tiktok.check()),
            has_public_url: args.api.has_public_url(),
            is_sandbox,
            is_kept,
        };
        if let Some(Err(error)) = settings.database.as_ref().map(|database| Store::open(&database.url, 1)) {
            wrong.push(Check::fail(NAME, error.to_string(), "correct DATABASE_URL"));
        }
        (settings, wrong)
    }

    /// That all are right.
    pub(super) fn summary(&self) -> Check {
        let kept = if self.is_kept { format!(", those that are not set from {FOLDER}/") } else { String::new() };
        Check::ok(NAME, format!("complete{kept}"))
    }

    pub(super) fn store(&self) -> Option<Store> {
        self.database.as_ref().and_then(|database| Store::open(&database.url, CONNECTIONS).ok())
    }

    /// The quota that this process was told. Beside `up` it may have been told another one than `up` was.
    pub(super) fn told_quota(&self) -> Option<Quota> {
        let tiktok = self.tiktok.as_ref().filter(|_| !self.is_kept)?;
        Some(Quota { requests: tiktok.rate_per_minute, window: tiktok.rate_window })
    }

    pub(super) fn queue(&self) -> Option<Queue> {
        let redis = self.redis.as_ref()?;
        Queue::connect(redis.url.expose_secret(), &redis.prefix).ok()
    }
}

/// Puts what `up` has kept where nothing is set; whether there was anything.
fn fill(args: &mut Args, kept: Kept) -> bool {
    let mut is_kept = false;
    let mut fill = |setting: &mut Option<SecretString>, kept: Option<SecretString>| {
        if setting.as_ref().is_none_or(|text| text.expose_secret().trim().is_empty()) && kept.is_some() {
            *setting = kept;
            is_kept = true;
        }
    };
    fill(&mut args.database.database_url, kept.database_url);
    fill(&mut args.redis.redis_url, kept.redis_url);
    fill(&mut args.encryption.encryption_key, kept.encryption_key);
    if let (false, Some(sandbox)) = (args.tiktok.is_configured(), kept.sandbox_url) {
        args.tiktok.tiktok_client_key = Some(SANDBOX_CLIENT_KEY.into());
        args.tiktok.tiktok_client_secret = Some(SecretString::from(SANDBOX_CLIENT_SECRET));
        args.tiktok.tiktok_auth_url.clone_from(&sandbox);
        args.tiktok.tiktok_api_url = sandbox;
    }
    let address = kept.api_url.and_then(|url| Url::parse(&url).ok()).and_then(|url| url.socket_addrs(|| None).ok());
    if let (false, false, Some([address, ..])) = (args.api.has_bind(), args.api.has_public_url(), address.as_deref()) {
        args.api.bind = Some(address.to_string());
    }
    is_kept
}

struct Taker<'a>(&'a mut Vec<Check>);

impl Taker<'_> {
    fn take<T>(&mut self, checked: Result<T, SettingsError>) -> Option<T> {
        checked
            .map_err(|error| {
                self.0.push(match error {
                    SettingsError::Missing { variable, remedy } => {
                        Check::fail(NAME, format!("{variable} is not set"), remedy)
                    }
                    // It says what would be right, too.
                    wrong => Check::fail(NAME, wrong.to_string(), "correct it; see `metriqlab doctor --help`"),
                });
            })
            .ok()
    }
}
