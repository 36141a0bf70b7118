//! The API server.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use url::Url;

use super::SettingsError;
use super::network::Network;
use super::parse::{address, base_url, duration, given, number, or_default, quoted};

const BIND: &str = "METRIQLAB_BIND";
/// Where browsers and TikTok reach the API.
pub const PUBLIC_URL: &str = "METRIQLAB_PUBLIC_URL";
const SYNC_WAIT: &str = "METRIQLAB_SYNC_WAIT";
const API_RATE: &str = "METRIQLAB_API_RATE";
const CORS_ORIGINS: &str = "METRIQLAB_CORS_ORIGINS";
const TRUSTED_PROXIES: &str = "METRIQLAB_TRUSTED_PROXIES";

/// Where the API listens if nothing else is said.
pub const DEFAULT_BIND: &str = "127.0.0.1:8080";
const DEFAULT_SYNC_WAIT: &str = "25s";
const DEFAULT_API_RATE: &str = "600";
/// The contract's longest wait of a client; its own default can't be longer.
const MAX_SYNC_WAIT: Duration = Duration::from_secs(60);
const MAX_API_RATE: u32 = 10_000_000;
/// TikTok takes a redirect URI of less than 512 characters; this leaves room for the path.
const MAX_PUBLIC_URL: usize = 450;

/// The API server.
#[derive(Args, Clone)]
#[command(next_help_heading = "API")]
pub struct ApiArgs {
    /// Where it listens. It has no `default_value`, so that `up` can tell an address that was asked for.
    #[arg(long, value_name = "ADDRESS", env = BIND, help = format!("Address of the API [default: {DEFAULT_BIND}]"))]
    pub bind: Option<String>,
    /// Where browsers reach the API; base of the redirect URI [default: `http://` and the address;
    /// `localhost` for one of all addresses].
    #[arg(long, value_name = "URL", env = PUBLIC_URL)]
    pub public_url: Option<String>,
    /// How long a sync or a disconnect waits for its job; at most 60s.
    #[arg(long, value_name = "TIME", env = SYNC_WAIT, default_value = DEFAULT_SYNC_WAIT)]
    pub sync_wait: String,
    /// Requests per minute, key and API process; 0 turns the limit off.
    #[arg(long, value_name = "N", env = API_RATE, default_value = DEFAULT_API_RATE)]
    pub api_rate: String,
    /// Origins that may call the API from a browser, separated by commas [default: none].
    #[arg(long, value_name = "ORIGINS", env = CORS_ORIGINS)]
    pub cors_origins: Option<String>,
    /// Addresses and networks of proxies in front, separated by commas, whose `X-Forwarded-For` is believed: the limits of
    /// who shows no good key, and of sign-ins, count by what it says [default: none].
    #[arg(long, value_name = "NETWORKS", env = TRUSTED_PROXIES)]
    pub trusted_proxies: Option<String>,
}

/// The API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Where browsers reach it.
    pub public_url: PublicUrl,
    /// How long a sync or a disconnect waits for its job, unless the client says otherwise.
    pub sync_wait: Duration,
    /// Requests per minute of one key at this process; 0 for no limit.
    pub rate_per_minute: u32,
    /// Origins (`https://app.example.com`) that browsers may call from.
    pub cors_origins: Vec<String>,
    /// Proxies that are believed about whom they speak for.
    pub trusted_proxies: Vec<Network>,
}

impl ApiArgs {
    /// The API's settings.
    pub fn check(&self) -> Result<ApiSettings, SettingsError> {
        let bind = address(BIND, given(self.bind.as_deref()).unwrap_or(DEFAULT_BIND))?;
        Ok(ApiSettings {
            bind,
            public_url: self.public_url(bind)?,
            sync_wait: duration(SYNC_WAIT, or_default(&self.sync_wait, DEFAULT_SYNC_WAIT), MAX_SYNC_WAIT)?,
            rate_per_minute: number(API_RATE, or_default(&self.api_rate, DEFAULT_API_RATE), 0, MAX_API_RATE)?,
            cors_origins: self.cors_origins()?,
            trusted_proxies: self.trusted_proxies()?,
        })
    }

    /// Whether somebody asked for an address.
    pub fn has_bind(&self) -> bool {
        given(self.bind.as_deref()).is_some()
    }

    /// Whether somebody said where browsers reach the API.
    pub fn has_public_url(&self) -> bool {
        given(self.public_url.as_deref()).is_some()
    }

    fn public_url(&self, bind: SocketAddr) -> Result<PublicUrl, SettingsError> {
        let default = default_public_url(bind);
        let text = given(self.public_url.as_deref()).unwrap_or(&default);
        if text.len() > MAX_PUBLIC_URL {
            return Err(SettingsError::wrong(PUBLIC_URL, format!("longer than {MAX_PUBLIC_URL} characters")));
        }
        base_url(PUBLIC_URL, text).map(PublicUrl)
    }

    fn cors_origins(&self) -> Result<Vec<String>, SettingsError> {
        let list = given(self.cors_origins.as_deref()).unwrap_or_default();
        list.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(origin).collect()
    }

    fn trusted_proxies(&self) -> Result<Vec<Network>, SettingsError> {
        let list = given(self.trusted_proxies.as_deref()).unwrap_or_default();
        let read = |text: &str| {
            let wrong = |error| SettingsError::wrong(TRUSTED_PROXIES, format!("{} is {error}", quoted(text)));
            text.parse::<Network>().map_err(wrong)
        };
        list.split(',').map(str::trim).filter(|network| !network.is_empty()).map(read).collect()
    }
}

/// `http://` and the address; one that stands for all of the machine's addresses is none that a browser goes to.
fn default_public_url(bind: SocketAddr) -> String {
    if bind.ip().is_unspecified() { format!("http://localhost:{}", bind.port()) } else { format!("http://{bind}") }
}

/// An origin as a browser sends it (RFC 6454): scheme, host and port, nothing after them.
fn origin(text: &str) -> Result<String, SettingsError> {
    let url = base_url(CORS_ORIGINS, text)?;
    if url.path() != "/" || text.ends_with('/') {
        let problem = format!("{} has a path; an origin is like `https://app.example.com`", quoted(text));
        return Err(SettingsError::wrong(CORS_ORIGINS, problem));
    }
    Ok(url.origin().ascii_serialization())
}

/// Where browsers reach the API: `http` or `https`, no query and no fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// The URL of `path`, which begins with a slash, under this one.
    pub fn with_path(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Scheme, host and port, as a browser writes an origin.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

/// Without a slash at its end.
impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ApiArgs {
        ApiArgs {
            bind: None,
            public_url: None,
            sync_wait: String::new(),
            api_rate: String::new(),
            cors_origins: None,
            trusted_proxies: None,
        }
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let settings = args().check().unwrap();
        assert_eq!(settings.bind.to_string(), "127.0.0.1:8080");
        assert_eq!(
            settings.public_url.with_path("/oauth/tiktok/callback"),
            "http://127.0.0.1:8080/oauth/tiktok/callback"
        );
        assert_eq!(settings.sync_wait, Duration::from_secs(25));
        assert_eq!(settings.rate_per_minute, 600);
        assert!(settings.cors_origins.is_empty() && settings.trusted_proxies.is_empty());
    }

    #[test]
    fn the_public_url_follows_the_address_and_keeps_its_path() {
        let other = ApiArgs { bind: Some("[::1]:9000".into()), ..args() };
        assert_eq!(other.check().unwrap().public_url.to_string(), "http://[::1]:9000");
        let everywhere = ApiArgs { bind: Some("0.0.0.0:9000".into()), ..args() };
        assert_eq!(everywhere.check().unwrap().public_url.to_string(), "http://localhost:9000");
        let behind = ApiArgs { public_url: Some("https://example.com/metriq/".into()), ..args() };
        let url = behind.check().unwrap().public_url;
        assert_eq!(url.with_path("/a"), "https://example.com/metriq/a");
        assert_eq!(url.origin(), "https://example.com");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |args: ApiArgs, variable: &str| {
            let error = args.check().unwrap_err().to_string();
            assert!(error.starts_with(variable), "{error}");
        };
        wrong(ApiArgs { bind: Some("8080".into()), ..args() }, BIND);
        wrong(ApiArgs { public_url: Some("example.com".into()), ..args() }, PUBLIC_URL);
        wrong(ApiArgs { public_url: Some("https://example.com?a=b".into()), ..args() }, PUBLIC_URL);
        wrong(ApiArgs { sync_wait: "61s".into(), ..args() }, SYNC_WAIT);
        wrong(ApiArgs { api_rate: "-1".into(), ..args() }, API_RATE);
        wrong(ApiArgs { cors_origins: Some("*".into()), ..args() }, CORS_ORIGINS);
        wrong(ApiArgs { cors_origins: Some("https://a.example/path".into()), ..args() }, CORS_ORIGINS);
        wrong(ApiArgs { trusted_proxies: Some("10.0.0.1,proxy".into()), ..args() }, TRUSTED_PROXIES);
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        let given = ApiArgs { trusted_proxies: Some("10.0.0.0/8, ::1,".into()), ..args() };
        assert_eq!(given.check().unwrap().trusted_proxies.len(), 2);
    }

    #[test]
    fn origins_are_written_as_browsers_do() {
        let given =
            ApiArgs { cors_origins: Some("https://App.Example.com:443, http://localhost:3000".into()), ..args() };
        assert_eq!(given.check().unwrap().cors_origins, ["https://app.example.com", "http://localhost:3000"]);
    }
}
