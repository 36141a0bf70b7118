//! A client of the API, as a developer's app would have one.

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// An answer: status, headers and JSON.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// `data`, of an answer that must be a success with this status.
    #[track_caller]
    pub fn data(&self, status: u16) -> &Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.body["success"], true, "{}", self.body);
        &self.body["data"]
    }

    /// The error's code, of an answer that must be a failure with this status.
    #[track_caller]
    pub fn error(&self, status: u16) -> &str {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.body["success"], false, "{}", self.body);
        self.body["error"]["code"].as_str().expect("an error code")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a readable header"))
    }
}

/// Speaks to one API process with one key.
#[derive(Debug, Clone)]
pub struct Client {
    pub base: String,
    pub key: String,
    pub http: reqwest::Client,
}

impl Client {
    pub fn new(base: &str, key: &str) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(std::time::Duration::from_secs(90))
            .build()
            .expect("an HTTP client");
        Self { base: base.to_owned(), key: key.to_owned(), http }
    }

    /// The same client with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).header("x-api-key", &self.key)
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.expect("a body");
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status, headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// A request whose job is waited for as long as the API lets anybody: on a busy machine it may take longer than the
    /// API waits by itself.
    pub fn patient(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.request(method, path).header("prefer", "wait=60")
    }

    pub async fn post(&self, path: &str) -> Answer {
        self.send(self.patient(Method::POST, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.patient(Method::DELETE, path)).await
    }

    /// Syncs a creator, and expects that it is done.
    pub async fn sync(&self, creator: &str) {
        let answer = self.post(&format!("/api/v1/creators/{creator}/sync")).await;
        assert_eq!(answer.data(200)["synced"], true);
    }

    /// All videos of a creator, page by page.
    pub async fn all_videos(&self, creator: &str) -> Vec<Value> {
        let mut videos = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/api/v1/creators/{creator}/videos?limit=100&cursor={cursor}")).await;
            let data = page.data(200).clone();
            videos.extend(data["items"].as_array().expect("items").iter().cloned());
            match data["nextCursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return videos,
            }
        }
    }
}
