//! The whole system on a Redis Cluster of three masters.

use std::time::Duration;

use serde_json::json;

use crate::redis_servers::{Cluster, PASSWORD};
use crate::support::{System, eventually, within};

#[tokio::test(flavor = "multi_thread")]
async fn connect_sync_read_bulk_disconnect_on_a_cluster_of_three_masters() {
    // A machine that stands still for some seconds is no reason for its nodes to give each other up.
    let cluster = Cluster::start_with(Duration::from_secs(10)).await;
    let prefix = cluster.spread_prefix().await;
    let system =
        System::builder().on_redis(&cluster.url()).set("METRIQLAB_REDIS_PREFIX", &prefix).workers(2).start().await;
    let client = &system.client;
    eventually("Postgres and the cluster are in reach", async || {
        (client.get("/readyz").await.body == json!({"status": "ok"})).then_some(())
    })
    .await;
    let open_id = system.sandbox.user(25).await;
    let id = system.connect(&open_id).await;
    client.sync(&id).await;
    assert_eq!(client.all_videos(&id).await.len(), 25);
    let batch = client.post("/api/v1/creators/sync").await;
    let batch = batch.data(202)["batchId"].as_str().expect("a batch").to_owned();
    within(Duration::from_secs(60), "the batch has finished", async || {
        let answer = client.get(&format!("/api/v1/batches/{batch}")).await;
        let batch = answer.data(200);
        (batch["finishedAt"].is_string() && batch["done"] == 1).then_some(())
    })
    .await;
    let gone = client.delete(&format!("/api/v1/creators/{id}")).await;
    assert_eq!(gone.data(200)["disconnected"], true);
    assert!(!system.sandbox.is_granted(&open_id).await, "revoked");
    assert!(!system.logs().contains(PASSWORD), "no log shows the password");
    // Each lane's keys are where they belong, and nowhere else: every node has some.
    for node in &cluster.nodes {
        let keys: u64 = node.run("DBSIZE").await.expect("a number");
        assert!(keys > 0, "a node without keys");
    }
}
