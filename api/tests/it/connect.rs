//! `POST /connect/tiktok`: the URL, the state, and where the browser may go afterwards.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use shared::platforms::tiktok::PkceMode;
use url::Url;

use crate::harness::{CLIENT_KEY, Options, PUBLIC_URL, World};

#[tokio::test(flavor = "multi_thread")]
async fn the_consent_page_gets_what_tiktok_asks_for() {
    let world = World::start().await;
    let answer = world.client.post("/api/v1/connect/tiktok").await;
    let (data, text) = (answer.data(200), &answer.text);
    let url = Url::parse(data["authUrl"].as_str().expect("a URL")).expect("a URL");
    assert_eq!(url.path(), "/v2/auth/authorize/");
    let param = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert_eq!(param("client_key").as_deref(), Some(CLIENT_KEY));
    assert_eq!(param("response_type").as_deref(), Some("code"));
    assert_eq!(param("redirect_uri"), Some(format!("{PUBLIC_URL}/oauth/tiktok/callback")));
    let state = data["state"].as_str().expect("a state");
    assert_eq!(param("state").as_deref(), Some(state));
    assert!(state.len() >= 22 && state.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{state}");
    assert!(text.starts_with(r#"{"success":true,"data":{"authUrl":"#), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_new_each_time_and_stored_as_a_hash() {
    let world = World::start().await;
    let mut states = Vec::new();
    for _ in 0..20 {
        let answer = world.client.post("/api/v1/connect/tiktok").await;
        states.push(answer.data(200)["state"].as_str().expect("a state").to_owned());
    }
    let select = "SELECT state_hash, extract(epoch from expires_at - now())::float8 FROM oauth_states";
    let rows = world.sql().await.query(select, &[]).await.expect("rows");
    assert_eq!(rows.len(), 20);
    for row in rows {
        let (hash, left): (Vec<u8>, f64) = (row.get(0), row.get(1));
        assert!(states.iter().any(|state| Sha256::digest(state).as_slice() == hash));
        assert!((500.0..=600.0).contains(&left), "ten minutes: {left}");
    }
    states.sort();
    states.dedup();
    assert_eq!(states.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_safe_redirects_are_taken() {
    let world = World::start().await;
    for good in ["https://app.example.com/x?y=z#f", "http://localhost:3000/", "http://127.0.0.1/", "http://[::1]:8/"] {
        world.client.post_json("/api/v1/connect/tiktok", &json!({"redirectUrl": good})).await.data(200);
    }
    for wrong in
        ["", "http://example.com", "javascript:alert(1)", "//x.example", "ftp://localhost", "https://a:b@c.example"]
    {
        let answer = world.client.post_json("/api/v1/connect/tiktok", &json!({"redirectUrl": wrong})).await;
        assert_eq!(answer.error(400), "invalid_request", "{wrong}");
        assert!(answer.message().starts_with("redirectUrl: "), "{}", answer.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pkce_goes_by_the_setting_and_its_secret_stays_here() {
    for (pkce, length) in [(PkceMode::Hex, 64), (PkceMode::Base64url, 43)] {
        let world = World::with(Options { pkce, ..Options::default() }).await;
        let answer = world.client.post("/api/v1/connect/tiktok").await;
        let url = Url::parse(answer.data(200)["authUrl"].as_str().expect("a URL")).expect("a URL");
        let challenge = url.query_pairs().find(|(key, _)| key == "code_challenge").expect("a challenge").1.into_owned();
        assert_eq!(challenge.len(), length);
        let verifier = world.verifier().await;
        assert!(!answer.text.contains(&verifier));
        let row = world.sql().await.query_one("SELECT oauth_states::text FROM oauth_states", &[]).await.expect("a row");
        let row: &str = row.get(0);
        assert!(!row.contains(&verifier) && !row.contains(&hex::encode(&verifier)), "it is sealed: {row}");
    }
}
