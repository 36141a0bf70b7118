//! What the sandbox is started with.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::StartError;

/// How TikTok registers the app: it decides the rules for redirect URIs and PKCE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppProfile {
    /// `https` redirect URIs; PKCE is optional, hex or base64url.
    Web,
    /// Loopback redirect URIs with a port, which may be `*`; PKCE in lowercase hex is required.
    Desktop,
}

/// How long an answer takes. A random part of it passes before the request counts against the rate limit, as on a
/// real network, where a request arrives some time after it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, tag = "profile")]
pub enum Latency {
    /// Answers at once.
    None,
    /// Evenly spread between the two.
    Between {
        /// Milliseconds.
        min_ms: u64,
        /// Milliseconds, at least `min_ms`.
        max_ms: u64,
    },
    /// 10–60 ms, and one answer in a hundred up to 2 s.
    Tail,
}

/// The settings of one sandbox. `SandboxConfig::default()` is a web app on a free loopback port that accepts any
/// loopback redirect URI.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Address to listen on; port 0 takes a free one.
    pub bind: String,
    /// Base of the URLs of images, without a trailing slash; the bound address if absent.
    pub public_url: Option<String>,
    /// The app's public name at TikTok.
    pub client_key: String,
    /// The app's secret: it authenticates the token calls, signs webhooks and seals the sandbox's own tokens.
    pub client_secret: String,
    /// Redirect URIs registered for the app, compared exactly. Of a desktop app the port may be `*`.
    pub redirect_uris: Vec<String>,
    /// Accepts any `http` URI on `localhost`, `127.0.0.1` or `[::1]` too, whatever the profile: TikTok never does, but the
    /// port of a local server is often not known before.
    pub any_loopback_redirect: bool,
    /// Web or desktop app.
    pub app_profile: AppProfile,
    /// The demo creators are a function of it.
    pub seed: u64,
    /// How many demo creators there are. They cost no memory.
    pub demo_creators: u32,
    /// Requests let through per endpoint and window; 0 turns the limit off.
    pub rate_limit: u32,
    /// Length of the sliding window.
    pub rate_window: Duration,
    /// How long answers take.
    pub latency: Latency,
    /// Where webhooks are sent, if anywhere.
    pub webhook_url: Option<String>,
    /// Whether `/control/…` exists (for loopback callers only).
    pub control: bool,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:0".to_owned(),
            public_url: None,
            client_key: "sandbox-client-key".to_owned(),
            client_secret: "sandbox-client-secret".to_owned(),
            redirect_uris: Vec::new(),
            any_loopback_redirect: true,
            app_profile: AppProfile::Web,
            seed: 1,
            demo_creators: 24,
            rate_limit: 600,
            rate_window: Duration::from_secs(60),
            latency: Latency::None,
            webhook_url: None,
            control: true,
        }
    }
}

impl SandboxConfig {
    /// Refuses what TikTok's portal would refuse to register.
    pub(crate) fn validate(&self) -> Result<(), StartError> {
        if self.client_key.is_empty() || self.client_secret.is_empty() {
            return Err(StartError::Invalid("client_key and client_secret must not be empty".to_owned()));
        }
        if self.rate_window.is_zero() {
            return Err(StartError::Invalid("rate_window must not be zero".to_owned()));
        }
        if self.redirect_uris.len() > 10 {
            return Err(StartError::Invalid("an app has at most 10 redirect URIs".to_owned()));
        }
        for uri in &self.redirect_uris {
            let loopback_allowed = self.any_loopback_redirect && is_local_uri(uri);
            if !loopback_allowed && !may_be_registered(self.app_profile, uri) {
                let rule = match self.app_profile {
                    AppProfile::Web => {
                        "of a web app it is https, on a host of its own, without query and fragment (here http://localhost will do, too)"
                    }
                    AppProfile::Desktop => "of a desktop app it is on localhost or 127.0.0.1, with a port",
                };
                return Err(StartError::Invalid(format!("TikTok takes no redirect URI like {uri:?}: {rule}")));
            }
        }
        Ok(())
    }

    /// Whether the authorize page accepts this `redirect_uri`: exactly one of the list, the port aside where `*`
    /// stands for it.
    pub(crate) fn accepts_redirect(&self, uri: &str) -> bool {
        if self.any_loopback_redirect && is_local_uri(uri) {
            return true;
        }
        self.redirect_uris.iter().any(|registered| {
            registered == uri || (self.app_profile == AppProfile::Desktop && matches_wildcard(registered, uri))
        })
    }
}

/// An absolute `http(s)` URI without query and fragment, shorter than 512 characters.
fn plain_uri(uri: &str) -> Option<Url> {
    let url = Url::parse(uri).ok()?;
    let plain = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && uri.len() < 512
        && matches!(url.scheme(), "http" | "https");
    plain.then_some(url)
}

fn is_loopback_uri(uri: &str) -> bool {
    plain_uri(uri).is_some_and(|url| matches!(url.host_str(), Some("localhost" | "127.0.0.1")))
}

/// On this machine, by any of its names.
fn is_local_uri(uri: &str) -> bool {
    is_loopback_uri(uri) || plain_uri(uri).is_some_and(|url| url.host_str() == Some("[::1]"))
}

/// The portal's rules (reference: Login Kit for Web, for Desktop).
fn may_be_registered(profile: AppProfile, uri: &str) -> bool {
    match profile {
        AppProfile::Web => plain_uri(uri)
            .is_some_and(|url| url.scheme() == "https" && !matches!(url.host_str(), Some("localhost" | "127.0.0.1"))),
        AppProfile::Desktop => {
            let with_port = uri.replacen(":*", ":1", 1);
            is_loopback_uri(&with_port) && plain_uri(&with_port).is_some_and(|url| url.port().is_some())
        }
    }
}

fn matches_wildcard(registered: &str, uri: &str) -> bool {
    let Some((before, after)) = registered.split_once(":*") else { return false };
    let Some(rest) = uri.strip_prefix(before).and_then(|rest| rest.strip_prefix(':')) else { return false };
    let Some(port) = rest.strip_suffix(after) else { return false };
    port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desktop(uris: &[&str]) -> SandboxConfig {
        SandboxConfig {
            app_profile: AppProfile::Desktop,
            any_loopback_redirect: false,
            redirect_uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
            ..SandboxConfig::default()
        }
    }

    #[test]
    fn a_wildcard_stands_for_a_port_and_nothing_else() {
        let config = desktop(&["http://127.0.0.1:*/callback/"]);
        assert!(config.validate().is_ok());
        assert!(config.accepts_redirect("http://127.0.0.1:4000/callback/"));
        for refused in [
            "http://127.0.0.1:4000/callback",
            "http://127.0.0.1:/callback/",
            "http://127.0.0.1:70000/callback/",
            "http://127.0.0.1:4000/evil/callback/",
            "http://localhost:4000/callback/",
        ] {
            assert!(!config.accepts_redirect(refused), "{refused}");
        }
    }

    #[test]
    fn the_portal_s_rules_hold() {
        let web = |uri: &str| SandboxConfig {
            any_loopback_redirect: false,
            redirect_uris: vec![uri.to_owned()],
            ..SandboxConfig::default()
        };
        assert!(web("https://app.example/cb").validate().is_ok());
        for refused in [
            "http://app.example/cb",
            "https://app.example/cb?x=1",
            "https://a.example/#f",
            "/cb",
            "https://localhost/cb",
        ] {
            assert!(web(refused).validate().is_err(), "{refused}");
        }
        for refused in
            ["http://127.0.0.1/cb", "http://[::1]:80/cb", "http://app.example:80/cb", "https://app.example/cb"]
        {
            assert!(desktop(&[refused]).validate().is_err(), "{refused}");
        }
    }

    #[test]
    fn any_loopback_redirect_is_still_a_plain_uri() {
        let config = SandboxConfig::default();
        assert!(config.accepts_redirect("http://127.0.0.1:8080/oauth/tiktok/callback"));
        assert!(config.accepts_redirect("http://[::1]:8080/oauth/tiktok/callback"));
        assert!(!config.accepts_redirect("http://127.0.0.1:8080/cb?next=1"));
        assert!(!config.accepts_redirect("https://app.example/cb"));
    }
}
