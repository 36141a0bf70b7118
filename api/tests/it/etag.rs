//! Conditional reads.

use reqwest::Method;

use crate::harness::{Answer, World, send};

/// Reads a path twice, the second time knowing the first answer; gives both.
async fn twice(world: &World, path: &str) -> (Answer, Answer) {
    let first = world.client.get(path).await;
    first.data(200);
    let tag = first.header("etag").expect("a tag").to_owned();
    let second = send(world.client.request(Method::GET, path).header("if-none-match", &tag)).await;
    (first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_changed_is_not_sent_again() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let path = format!("/api/v1/creators/{creator}");
    let sync = world.client.request(Method::POST, &format!("{path}/sync")).header("prefer", "respond-async");
    let job = send(sync).await.data(202)["jobId"].as_str().expect("a job").to_owned();
    let batch =
        world.client.post("/api/v1/creators/sync").await.data(202)["batchId"].as_str().expect("an id").to_owned();
    let paths = [
        path.clone(),
        format!("{path}/profile"),
        format!("/api/v1/jobs/{job}"),
        // Its estimate is another at every look.
        format!("/api/v1/batches/{batch}"),
    ];
    for path in &paths {
        let (first, second) = twice(&world, path).await;
        assert_eq!((second.status.as_u16(), second.text.as_str()), (304, ""), "{path}");
        for name in ["etag", "cache-control", "vary"] {
            assert_eq!(second.header(name), first.header(name), "{path}: {name}");
        }
        assert_eq!(first.header("cache-control"), Some("private, no-cache"));
        assert_eq!(first.header("vary"), Some("x-api-key"));
        let head =
            world.client.request(Method::HEAD, path).header("if-none-match", first.header("etag").expect("a tag"));
        assert_eq!(send(head).await.status, 304, "{path}");
    }
    let known = world.client.get(&path).await.header("etag").expect("a tag").to_owned();
    world.sql().await.batch_execute("UPDATE creators SET followers = 1").await.expect("changed");
    let changed = send(world.client.request(Method::GET, &path).header("if-none-match", &known)).await;
    assert_eq!(changed.data(200)["stats"]["followers"], 1);
    assert_ne!(changed.header("etag"), Some(known.as_str()));
    let gone = send(world.client.request(Method::GET, "/api/v1/creators/x").header("if-none-match", "*")).await;
    assert_eq!(gone.error(404), "not_found");
    assert_eq!(
        world.client.get("/api/v1/creators").await.header("cache-control"),
        Some("no-store"),
        "a list has no tag"
    );
}
