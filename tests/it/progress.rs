//! A sync that is watched in the dashboard, from a real worker to the browser's stream.

use std::time::Duration;

use sandbox::Latency;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::member::Member;
use crate::support::{DEADLINE, System};

/// The stream of a creator's sync, as a member of its project reads it.
struct Stream(reqwest::Response, String);

impl Stream {
    async fn open(system: &System, creator: &str) -> Self {
        let member = Member::of(system, "viewer").await;
        let response = member.page(&format!("/creators/{creator}/progress")).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        Self(response, String::new())
    }

    async fn until(&mut self, like: &str) -> Value {
        loop {
            while let Some((block, rest)) = self.1.split_once("\n\n") {
                let (data, rest) = (block.split_once("data: ").map(|(_, data)| data.to_owned()), rest.to_owned());
                self.1 = rest;
                let Some(data) = data else { continue };
                let said: Value = serde_json::from_str(&data).expect("JSON");
                if said["words"].as_str().expect("words").contains(like) {
                    return said;
                }
            }
            let chunk = timeout(DEADLINE, self.0.chunk()).await.expect("in time").expect("a stream");
            let chunk = chunk.unwrap_or_else(|| panic!("the end, and nothing like {like}"));
            self.1.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_tells_who_watches_how_many_pages_and_videos_it_has_read() {
    let system = System::builder().workers(0);
    let mut system =
        system.sandbox(|config| config.latency = Latency::Between { min_ms: 1_000, max_ms: 1_001 }).start().await;
    let user = system.sandbox.user(300).await;
    let creator = system.connect(&user).await;
    let mut stream = Stream::open(&system, &creator).await;
    stream.until("Queued").await;
    // It reads for a quarter of a minute, and is asked for every two seconds.
    system.add_worker();
    let told = stream.until("of 300 videos").await;
    assert!(told["read"].as_u64().is_some_and(|read| read > 0 && read <= 300), "{told}");
    assert_eq!(told["of"], 300);
    stream.until("up to date").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_the_quota_stops_says_until_when() {
    let system = System::builder().set("TIKTOK_RATE_PER_MINUTE", "3").start().await;
    let user = system.sandbox.user(100).await;
    let creator = system.connect(&user).await;
    let mut stream = Stream::open(&system, &creator).await;
    let parked = stream.until("Waiting until").await;
    let until: chrono::DateTime<chrono::Utc> = parked["until"].as_str().expect("a time").parse().expect("RFC 3339");
    let wait = until - chrono::Utc::now();
    assert!(wait <= chrono::TimeDelta::from_std(Duration::from_secs(61)).expect("a minute"), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_for_the_quota_says_until_when() {
    let system = System::builder().set("TIKTOK_RATE_PER_MINUTE", "3").set("TIKTOK_RATE_WINDOW", "4s").start().await;
    let user = system.sandbox.user(300).await;
    let creator = system.connect(&user).await;
    let mut stream = Stream::open(&system, &creator).await;
    // So short a wait that the job keeps its worker.
    let waits = stream.until("Waiting for quota until {until}.").await;
    let until: chrono::DateTime<chrono::Utc> = waits["until"].as_str().expect("a time").parse().expect("RFC 3339");
    let wait = until - chrono::Utc::now();
    assert!(wait <= chrono::TimeDelta::seconds(10), "{wait}");
}
