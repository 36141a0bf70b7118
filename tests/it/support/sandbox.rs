//! The TikTok stand-in, and what tests make it do.

use std::time::Duration;

use reqwest::header::LOCATION;
use sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use url::Url;

use super::client::Client;
use super::eventually;
use super::system::{CLIENT_KEY, CLIENT_SECRET};

/// All that creators are asked for.
pub const SCOPES: [&str; 4] = ["user.info.basic", "user.info.profile", "user.info.stats", "video.list"];

/// A sandbox without limits or delays.
pub fn config() -> SandboxConfig {
    SandboxConfig {
        client_key: CLIENT_KEY.to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        rate_limit: 0,
        ..SandboxConfig::default()
    }
}

/// A running sandbox.
pub struct TestSandbox {
    pub base: String,
    http: reqwest::Client,
    _server: Sandbox,
}

impl TestSandbox {
    pub fn start(config: SandboxConfig) -> Self {
        let server = sandbox::start(config).expect("start the sandbox");
        let http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("an HTTP client");
        Self { base: server.base_url(), http, _server: server }
    }

    /// A call of the sandbox's control API.
    pub async fn control(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}/control{path}", self.base));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("the sandbox answers");
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// A new creator with that many videos; its `open_id`.
    pub async fn user(&self, videos: usize) -> String {
        self.make_user(json!({"videos": videos})).await
    }

    /// A new creator; the body is the control API's.
    pub async fn make_user(&self, body: Value) -> String {
        let made = self.control("POST", "/users", Some(body)).await;
        made["users"][0]["open_id"].as_str().expect("an open_id").to_owned()
    }

    pub async fn settings(&self, changes: Value) {
        self.control("PATCH", "/settings", Some(changes)).await;
    }

    pub async fn fault(&self, fault: Value) {
        self.control("POST", "/faults", Some(fault)).await;
    }

    pub async fn clear_faults(&self) {
        self.control("DELETE", "/faults", None).await;
    }

    /// The creator ends all its grants in its TikTok app.
    pub async fn withdraw(&self, open_id: &str) {
        self.control("POST", &format!("/users/{open_id}/revoke"), Some(json!({}))).await;
    }

    pub async fn advance(&self, by: Duration) {
        self.control("POST", "/clock", Some(json!({"advance_seconds": by.as_secs()}))).await;
    }

    pub async fn hide_video(&self, open_id: &str, id: &str, hidden: bool) {
        self.control("PATCH", &format!("/users/{open_id}/videos/{id}"), Some(json!({"hidden": hidden}))).await;
    }

    pub async fn change_video(&self, open_id: &str, id: &str, changes: Value) {
        self.control("PATCH", &format!("/users/{open_id}/videos/{id}"), Some(changes)).await;
    }

    /// Whether the creator still allows our app anything.
    pub async fn is_granted(&self, open_id: &str) -> bool {
        let user = self.control("GET", &format!("/users/{open_id}"), None).await;
        !user["scopes"].is_null()
    }

    /// How many requests for `path` were made for this creator.
    pub async fn calls(&self, path: &str, open_id: &str) -> usize {
        let query = format!("/requests?open_id={open_id}&path={path}&limit=1");
        let answer = self.control("GET", &query, None).await;
        usize::try_from(answer["matched"].as_u64().expect("a number")).expect("a size")
    }

    pub async fn limits(&self) -> Value {
        self.control("GET", "/limits", None).await
    }

    /// When the requests for `path` that TikTok let through arrived, in ms, oldest first.
    pub async fn arrivals(&self, path: &str) -> Vec<i64> {
        let query = format!("/requests?path={path}&status=200&limit=10000");
        let answer = self.control("GET", &query, None).await;
        let requests = answer["requests"].as_array().expect("requests");
        let mut arrivals: Vec<i64> =
            requests.iter().map(|request| request["at_ms"].as_i64().expect("a time")).collect();
        arrivals.sort_unstable();
        arrivals
    }

    /// Queues a webhook and waits until its delivery was tried.
    pub async fn webhook(&self, event: Value) {
        let queued = self.control("POST", "/webhooks", Some(event)).await;
        let id = queued["ids"][0].clone();
        eventually("the webhook is delivered or refused", async || {
            let all = self.control("GET", "/webhooks", None).await;
            let mut deliveries = all["deliveries"].as_array().expect("deliveries").iter();
            deliveries.any(|one| one["id"] == id && one["attempts"].as_u64() > Some(0)).then_some(())
        })
        .await;
    }

    /// What a browser does with an `authUrl`: reads the page, posts its form, and is sent to the callback.
    pub async fn consent(&self, auth_url: &str, open_id: &str, scopes: &[&str]) -> String {
        let page = self.http.get(auth_url).send().await.expect("the consent page");
        assert_eq!(page.status(), 200, "{}", page.text().await.unwrap_or_default());
        let mut form = vec![("creator", open_id), ("action", "allow")];
        form.extend(scopes.iter().map(|scope| ("scope", *scope)));
        let sent = self.http.post(auth_url).form(&form).send().await.expect("the consent");
        assert_eq!(sent.status(), 302, "{}", sent.text().await.unwrap_or_default());
        sent.headers()[LOCATION].to_str().expect("a location").to_owned()
    }

    /// Connects a creator with all scopes; our id for it.
    pub async fn connect(&self, client: &Client, open_id: &str) -> String {
        self.connect_with(client, open_id, &SCOPES).await
    }

    /// Connects a creator who grants these scopes alone; our id for it.
    pub async fn connect_with(&self, client: &Client, open_id: &str, scopes: &[&str]) -> String {
        let page = self.callback(client, open_id, scopes).await;
        assert_eq!(page.status(), 200, "{}", page.text().await.unwrap_or_default());
        let listed = client.get(&format!("/api/v1/creators?externalId={open_id}")).await;
        listed.data(200)[0]["id"].as_str().expect("a creator").to_owned()
    }

    async fn callback(&self, client: &Client, open_id: &str, scopes: &[&str]) -> reqwest::Response {
        let started = client.post("/api/v1/connect/tiktok").await;
        let auth_url = started.data(200)["authUrl"].as_str().expect("an authUrl").to_owned();
        let callback = callback_of(client, &self.consent(&auth_url, open_id, scopes).await);
        callback.send().await.expect("the callback page")
    }
}

/// The request of a browser that was sent to `url`. Any API process can take it; a load balancer would choose one.
pub fn callback_of(client: &Client, url: &str) -> reqwest::RequestBuilder {
    let callback = Url::parse(url).expect("a callback URL");
    let query = callback.query().unwrap_or_default();
    client.http.get(format!("{}{}?{query}", client.base, callback.path()))
}
