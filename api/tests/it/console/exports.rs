//! Exports that last: for whom they go on, and how many of them.

use chrono::Utc;
use futures::StreamExt as _;
use reqwest::{Method, Response};
use shared::people::Role;

use super::browser::{Browser, PASSWORD};
use crate::harness::{World, eventually};

/// A world with an export of 80 MB, far more than any socket holds, and its path.
async fn long_export() -> (World, String) {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 20_000, Utc::now()).await;
    let long = "UPDATE videos SET description = repeat('long', 1000)";
    world.sql().await.batch_execute(long).await.expect("long descriptions");
    let path = format!("/console/projects/{}/creators/{creator}/export?what=videos&format=ndjson", world.project);
    (world, path)
}

async fn open(browser: &Browser, path: &str) -> Response {
    let answer = browser.request(Method::GET, path).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_breaks_off_for_who_may_see_it_no_longer() {
    let (world, path) = long_export().await;
    for end in ["DELETE FROM sessions", "DELETE FROM members"] {
        let mut viewer = Browser::new(&world);
        if end.contains("sessions") {
            viewer = Browser::member(&world, Role::Viewer).await;
        } else {
            assert_eq!(viewer.sign_in("viewer@example.com", PASSWORD).await.status, 303);
        }
        let mut parts = open(&viewer, &path).await.bytes_stream();
        parts.next().await.expect("a part").expect("a part");
        world.sql().await.batch_execute(end).await.expect("an end");
        let mut read = 0;
        let broken = loop {
            match parts.next().await {
                Some(Ok(part)) => read += part.len(),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broken && read < 60_000_000, "{end}: {read} bytes, and broken off: {broken}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_four_exports_at_a_time() {
    let (world, path) = long_export().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(open(&viewer, &path).await);
    }
    let refused = viewer.get(&path).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, Some("15")), "{}", refused.text);
    let other = Browser::member(&world, Role::Owner).await;
    drop(open(&other, &path).await);
    held.clear();
    eventually("a place", || async {
        let answer = viewer.request(Method::GET, &path).send().await.expect("an answer");
        (answer.status() == 200).then_some(())
    })
    .await;
}
