//! What the tests share: a client that behaves as a browser and an app do.
use reqwest::{Client, Method, Response, StatusCode};
use sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use url::Url;

pub const ALL: &str = "user.info.basic,user.info.profile,user.info.stats,video.list";
pub const REDIRECT: &str = "http://127.0.0.1:4999/cb";
pub const PROFILE_FIELDS: &str = "open_id,display_name,username,follower_count,likes_count,video_count";

pub struct Tester {
    pub sandbox: Sandbox,
    pub http: Client,
}

/// A sandbox without a rate limit, and a client.
pub fn quick() -> Tester {
    with(SandboxConfig { rate_limit: 0, ..SandboxConfig::default() })
}

pub fn with(config: SandboxConfig) -> Tester {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    Tester { sandbox: sandbox::start(config).unwrap(), http }
}

pub async fn body(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text:?}"))
}

pub fn param(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

impl Tester {
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.base_url())
    }

    pub fn authorize_url(&self, extra: &[(&str, &str)]) -> String {
        let mut params = vec![
            ("client_key", "sandbox-client-key"),
            ("response_type", "code"),
            ("scope", ALL),
            ("redirect_uri", REDIRECT),
            ("state", "s 1"),
            ("disable_auto_auth", "1"),
        ];
        for (name, value) in extra {
            params.retain(|(known, _)| known != name);
            if !value.is_empty() {
                params.push((name, value));
            }
        }
        Url::parse_with_params(&self.url("/v2/auth/authorize/"), params).unwrap().into()
    }

    /// Posts the consent form to the page's own address, as a browser does; where it sends the browser.
    pub async fn consent(&self, page: &str, fields: &[(&str, &str)]) -> String {
        assert_eq!(self.http.get(page).send().await.unwrap().status(), StatusCode::OK);
        let response = self.http.post(page).form(fields).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FOUND);
        response.headers()["location"].to_str().unwrap().to_owned()
    }

    /// The creators that the consent page offers.
    pub async fn offered(&self) -> Vec<String> {
        let page = self.http.get(self.authorize_url(&[])).send().await.unwrap().text().await.unwrap();
        let values = page.split("name=\"creator\" value=\"").skip(1);
        values.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    }

    pub async fn token(&self, fields: &[(&str, &str)]) -> Response {
        let mut form = vec![("client_key", "sandbox-client-key"), ("client_secret", "sandbox-client-secret")];
        form.extend_from_slice(fields);
        self.http.post(self.url("/v2/oauth/token/")).form(&form).send().await.unwrap()
    }

    pub async fn exchange(&self, code: &str) -> Value {
        let fields = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT)];
        body(self.token(&fields).await).await
    }

    pub async fn refresh(&self, token: &str) -> Value {
        body(self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await).await
    }

    /// A pair of tokens of a creator, by the control API.
    pub async fn grant(&self, open_id: &str, scopes: &[&str]) -> Value {
        let grant = self.control(Method::POST, "/grants", json!({"open_id": open_id, "scopes": scopes})).await;
        self.exchange(grant["code"].as_str().unwrap()).await
    }

    /// A creator with so many videos; its id and an access token with all scopes.
    pub async fn creator(&self, spec: Value) -> (String, String) {
        let made = self.control(Method::POST, "/users", spec).await;
        let open_id = made["users"][0]["open_id"].as_str().unwrap().to_owned();
        let pair = self.grant(&open_id, &ALL.split(',').collect::<Vec<_>>()).await;
        (open_id, pair["access_token"].as_str().unwrap().to_owned())
    }

    pub async fn control(&self, method: Method, path: &str, with: Value) -> Value {
        let response = self.control_raw(method, path, with).await;
        let status = response.status();
        let answer = body(response).await;
        assert!(status.is_success(), "{path}: {answer}");
        answer
    }

    pub async fn control_raw(&self, method: Method, path: &str, with: Value) -> Response {
        let mut request = self.http.request(method, self.url(&format!("/control{path}")));
        if !with.is_null() {
            request = request.json(&with);
        }
        request.send().await.unwrap()
    }

    pub async fn user_info(&self, access: &str, fields: &str) -> Response {
        self.http.get(self.url("/v2/user/info/")).query(&[("fields", fields)]).bearer_auth(access).send().await.unwrap()
    }

    pub async fn user(&self, access: &str, fields: &str) -> Value {
        body(self.user_info(access, fields).await).await["data"]["user"].clone()
    }

    pub async fn list(&self, access: &str, fields: &str, with: Value) -> Response {
        let request = self.http.post(self.url("/v2/video/list/")).query(&[("fields", fields)]);
        request.bearer_auth(access).json(&with).send().await.unwrap()
    }

    /// Walks all pages; the videos in the order they came.
    pub async fn walk(&self, access: &str, fields: &str, max_count: u32) -> Vec<Value> {
        let (mut videos, mut paging) = (Vec::new(), json!({"max_count": max_count}));
        for _ in 0..5_000 {
            let page = body(self.list(access, fields, paging).await).await;
            assert_eq!(page["error"]["code"], "ok", "{page}");
            videos.extend(page["data"]["videos"].as_array().unwrap().iter().cloned());
            if page["data"]["has_more"] == json!(false) {
                return videos;
            }
            paging = json!({"max_count": max_count, "cursor": page["data"]["cursor"]});
        }
        panic!("the list does not end");
    }

    pub async fn query(&self, access: &str, fields: &str, ids: &[&str]) -> Response {
        let request = self.http.post(self.url("/v2/video/query/")).query(&[("fields", fields)]);
        request.bearer_auth(access).json(&json!({"filters": {"video_ids": ids}})).send().await.unwrap()
    }

    pub async fn revoke(&self, access: &str) -> Response {
        let form =
            [("client_key", "sandbox-client-key"), ("client_secret", "sandbox-client-secret"), ("token", access)];
        self.http.post(self.url("/v2/oauth/revoke/")).form(&form).send().await.unwrap()
    }
}
