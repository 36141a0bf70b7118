//! A worker that lives and fetches nothing.

use std::time::Duration;

use crate::support::servers::PrivateRedis;
use crate::support::system::free_port;
use crate::support::{System, within};

/// How long it may, in these tests: the shortest that can be set.
const AFTER: &str = "10s";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_worker_ends_itself_and_says_why() {
    let redis = PrivateRedis::start().await;
    let variables = [("METRIQLAB_WORKER_DEAF_AFTER", AFTER), ("METRIQLAB_SHUTDOWN_GRACE", "1s")];
    let mut builder = System::builder().on_redis(&redis.url);
    for (name, value) in variables {
        builder = builder.set(name, value);
    }
    let mut system = builder.start().await;
    let open_id = system.sandbox.user(1).await;
    system.connect(&open_id).await;
    system.settled().await;
    redis.refuse_scripts().await;
    let ended = tokio::time::timeout(PATIENCE, system.workers[0].wait()).await;
    let said = system.workers[0].said();
    assert_eq!(ended.unwrap_or_else(|_| panic!("it does not end: {said}")).code(), Some(1));
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("fetched nothing for 10s although Redis answers"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_redis_does_not_end() {
    let mut redis = PrivateRedis::start().await;
    let bind = format!("127.0.0.1:{}", free_port());
    let builder = System::builder().on_redis(&redis.url).set("METRIQLAB_WORKER_DEAF_AFTER", AFTER);
    let mut system = builder.set("METRIQLAB_METRICS_BIND", &bind).start().await;
    redis.stop().await;
    let answer = within(PATIENCE, "it has fetched nothing for long", async || {
        let answer = system.client.http.get(format!("http://{bind}/healthz")).send().await.ok()?;
        let (status, body) = (answer.status().as_u16(), answer.json::<serde_json::Value>().await.ok()?);
        (body["lastFetchSeconds"].as_f64()? > 20.0).then_some((status, body))
    })
    .await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let status = system.workers[0].terminate().await;
    assert!(status.success(), "{status}: {}", system.workers[0].said());
}
