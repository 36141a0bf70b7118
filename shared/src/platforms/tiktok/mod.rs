//! TikTok: Login Kit (OAuth), the Display API, webhooks. The only place that knows them.
//!
//! What is said here of TikTok's behaviour comes from its documentation and from other clients of it.

mod api;
mod check;
mod errors;
pub mod fields;
mod http;
mod listing;
mod oauth;
mod pkce;
pub mod scopes;
mod types;
mod values;
mod webhook;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use secrecy::SecretString;
use tokio::sync::watch;
use url::Url;

use super::Scopes;
use crate::budget::{self, Budget, BudgetError};
use http::Endpoint;

pub use api::VIDEO_LIST;
pub use check::{AppCheck, AppVerdict, RedirectVerdict};
pub use http::SetupError;
pub use oauth::OAUTH_TURN;
pub use pkce::{Pkce, PkceMode};
pub use webhook::{RemovalReason, WebhookError, WebhookEvent};

/// The endpoints that the budget counts, by the names that it and the metrics have for them.
pub const LIMITED_ENDPOINTS: [&str; 2] = [Endpoint::UserInfo.as_str(), Endpoint::VideoList.as_str()];

/// All that are called, and have a breaker each.
pub const ENDPOINTS: [&str; 4] = [
    Endpoint::OauthToken.as_str(),
    Endpoint::OauthRevoke.as_str(),
    Endpoint::UserInfo.as_str(),
    Endpoint::VideoList.as_str(),
];

/// TikTok documents no limit of its OAuth endpoints. These let a process refresh 36,000 creators an hour, and keep one
/// that went wrong from flooding them.
const OAUTH_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();
const OAUTH_BURST: NonZeroU32 = NonZeroU32::new(50).unwrap();

/// The app, and where TikTok is.
#[derive(Debug, Clone)]
pub struct TikTokSettings {
    /// The app's public name.
    pub client_key: String,
    /// What proves that it is us; also the key of TikTok's signatures.
    pub client_secret: SecretString,
    /// Base of the consent page.
    pub auth_url: Url,
    /// Base of the API.
    pub api_url: Url,
    /// How codes are bound.
    pub pkce: PkceMode,
    /// What creators are asked to grant.
    pub scopes: Scopes,
    /// Where TikTok sends a creator's browser; exactly as it is registered there.
    pub redirect_uri: String,
    /// How long a request may take to the end of its answer. Not longer than the budget's own `request_timeout`, which
    /// counts on it.
    pub request_timeout: Duration,
}

/// TikTok, as one app sees it. Cheap to clone.
#[derive(Clone)]
pub struct TikTok {
    settings: Arc<TikTokSettings>,
    client: reqwest::Client,
    budget: Arc<Budget>,
    oauth_limit: Arc<DefaultDirectRateLimiter>,
}

impl TikTok {
    /// A client of TikTok that spends `budget`. Connects to nothing yet.
    pub fn new(settings: TikTokSettings, budget: Arc<Budget>) -> Result<Self, SetupError> {
        Ok(Self {
            client: http::client(settings.request_timeout)?,
            settings: Arc::new(settings),
            budget,
            oauth_limit: Arc::new(RateLimiter::direct(Quota::per_second(OAUTH_PER_SECOND).allow_burst(OAUTH_BURST))),
        })
    }

    /// A new secret for one consent, if the settings ask for PKCE: keep its verifier until the code comes.
    pub fn pkce(&self) -> Option<Pkce> {
        Pkce::generate(self.settings.pkce)
    }

    /// The app's public name, which its account ids belong to.
    pub fn client_key(&self) -> &str {
        &self.settings.client_key
    }

    /// What TikTok allows of each endpoint.
    pub fn quota(&self) -> budget::Quota {
        self.budget.quota()
    }

    /// What counts the fleet's calls, for who looks at it.
    pub(crate) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }

    /// Whether an outage of TikTok's holds the endpoints that every sync calls, and how long it is until the next look at
    /// them; of several, until the last one is due. `None`: none is held.
    pub async fn outage(&self) -> Result<Option<Duration>, BudgetError> {
        let mut longest = None;
        for endpoint in LIMITED_ENDPOINTS {
            longest = longest.max(self.budget.snapshot(endpoint).await?.probe_in());
        }
        if longest.is_some() {
            // A sync that has to renew its tokens first comes no further than there.
            longest = longest.max(self.budget.snapshot(Endpoint::OauthToken.as_str()).await?.probe_in());
        }
        Ok(longest)
    }

    /// The same, endpoint by endpoint, as far as this process has heard: it changes at once with what its calls meet.
    pub fn heard_of_outage(&self) -> [watch::Receiver<bool>; LIMITED_ENDPOINTS.len()] {
        LIMITED_ENDPOINTS.map(|endpoint| self.budget.heard_of_outage(endpoint))
    }

    /// Reads how the fleet's calls of each endpoint stand, and sets the gauges of it.
    pub(crate) async fn measure(&self) {
        for endpoint in ENDPOINTS {
            self.budget.measure(endpoint, LIMITED_ENDPOINTS.contains(&endpoint)).await;
        }
    }

    /// What creators are asked to grant.
    pub fn scopes(&self) -> &Scopes {
        &self.settings.scopes
    }

    /// Checks and reads a webhook: the value of its header `TikTok-Signature`, its raw `body`, and the time.
    pub fn webhook(&self, signature: &str, body: &[u8], now: DateTime<Utc>) -> Result<WebhookEvent, WebhookError> {
        webhook::read(&self.settings.client_key, &self.settings.client_secret, signature, body, now)
    }

    fn address(&self, endpoint: Endpoint) -> String {
        format!("{}{}", self.settings.api_url.as_str().trim_end_matches('/'), endpoint.path())
    }
}

impl fmt::Debug for TikTok {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TikTok").field("settings", &self.settings).finish_non_exhaustive()
    }
}
