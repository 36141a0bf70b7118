//! The access log: one line a request, with what finds it again, and no secret. In a process of its own, because a log is
//! set up once.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]
#![allow(dead_code, reason = "the harness holds more than this test needs")]

#[path = "it/consent.rs"]
mod consent;
#[path = "it/harness.rs"]
mod harness;

use std::io;
use std::sync::{Arc, Mutex};

use harness::{World, send};
use reqwest::Method;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_line_and_no_secret_is_in_it() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::TRACE);
    subscriber.with_writer(lines.clone()).init();
    let world = World::start().await;
    let (page, state) = world.begin(&json!({"redirectUrl": "https://app.example.com/?token=of-theirs"})).await;
    let back = world.allow(&page, "user.info.basic,video.list").await;
    let code = back.split("code=").nth(1).expect("a code").split('&').next().expect("a code").to_owned();
    assert_eq!(world.open(&back).await.status, 200);
    let profile = format!("/api/v1/creators/{}/profile?x=private", world.creator("open-1").await);
    send(world.client.request(Method::GET, &profile).header("x-request-id", "find-me")).await.data(200);
    send(world.client.bare(Method::GET, "/api/v1/creators").header("x-api-key", "mlk_mistyped-secret"))
        .await
        .error(401);

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).expect("UTF-8");
    let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let requests: Vec<&Value> = all.iter().filter(|line| line["message"] == "request").collect();
    let found: Vec<_> = requests.iter().filter(|line| line["span"]["request_id"] == "find-me").collect();
    assert_eq!(found.len(), 1, "one line a request");
    assert_eq!(found[0]["route"], "/api/v1/creators/{id}/profile");
    assert_eq!((&found[0]["method"], &found[0]["status"]), (&json!("GET"), &json!(200)));
    assert!(found[0]["ms"].is_f64());
    // What we say at any level, and others at the level that the API runs at: what they say below it is left out by its log.
    let told = ["INFO", "WARN", "ERROR"];
    let is_ours = |line: &Value| {
        let target = line["target"].as_str().expect("a target");
        ["api", "shared"].contains(&target.split("::").next().expect("a crate"))
    };
    assert!(all.iter().any(|line| is_ours(line) && line["level"] == "DEBUG"), "we say something below that level");
    let ours = all.iter().filter(|line| is_ours(line) || told.contains(&line["level"].as_str().expect("a level")));
    let ours = ours.map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for secret in [&world.client.key[8..], &state, &code, "mistyped-secret", "of-theirs", "private", "act.", "rft."] {
        assert!(!ours.contains(secret), "{secret} is in the log:\n{ours}");
    }
    assert!(!ours.contains(harness::CLIENT_SECRET));
}
