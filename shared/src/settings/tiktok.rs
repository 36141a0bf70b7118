//! The TikTok app.

use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use url::Url;

use super::SettingsError;
use super::parse::{base_url, duration, given, given_secret, number, or_default, quoted};
use crate::platforms::Scopes;
use crate::platforms::tiktok::PkceMode;

pub(super) const CLIENT_KEY: &str = "TIKTOK_CLIENT_KEY";
pub(super) const CLIENT_SECRET: &str = "TIKTOK_CLIENT_SECRET";
const PKCE: &str = "TIKTOK_PKCE";
const SCOPES: &str = "TIKTOK_SCOPES";
const AUTH_URL: &str = "TIKTOK_AUTH_URL";
const API_URL: &str = "TIKTOK_API_URL";
pub(super) const RATE: &str = "TIKTOK_RATE_PER_MINUTE";
pub(super) const WINDOW: &str = "TIKTOK_RATE_WINDOW";

const DEFAULT_PKCE: &str = "off";
const DEFAULT_SCOPES: &str = "user.info.basic,user.info.profile,user.info.stats,video.list";
const DEFAULT_AUTH_URL: &str = "https://www.tiktok.com";
const DEFAULT_API_URL: &str = "https://open.tiktokapis.com";
pub(super) const DEFAULT_RATE: &str = "600";
pub(super) const DEFAULT_WINDOW: &str = "60s";
pub(super) const MAX_RATE: u32 = 1_000_000;
const MIN_WINDOW: Duration = Duration::from_millis(100);
const MAX_WINDOW: Duration = Duration::from_secs(3600);

/// The TikTok app.
#[derive(Args, Clone)]
#[command(next_help_heading = "TikTok")]
pub struct TikTokArgs {
    /// The TikTok app's client key.
    #[arg(long, value_name = "KEY", env = CLIENT_KEY)]
    pub tiktok_client_key: Option<String>,
    /// The TikTok app's client secret.
    #[arg(long, value_name = "SECRET", env = CLIENT_SECRET, hide_env_values = true)]
    pub tiktok_client_secret: Option<SecretString>,
    /// PKCE: `off`, `hex` (TikTok's desktop apps, the only ones allowed on localhost) or `base64url`.
    #[arg(long, value_name = "MODE", env = PKCE, default_value = DEFAULT_PKCE)]
    pub tiktok_pkce: String,
    /// What creators are asked to grant, separated by commas.
    #[arg(long, value_name = "SCOPES", env = SCOPES, default_value = DEFAULT_SCOPES)]
    pub tiktok_scopes: String,
    /// Base of TikTok's consent page.
    #[arg(long, value_name = "URL", env = AUTH_URL, default_value = DEFAULT_AUTH_URL)]
    pub tiktok_auth_url: String,
    /// Base of TikTok's API.
    #[arg(long, value_name = "URL", env = API_URL, default_value = DEFAULT_API_URL)]
    pub tiktok_api_url: String,
    /// TikTok's quota for each of its endpoints, for the whole fleet: requests in a window.
    #[arg(long, value_name = "N", env = RATE, default_value = DEFAULT_RATE)]
    pub tiktok_rate_per_minute: String,
    /// Length of the quota's window. TikTok's is a minute; only a sandbox has another.
    #[arg(long, value_name = "TIME", env = WINDOW, default_value = DEFAULT_WINDOW)]
    pub tiktok_rate_window: String,
}

/// The TikTok app.
#[derive(Debug, Clone)]
pub struct TikTokSettings {
    /// The app's public name.
    pub client_key: String,
    /// What proves that it is us.
    pub client_secret: SecretString,
    /// How codes are bound.
    pub pkce: PkceMode,
    /// What creators are asked to grant.
    pub scopes: Scopes,
    /// Base of the consent page.
    pub auth_url: Url,
    /// Base of the API.
    pub api_url: Url,
    /// Requests to one endpoint in one window, for the whole fleet.
    pub rate_per_minute: u32,
    /// The window's length; a minute, but for a sandbox.
    pub rate_window: Duration,
}

/// TikTok's quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaSettings {
    /// The app's public name, if one is set.
    pub client_key: Option<String>,
    /// Requests to one endpoint in one window, for the whole fleet.
    pub rate_per_minute: u32,
    /// The window's length.
    pub rate_window: Duration,
}

impl TikTokArgs {
    /// The app's settings. Key and secret are required.
    pub fn check(&self) -> Result<TikTokSettings, SettingsError> {
        let remedy = "set it as TikTok's developer portal shows it, or try the sandbox with `metriqlab up`";
        let missing = |variable| SettingsError::Missing { variable, remedy };
        let rate_window = rate_window(&self.tiktok_rate_window)?;
        let rate = or_default(&self.tiktok_rate_per_minute, DEFAULT_RATE);
        // What is wrong before what is missing: the way to a working start gets shorter with every message.
        let (pkce, scopes) = (self.pkce()?, self.scopes()?);
        let auth_url = base_url(AUTH_URL, or_default(&self.tiktok_auth_url, DEFAULT_AUTH_URL))?;
        let api_url = base_url(API_URL, or_default(&self.tiktok_api_url, DEFAULT_API_URL))?;
        let rate_per_minute = number(RATE, rate, 1, MAX_RATE)?;
        Ok(TikTokSettings {
            client_key: given(self.tiktok_client_key.as_deref()).ok_or(missing(CLIENT_KEY))?.to_owned(),
            client_secret: given_secret(self.tiktok_client_secret.as_ref()).ok_or(missing(CLIENT_SECRET))?,
            pkce,
            scopes,
            auth_url,
            api_url,
            rate_per_minute,
            rate_window,
        })
    }

    /// The quota, and the app that it is for, if one is set: for who looks at the budget and calls nobody.
    pub fn quota(&self) -> Result<QuotaSettings, SettingsError> {
        let rate = or_default(&self.tiktok_rate_per_minute, DEFAULT_RATE);
        Ok(QuotaSettings {
            client_key: given(self.tiktok_client_key.as_deref()).map(str::to_owned),
            rate_per_minute: number(RATE, rate, 1, MAX_RATE)?,
            rate_window: rate_window(&self.tiktok_rate_window)?,
        })
    }

    /// Whether anything says which app or which TikTok to use; if not, `up` brings its sandbox.
    pub fn is_configured(&self) -> bool {
        given(self.tiktok_client_key.as_deref()).is_some()
            || given_secret(self.tiktok_client_secret.as_ref()).is_some()
            || or_default(&self.tiktok_auth_url, DEFAULT_AUTH_URL) != DEFAULT_AUTH_URL
            || or_default(&self.tiktok_api_url, DEFAULT_API_URL) != DEFAULT_API_URL
    }

    fn pkce(&self) -> Result<PkceMode, SettingsError> {
        let text = or_default(&self.tiktok_pkce, DEFAULT_PKCE);
        text.parse().map_err(|_| {
            SettingsError::wrong(PKCE, format!("{} is not one of `off`, `hex` and `base64url`", quoted(text)))
        })
    }

    fn scopes(&self) -> Result<Scopes, SettingsError> {
        let text = or_default(&self.tiktok_scopes, DEFAULT_SCOPES);
        let scopes = Scopes::parse(text);
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if scopes.iter().next().is_none() || !scopes.iter().all(|name| name.chars().all(good)) {
            let problem = format!("{} is no list of scopes separated by commas", quoted(text));
            return Err(SettingsError::wrong(SCOPES, problem));
        }
        Ok(scopes)
    }
}

/// The window of the quota, or the default for an empty text.
pub(super) fn rate_window(text: &str) -> Result<Duration, SettingsError> {
    let text = or_default(text, DEFAULT_WINDOW);
    let window = duration(WINDOW, text, MAX_WINDOW)?;
    if window < MIN_WINDOW {
        return Err(SettingsError::wrong(WINDOW, format!("{} is too short; at least 100ms", quoted(text))));
    }
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> TikTokArgs {
        TikTokArgs {
            tiktok_client_key: Some("key".into()),
            tiktok_client_secret: Some(SecretString::from("hunter2")),
            tiktok_pkce: String::new(),
            tiktok_scopes: String::new(),
            tiktok_auth_url: String::new(),
            tiktok_api_url: String::new(),
            tiktok_rate_per_minute: String::new(),
            tiktok_rate_window: String::new(),
        }
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let settings = args().check().unwrap();
        assert_eq!(settings.pkce, PkceMode::Off);
        assert_eq!(settings.scopes, Scopes::parse(DEFAULT_SCOPES));
        assert_eq!(settings.auth_url.as_str(), "https://www.tiktok.com/");
        assert_eq!(settings.api_url.as_str(), "https://open.tiktokapis.com/");
        assert_eq!((settings.rate_per_minute, settings.rate_window), (600, Duration::from_secs(60)));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |args: TikTokArgs, variable: &str| {
            let error = args.check().unwrap_err().to_string();
            assert!(error.starts_with(variable), "{error}");
        };
        wrong(TikTokArgs { tiktok_client_key: None, ..args() }, CLIENT_KEY);
        wrong(TikTokArgs { tiktok_client_secret: None, ..args() }, CLIENT_SECRET);
        wrong(TikTokArgs { tiktok_pkce: "S256".into(), ..args() }, PKCE);
        wrong(TikTokArgs { tiktok_scopes: "a b".into(), ..args() }, SCOPES);
        wrong(TikTokArgs { tiktok_scopes: ",".into(), ..args() }, SCOPES);
        wrong(TikTokArgs { tiktok_auth_url: "www.tiktok.com".into(), ..args() }, AUTH_URL);
        wrong(TikTokArgs { tiktok_api_url: "ftp://x".into(), ..args() }, API_URL);
        wrong(TikTokArgs { tiktok_rate_per_minute: "0".into(), ..args() }, RATE);
        wrong(TikTokArgs { tiktok_rate_window: "0s".into(), ..args() }, WINDOW);
    }

    #[test]
    fn half_a_configuration_is_no_sandbox() {
        let nothing = TikTokArgs { tiktok_client_key: None, tiktok_client_secret: None, ..args() };
        assert!(!nothing.is_configured());
        assert!(TikTokArgs { tiktok_client_key: Some("key".into()), ..nothing.clone() }.is_configured());
        assert!(TikTokArgs { tiktok_api_url: "http://127.0.0.1:1".into(), ..nothing }.is_configured());
    }
}
