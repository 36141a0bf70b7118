//! What a list of a hundred thousand creators costs who sends it. In a process of its own, whose memory no other test
//! changes.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]
#![allow(dead_code, reason = "the harness holds more than this test needs")]

#[path = "it/harness.rs"]
mod harness;

use futures::StreamExt as _;
use harness::World;
use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_no_memory_and_no_connection() {
    let world = World::start().await;
    world.add_creators(100_000).await;
    let mut response = world.client.request(Method::GET, "/api/v1/creators").send().await.expect("an answer");
    response.chunk().await.expect("a chunk").expect("a first chunk");
    // Whoever reads slowly waits for himself alone: all eight connections stay free for others.
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(world.client.request(Method::GET, "/api/v1/creators").send().await.expect("an answer"));
    }
    for _ in 0..50 {
        world.client.get("/api/v1/creators?limit=1").await.data(200);
    }
    let (before, after) = (resident(), {
        let mut bytes = 0;
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            bytes += chunk.expect("a chunk").len();
        }
        assert!(bytes > 30_000_000, "{bytes}");
        resident()
    });
    assert!(after < before + 30_000_000, "from {before} to {after} bytes while 40 MB went through");
}

/// The resident memory of this process, which holds the API.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel's own word");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number") * 1024
}
