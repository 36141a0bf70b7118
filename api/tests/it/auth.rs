//! The key: checked first, forgotten within a second, and the only way to a project's data.

use std::time::{Duration, Instant};

use reqwest::Method;
use shared::api_key::ApiKey;

use crate::harness::{World, send};

const ROUTES: [(Method, &str); 9] = [
    (Method::GET, "/api/v1/creators"),
    (Method::GET, "/api/v1/creators/nonsense/profile"),
    (Method::POST, "/api/v1/connect/tiktok"),
    (Method::GET, "/api/v1/no/such/route"),
    (Method::GET, "/api/nothing"),
    (Method::GET, "/api"),
    (Method::PUT, "/api/v1/creators"),
    (Method::GET, "/api/v1/creators?limit=nonsense"),
    (Method::OPTIONS, "/api/v1/creators"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_key_comes_before_everything_else() {
    let world = World::start().await;
    for (method, path) in ROUTES {
        let without = send(world.client.bare(method.clone(), path)).await;
        assert_eq!(without.error(401), "missing_api_key", "{method} {path}");
        let unknown = ApiKey::generate();
        for key in ["", "mlk_nonsense", unknown.expose(), &world.client.key[..37]] {
            let answer = send(world.client.bare(method.clone(), path).header("x-api-key", key)).await;
            let expected = if key.is_empty() { "missing_api_key" } else { "invalid_api_key" };
            assert_eq!(answer.error(401), expected, "{method} {path} {key:?}");
        }
    }
    let malformed = world.client.bare(Method::POST, "/api/v1/connect/tiktok").body("{".repeat(100_000));
    assert_eq!(send(malformed).await.error(401), "missing_api_key", "not even a body is looked at");
    let bytes = reqwest::header::HeaderValue::from_bytes(b"mlk_\xff\xfe").expect("a header value");
    let binary = world.client.bare(Method::GET, "/api/v1/creators").header("x-api-key", bytes);
    assert_eq!(send(binary).await.error(401), "invalid_api_key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stops_within_a_second_and_a_new_one_works_at_once() {
    let world = World::start().await;
    world.client.get("/api/v1/creators").await.data(200);
    let prefix = ApiKey::parse(&world.client.key).expect("a key").prefix().to_owned();
    world.store.revoke_key(&prefix).await.expect("revoked");
    let revoked = Instant::now();
    loop {
        // What counts is when it was asked, however long a busy machine takes to answer.
        let asked = revoked.elapsed();
        if world.client.get("/api/v1/creators").await.status == 401 {
            break;
        }
        assert!(asked <= Duration::from_secs(1), "the key still works after {asked:?}");
    }
    world.stranger().await.get("/api/v1/creators").await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_sees_its_own_creators_alone() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let stranger = world.stranger().await;
    let asking = world.client.request(Method::POST, &format!("/api/v1/creators/{creator}/sync"));
    let job = send(asking.header("prefer", "respond-async")).await;
    assert_eq!(job.status, 202, "nobody works here: {}", job.text);
    let job = job.body["data"]["jobId"].as_str().expect("a job").to_owned();
    for path in ["", "/profile", "/videos"] {
        world.client.get(&format!("/api/v1/creators/{creator}{path}")).await.data(200);
        assert_eq!(stranger.get(&format!("/api/v1/creators/{creator}{path}")).await.error(404), "not_found");
    }
    world.client.get(&format!("/api/v1/jobs/{job}")).await.data(200);
    assert_eq!(stranger.get(&format!("/api/v1/jobs/{job}")).await.error(404), "not_found");
    assert_eq!(stranger.post(&format!("/api/v1/creators/{creator}/sync")).await.error(404), "not_found");
    assert_eq!(stranger.delete(&format!("/api/v1/creators/{creator}")).await.error(404), "not_found");
    assert_eq!(stranger.get("/api/v1/creators").await.data(200), &serde_json::json!([]));
    world.client.get(&format!("/api/v1/creators/{creator}")).await.data(200);
}
