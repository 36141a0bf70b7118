//! Old and new side by side: what one version writes and the other does not know yet, or not any more.

use redis::aio::MultiplexedConnection;
use shared::ids::JobId;
use shared::queue::{Final, Lane, Outcome, Queue, Waiter};
use tokio::time::Instant;

use crate::support::{SOON, Seen, fresh_queue, message, no_rows, quick, raw, redis_url, until, worker};

async fn publish(connection: &mut MultiplexedConnection, prefix: &str, channel: &str, text: &str) {
    let mut publish = redis::cmd("PUBLISH");
    let heard: u64 = publish.arg(format!("{prefix}:{channel}")).arg(text).query_async(connection).await.unwrap();
    assert!(heard > 0, "nobody listens on {channel}");
}

/// Waits until worker and waiter have subscribed.
async fn listening(connection: &MultiplexedConnection, prefix: &str) {
    for channel in ["wake", "done"] {
        until("somebody listens", async || {
            let mut count = redis::cmd("PUBSUB");
            count.arg("NUMSUB").arg(format!("{prefix}:{channel}"));
            let (_, heard): (String, u64) = count.query_async(&mut connection.clone()).await.unwrap();
            heard > 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_message_with_fields_of_a_later_version_runs_and_signals_of_one_harm_nobody() {
    let (queue, prefix): (Queue, String) = fresh_queue();
    let seen = Seen::default();
    let pool = worker(&queue, quick(), &seen, Outcome::Final(Final::Done));
    let waiter = Waiter::start(&queue, no_rows);
    let mut connection = raw(&redis_url()).await;
    listening(&connection, &prefix).await;
    // A lane, a word on a job and a last word that this version does not know.
    publish(&mut connection, &prefix, "wake", "lane-of-the-next-version").await;
    publish(&mut connection, &prefix, "control", "pause sync").await;
    publish(&mut connection, &prefix, "done", &format!("{} superseded by-another", JobId::new())).await;

    // As a later version would push it: the same message, and more.
    let known = message("noop");
    let mut later = serde_json::to_value(&known).unwrap();
    later["priority"] = serde_json::json!({"of": ["the", "next", "version"]});
    let watching = waiter.watch(known.id);
    let key = |name: &str| format!("{{{prefix}:sync}}:v1:{name}");
    let mut add = redis::pipe();
    add.hset(key("jobs"), known.id.to_string(), later.to_string());
    // Due now: a worker takes it from there whatever the line of those ready looks like.
    add.zadd(key("delayed"), known.id.to_string(), 1);
    add.exec_async(&mut connection).await.unwrap();
    publish(&mut connection, &prefix, "wake", "sync").await;
    assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
    assert_eq!(seen.count(known.id), 1);

    // As an earlier version pushed it: nothing but what must be there.
    let earlier = JobId::new();
    let payload = serde_json::json!({"id": earlier, "kind": "noop"}).to_string();
    let watching = waiter.watch(earlier);
    let mut add = redis::pipe();
    add.hset(key("jobs"), earlier.to_string(), payload).zadd(key("delayed"), earlier.to_string(), 1);
    add.exec_async(&mut connection).await.unwrap();
    publish(&mut connection, &prefix, "wake", "sync").await;
    assert_eq!(watching.wait(Instant::now() + SOON).await, Some(Final::Done));
    until("nothing is left", async || queue.depth(Lane::Sync).await.is_ok_and(|depth| depth.running == 0)).await;
    pool.stop(SOON).await;
}
