//! The stand-in for TikTok.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use strum::EnumString;

use super::SettingsError;
use super::parse::{address, base_url, given, given_secret, number, or_default, quoted};
use super::tiktok::{CLIENT_KEY, CLIENT_SECRET, DEFAULT_RATE, DEFAULT_WINDOW, MAX_RATE, RATE, WINDOW, rate_window};

const BIND: &str = "METRIQLAB_SANDBOX_BIND";
const PUBLIC_URL: &str = "METRIQLAB_SANDBOX_PUBLIC_URL";
/// The redirect URIs: only the sandbox itself knows which of them TikTok's portal would take.
pub const SANDBOX_REDIRECT_URIS: &str = "METRIQLAB_SANDBOX_REDIRECT_URIS";
const APP: &str = "METRIQLAB_SANDBOX_APP";
const SEED: &str = "METRIQLAB_SANDBOX_SEED";
const CREATORS: &str = "METRIQLAB_SANDBOX_CREATORS";
const LATENCY: &str = "METRIQLAB_SANDBOX_LATENCY";
const WEBHOOK_URL: &str = "METRIQLAB_SANDBOX_WEBHOOK_URL";
const CONTROL: &str = "METRIQLAB_SANDBOX_CONTROL";

/// Where the sandbox listens if nothing else is said; `up`'s, too.
pub const SANDBOX_BIND: &str = "127.0.0.1:8090";
/// The sandbox's app, if nothing else is said.
pub const SANDBOX_CLIENT_KEY: &str = "sandbox-client-key";
/// Its secret: it guards demo creators.
pub const SANDBOX_CLIENT_SECRET: &str = "sandbox-client-secret";

const DEFAULT_APP: &str = "web";
const DEFAULT_SEED: &str = "1";
const DEFAULT_CREATORS: &str = "24";
const DEFAULT_LATENCY: &str = "none";

/// The stand-in for TikTok.
#[derive(Args, Clone)]
pub struct SandboxArgs {
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", env = BIND, default_value = SANDBOX_BIND)]
    pub bind: String,
    /// Where browsers reach it; its pictures stand there [default: the address it listens on].
    #[arg(long, value_name = "URL", env = PUBLIC_URL)]
    pub public_url: Option<String>,
    /// The app's client key.
    #[arg(long, value_name = "KEY", env = CLIENT_KEY, default_value = SANDBOX_CLIENT_KEY)]
    pub tiktok_client_key: String,
    /// The app's client secret [default: sandbox-client-secret].
    #[arg(long, value_name = "SECRET", env = CLIENT_SECRET, hide_env_values = true)]
    pub tiktok_client_secret: Option<SecretString>,
    /// Redirect URIs registered for the app, separated by commas; those on loopback are always accepted [default: none].
    #[arg(long, value_name = "URIS", env = SANDBOX_REDIRECT_URIS)]
    pub redirect_uris: Option<String>,
    /// How the app is registered, `web` or `desktop`: it decides the rules for PKCE.
    #[arg(long, value_name = "PROFILE", env = APP, default_value = DEFAULT_APP)]
    pub app: String,
    /// The demo creators are a function of this number.
    #[arg(long, value_name = "N", env = SEED, default_value = DEFAULT_SEED)]
    pub seed: String,
    /// How many demo creators there are.
    #[arg(long, value_name = "N", env = CREATORS, default_value = DEFAULT_CREATORS)]
    pub creators: String,
    /// Requests let through per endpoint and window; 0 turns the limit off.
    #[arg(long, value_name = "N", env = RATE, default_value = DEFAULT_RATE)]
    pub tiktok_rate_per_minute: String,
    /// Length of that window.
    #[arg(long, value_name = "TIME", env = WINDOW, default_value = DEFAULT_WINDOW)]
    pub tiktok_rate_window: String,
    /// How long answers take: `none`, or `tail`, which is 10–60 ms, and up to 2 s for one in a hundred.
    #[arg(long, value_name = "LATENCY", env = LATENCY, default_value = DEFAULT_LATENCY)]
    pub latency: String,
    /// Where webhooks are sent [default: nowhere].
    #[arg(long, value_name = "URL", env = WEBHOOK_URL)]
    pub webhook_url: Option<String>,
    /// Serves `/control/…`, by which tests change its creators and make it fail, to callers on loopback [default: off].
    #[arg(long, value_name = "on|off", env = CONTROL, num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub control: Option<String>,
}

/// How the app is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum SandboxApp {
    /// A web app.
    Web,
    /// A desktop app: PKCE in hex is required.
    Desktop,
}

/// How long answers take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum SandboxLatency {
    /// They come at once.
    None,
    /// As over a network.
    Tail,
}

/// The stand-in for TikTok.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Where browsers reach it, if elsewhere: no slash at its end.
    pub public_url: Option<String>,
    /// The app's public name.
    pub client_key: String,
    /// The app's secret.
    pub client_secret: SecretString,
    /// As they were given.
    pub redirect_uris: Vec<String>,
    /// How the app is registered.
    pub app: SandboxApp,
    /// What the demo creators are a function of.
    pub seed: u64,
    /// How many there are.
    pub creators: u32,
    /// Requests let through per endpoint and window; 0 for no limit.
    pub rate_limit: u32,
    /// The window's length.
    pub rate_window: Duration,
    /// How long answers take.
    pub latency: SandboxLatency,
    /// Where webhooks are sent, if anywhere.
    pub webhook_url: Option<String>,
    /// Whether tests may change it.
    pub control: bool,
}

impl SandboxArgs {
    /// The sandbox's settings.
    pub fn check(&self) -> Result<SandboxSettings, SettingsError> {
        let webhook_url = given(self.webhook_url.as_deref());
        webhook_url.map(|url| base_url(WEBHOOK_URL, url)).transpose()?;
        let public_url = given(self.public_url.as_deref()).map(|url| base_url(PUBLIC_URL, url)).transpose()?;
        let redirect_uris = given(self.redirect_uris.as_deref()).unwrap_or_default().split(',');
        Ok(SandboxSettings {
            bind: address(BIND, or_default(&self.bind, SANDBOX_BIND))?,
            public_url: public_url.map(|url| url.as_str().trim_end_matches('/').to_owned()),
            client_key: or_default(&self.tiktok_client_key, SANDBOX_CLIENT_KEY).to_owned(),
            client_secret: given_secret(self.tiktok_client_secret.as_ref())
                .unwrap_or_else(|| SecretString::from(SANDBOX_CLIENT_SECRET)),
            redirect_uris: redirect_uris.map(str::trim).filter(|uri| !uri.is_empty()).map(str::to_owned).collect(),
            app: word(APP, or_default(&self.app, DEFAULT_APP), "`web` and `desktop`")?,
            seed: number(SEED, or_default(&self.seed, DEFAULT_SEED), 0, u64::MAX)?,
            creators: number(CREATORS, or_default(&self.creators, DEFAULT_CREATORS), 0, u32::MAX)?,
            rate_limit: number(RATE, or_default(&self.tiktok_rate_per_minute, DEFAULT_RATE), 0, MAX_RATE)?,
            rate_window: rate_window(&self.tiktok_rate_window)?,
            latency: word(LATENCY, or_default(&self.latency, DEFAULT_LATENCY), "`none` and `tail`")?,
            webhook_url: webhook_url.map(str::to_owned),
            control: self.control()?,
        })
    }

    fn control(&self) -> Result<bool, SettingsError> {
        match given(self.control.as_deref()).unwrap_or("off") {
            "on" | "true" | "1" => Ok(true),
            "off" | "false" | "0" => Ok(false),
            other => Err(SettingsError::wrong(CONTROL, format!("{} is not one of `on` and `off`", quoted(other)))),
        }
    }
}

fn word<T: std::str::FromStr>(variable: &'static str, text: &str, words: &str) -> Result<T, SettingsError> {
    text.parse().map_err(|_| SettingsError::wrong(variable, format!("{} is not one of {words}", quoted(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_absent() {
        let empty = String::new;
        let args = SandboxArgs {
            bind: empty(),
            public_url: Some(empty()),
            tiktok_client_key: empty(),
            tiktok_client_secret: Some(SecretString::from("")),
            redirect_uris: Some(" , ".into()),
            app: empty(),
            seed: empty(),
            creators: empty(),
            tiktok_rate_per_minute: empty(),
            tiktok_rate_window: empty(),
            latency: empty(),
            webhook_url: Some(empty()),
            control: Some(empty()),
        };
        let settings = args.check().unwrap();
        assert_eq!(
            (settings.bind.to_string().as_str(), settings.client_key.as_str()),
            (SANDBOX_BIND, SANDBOX_CLIENT_KEY)
        );
        assert_eq!((settings.app, settings.latency), (SandboxApp::Web, SandboxLatency::None));
        assert_eq!((settings.seed, settings.creators, settings.rate_limit), (1, 24, 600));
        assert_eq!((settings.rate_window, settings.control), (Duration::from_secs(60), false));
        assert!(settings.redirect_uris.is_empty() && settings.webhook_url.is_none() && settings.public_url.is_none());
    }
}
