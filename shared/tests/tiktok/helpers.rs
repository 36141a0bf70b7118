//! A sandbox, a client of it, and what a creator does in a browser.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sandbox::{Sandbox, SandboxConfig};
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::budget::{Budget, BudgetSettings, UsageLog, UsageLogError};
use shared::platforms::tiktok::{PkceMode, TikTok, TikTokSettings};
use shared::platforms::{AccessToken, Caller, Grant, Next, PlatformError, RefreshToken, Scopes, Video};
use url::Url;
use uuid::Uuid;

pub const ALL: &str = "user.info.basic,user.info.profile,user.info.stats,video.list";
pub const REDIRECT: &str = "http://127.0.0.1:4999/cb";

/// A log that was never used: each test has its own budget.
struct NeverUsed;

impl UsageLog for NeverUsed {
    fn touched<'a>(&'a self, _app: &'a str, _endpoint: &'a str) -> BoxFuture<'a, Result<(), UsageLogError>> {
        futures::future::ready(Ok(())).boxed()
    }

    fn last_used_age<'a>(
        &'a self,
        _app: &'a str,
        _endpoint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Duration>, UsageLogError>> {
        futures::future::ready(Ok(None)).boxed()
    }
}

pub fn budget_at(redis_url: &str, settings: BudgetSettings) -> Arc<Budget> {
    let prefix = format!("test:{}", Uuid::new_v4());
    Arc::new(Budget::new(redis_url, &prefix, "app", settings, NeverUsed).unwrap())
}

pub fn budget(settings: BudgetSettings) -> Arc<Budget> {
    let url = std::env::var("METRIQLAB_TEST_REDIS_URL").expect(
        "METRIQLAB_TEST_REDIS_URL is not set: run the tests with `make test`, which starts the servers they need",
    );
    budget_at(&url, settings)
}

/// A client of the TikTok at `base`, with the sandbox's own key and secret.
pub fn settings_for(base: &str) -> TikTokSettings {
    TikTokSettings {
        client_key: "sandbox-client-key".into(),
        client_secret: SecretString::from("sandbox-client-secret"),
        auth_url: Url::parse(base).unwrap(),
        api_url: Url::parse(base).unwrap(),
        pkce: PkceMode::Off,
        scopes: Scopes::parse(ALL),
        redirect_uri: REDIRECT.into(),
        request_timeout: Duration::from_secs(10),
    }
}

pub fn client(settings: TikTokSettings) -> TikTok {
    TikTok::new(settings, budget(BudgetSettings::per_minute(100_000))).unwrap()
}

pub fn caller() -> Caller {
    Caller::interactive(Some(Duration::from_secs(10)))
}

pub struct Stage {
    pub sandbox: Sandbox,
    pub tiktok: TikTok,
    http: reqwest::Client,
}

impl Stage {
    /// A sandbox without a rate limit.
    pub fn new() -> Self {
        Self::with(SandboxConfig { rate_limit: 0, ..SandboxConfig::default() }, |_| {})
    }

    pub fn with(config: SandboxConfig, change: impl FnOnce(&mut TikTokSettings)) -> Self {
        let sandbox = sandbox::start(config).unwrap();
        let mut settings = settings_for(&sandbox.base_url());
        change(&mut settings);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { sandbox, tiktok: client(settings), http }
    }

    /// The same sandbox, by another client.
    pub fn client(&self, change: impl FnOnce(&mut TikTokSettings)) -> TikTok {
        let mut settings = settings_for(&self.sandbox.base_url());
        change(&mut settings);
        client(settings)
    }

    /// The same sandbox, by a client that spends this budget.
    pub fn client_with(&self, budget: &Arc<Budget>) -> TikTok {
        TikTok::new(settings_for(&self.sandbox.base_url()), Arc::clone(budget)).unwrap()
    }

    pub async fn control(&self, method: &str, path: &str, with: Value) -> Value {
        let url = format!("{}/control{path}", self.sandbox.base_url());
        let mut request = self.http.request(method.parse().unwrap(), url);
        if !with.is_null() {
            request = request.json(&with);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{path}: {answer}");
        answer
    }

    pub async fn fault(&self, fault: Value) {
        self.control("POST", "/faults", fault).await;
    }

    pub async fn clear_faults(&self) {
        self.control("DELETE", "/faults", Value::Null).await;
    }

    pub async fn settings(&self, change: Value) {
        self.control("PATCH", "/settings", change).await;
    }

    /// A creator; its `open_id`.
    pub async fn creator(&self, spec: Value) -> String {
        let made = self.control("POST", "/users", spec).await;
        made["users"][0]["open_id"].as_str().unwrap().to_owned()
    }

    /// A code, as if `open_id` had consented to `scopes`.
    pub async fn code(&self, open_id: &str, scopes: &str) -> String {
        let scopes: Vec<_> = scopes.split(',').collect();
        let answer = self.control("POST", "/grants", json!({"open_id": open_id, "scopes": scopes})).await;
        answer["code"].as_str().unwrap().to_owned()
    }

    pub async fn grant(&self, open_id: &str, scopes: &str) -> Grant {
        self.tiktok.exchange_code(&self.code(open_id, scopes).await, None).await.unwrap()
    }

    /// A creator with so many videos, and its access token with all scopes.
    pub async fn access(&self, spec: Value) -> (String, AccessToken) {
        let open_id = self.creator(spec).await;
        let access = self.grant(&open_id, ALL).await.access;
        (open_id, access)
    }

    /// What the browser does with a consent page: allows `scopes`; the query of where it is sent.
    pub async fn consent(&self, page: &Url, open_id: &str, scopes: &str) -> Vec<(String, String)> {
        let shown = self.http.get(page.clone()).send().await.unwrap();
        assert!(shown.status().is_success(), "{}", shown.text().await.unwrap());
        let mut form = vec![("creator", open_id), ("action", "allow")];
        form.extend(scopes.split(',').map(|scope| ("scope", scope)));
        let response = self.http.post(page.clone()).form(&form).send().await.unwrap();
        let location = response.headers()["location"].to_str().unwrap();
        Url::parse(location).unwrap().query_pairs().into_owned().collect()
    }

    /// How many requests for `path` the sandbox saw.
    pub async fn requests(&self, path: &str) -> u64 {
        let log = self.control("GET", &format!("/requests?path={path}"), Value::Null).await;
        log["matched"].as_u64().unwrap()
    }

    /// Walks all pages: the ids, the listing's last word, the number of pages.
    pub async fn walk(&self, access: &AccessToken) -> (BTreeSet<String>, Next, usize) {
        let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), None, 0);
        loop {
            let page = self.tiktok.videos(access, cursor.as_ref(), &caller()).await.unwrap();
            pages += 1;
            assert!(page.videos.windows(2).all(|pair| pair[0].published_at >= pair[1].published_at));
            seen.extend(page.videos.into_iter().map(|video: Video| video.external_id));
            match page.next {
                Next::Page(next) => cursor = Some(next),
                last => return (seen, last, pages),
            }
        }
    }

    /// The ids of the creator's public videos, as the sandbox knows them.
    pub async fn published(&self, open_id: &str) -> BTreeSet<String> {
        let all = self.control("GET", &format!("/users/{open_id}/videos?limit=100000"), Value::Null).await;
        all["videos"].as_array().unwrap().iter().map(|video| video["id"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn param(query: &[(String, String)], name: &str) -> String {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap()
}

pub fn refresh_of(grant: Grant) -> RefreshToken {
    grant.refresh.unwrap()
}

/// What is answered. Asked again while nobody says what is left of the budget, for then nothing is sent: a machine that
/// stands still for longer than a caller waits for that shows nothing.
pub async fn told<T>(ask: impl AsyncFn() -> Result<T, PlatformError>) -> Result<T, PlatformError> {
    let began = Instant::now();
    loop {
        let told = ask().await;
        if kind(&told) != "budget_unavailable" || began.elapsed() > Duration::from_secs(60) {
            return told;
        }
    }
}

/// The kind of an error; `ok` for none.
pub fn kind<T>(result: &Result<T, PlatformError>) -> &'static str {
    result.as_ref().err().map_or("ok", PlatformError::kind)
}
