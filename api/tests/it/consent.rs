//! A browser on the sandbox's consent page.

use secrecy::ExposeSecret as _;
use serde_json::Value;
use shared::crypto::KeyRing;

use crate::harness::{Answer, ENCRYPTION_KEY, PUBLIC_URL, World, send};

impl World {
    /// Begins a consent; the page's address and the state.
    pub async fn begin(&self, body: &Value) -> (String, String) {
        let answer = self.client.post_json("/api/v1/connect/tiktok", body).await;
        let text = |name: &str| answer.data(200)[name].as_str().expect("a text").to_owned();
        (text("authUrl"), text("state"))
    }

    /// The first creator that the page offers.
    pub async fn offered(&self, page: &str) -> String {
        let text = self.client.http.get(page).send().await.expect("a page").text().await.expect("a text");
        let value = text.split("name=\"creator\" value=\"").nth(1).expect("a creator");
        value.split('"').next().expect("a value").to_owned()
    }

    /// Fills in the form; the path and query of the callback, to which the browser is sent.
    pub async fn answer_consent(&self, page: &str, fields: &[(&str, &str)]) -> String {
        let response = self.client.http.post(page).form(fields).send().await.expect("an answer");
        let location = response.headers()["location"].to_str().expect("a location");
        location.strip_prefix(PUBLIC_URL).expect("our own callback").to_owned()
    }

    /// Allows these scopes; the path and query of the callback.
    pub async fn allow(&self, page: &str, scopes: &str) -> String {
        let creator = self.offered(page).await;
        let mut form = vec![("creator", creator.as_str()), ("action", "allow")];
        form.extend(scopes.split(',').map(|scope| ("scope", scope)));
        self.answer_consent(page, &form).await
    }

    /// Makes TikTok fail.
    pub async fn add_fault(&self, fault: &Value) {
        let control = format!("{}/control/faults", self.sandbox.base_url());
        let added = self.client.http.post(control).json(fault).send().await.expect("an answer");
        assert!(added.status().is_success(), "{}", added.text().await.expect("a text"));
    }

    /// The PKCE verifier of the only consent under way, opened.
    pub async fn verifier(&self) -> String {
        let row = self.sql().await.query_one("SELECT state_hash, pkce_sealed FROM oauth_states", &[]).await;
        let row = row.expect("one consent");
        let ring: KeyRing = ENCRYPTION_KEY.parse().expect("a key");
        let identity = format!("oauth_states\0{}\0pkce_sealed", hex::encode(row.get::<_, &[u8]>(0)));
        ring.open(row.get(1), &identity).expect("a verifier").expose_secret().to_owned()
    }

    /// Opens a callback as a browser does, without a key.
    pub async fn open(&self, path: &str) -> Answer {
        send(self.client.bare(reqwest::Method::GET, path)).await
    }
}
