//! A worker that lives and fetches nothing.

use std::time::Duration;

use serde_json::Value;

use crate::support::servers::PrivateRedis;
use crate::support::system::{SystemBuilder, free_port};
use crate::support::{System, within};
use crate::wire::Wire;

/// How long it may, in these tests: the shortest that can be set.
const AFTER: &str = "10s";
const PATIENCE: Duration = Duration::from_secs(60);

fn builder(redis: &str) -> SystemBuilder {
    let builder = System::builder().on_redis(redis).set("METRIQLAB_SHUTDOWN_GRACE", "1s");
    builder.set("METRIQLAB_WORKER_DEAF_AFTER", AFTER)
}

/// Waits until the worker has fetched nothing for twice as long as it may; that it is healthy all the same.
async fn fetches_nothing_and_is_healthy(system: &System, bind: &str) {
    let answer = within(PATIENCE, "it has fetched nothing for long", async || {
        let answer = system.client.http.get(format!("http://{bind}/healthz")).send().await.ok()?;
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.ok()?);
        (body["lastFetchSeconds"].as_f64()? > 20.0).then_some((status, body))
    })
    .await;
    assert_eq!(answer.0, 200, "{}", answer.1);
}

/// Ends the last worker, which has not ended by itself.
async fn stop_last(system: &mut System) {
    let mut worker = system.workers.pop().expect("a worker");
    let status = worker.terminate().await;
    assert!(status.success(), "{status}: {}", worker.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_worker_ends_itself_and_says_why() {
    let redis = PrivateRedis::start().await;
    let wire = Wire::to(&redis.url).await;
    let mut system = builder(&wire.url).start().await;
    let open_id = system.sandbox.user(1).await;
    system.connect(&open_id).await;
    system.settled().await;
    // Whatever keeps a worker's fetches from their answers while Redis answers others.
    wire.lose_scripts();
    let ended = tokio::time::timeout(PATIENCE, system.workers[0].wait()).await;
    let said = system.workers[0].said();
    assert_eq!(ended.unwrap_or_else(|_| panic!("it does not end: {said}")).code(), Some(1));
    assert!(said.contains("fetched nothing for 10s although Redis answers"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_redis_does_not_end() {
    let mut redis = PrivateRedis::start().await;
    let bind = format!("127.0.0.1:{}", free_port());
    let mut system = builder(&redis.url).set("METRIQLAB_METRICS_BIND", &bind).start().await;
    redis.stop().await;
    fetches_nothing_and_is_healthy(&system, &bind).await;
    stop_last(&mut system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_redis_refuses_it_does_not_end_nor_does_the_next_one() {
    let redis = PrivateRedis::start().await;
    let bind = format!("127.0.0.1:{}", free_port());
    let mut system = builder(&redis.url).set("METRIQLAB_METRICS_BIND", &bind).start().await;
    let open_id = system.sandbox.user(1).await;
    system.connect(&open_id).await;
    system.settled().await;
    redis.refuse_scripts().await;
    fetches_nothing_and_is_healthy(&system, &bind).await;
    stop_last(&mut system).await;
    system.add_worker();
    fetches_nothing_and_is_healthy(&system, &bind).await;
    stop_last(&mut system).await;
}
