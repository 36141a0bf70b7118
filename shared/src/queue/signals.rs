//! Listening to pub/sub channels through every loss of the connection.

use std::time::Duration;

use futures::StreamExt;
use redis::RedisResult;
use redis::aio::{PubSubSink, PubSubStream};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::redis_servers::RedisServers;

/// How often a silent subscription is asked whether it still lives, and how long it may take to say so: a connection
/// that was cut without a word would be silent for ever.
const PING_EVERY: Duration = Duration::from_secs(15);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Pauses between two tries; the last one is repeated.
const BACKOFF_MS: [u64; 5] = [20, 100, 250, 500, 1000];

/// Calls `message(channel, payload)` for each message on `channels`, and `subscribed` each time the subscription is up
/// (again): what was sent while it was not is lost. Ends with `stop`.
pub(super) async fn listen(
    servers: RedisServers,
    channels: Vec<String>,
    stop: CancellationToken,
    subscribed: impl Fn() + Send + Sync,
    message: impl Fn(&str, &str) + Send + Sync,
) {
    let mut tries = 0;
    loop {
        let subscription = tokio::select! {
            () = stop.cancelled() => return,
            subscription = tokio::time::timeout(ANSWER_WITHIN, subscribe(&servers, &channels)) => subscription,
        };
        if let Ok(Ok((sink, stream))) = subscription {
            tries = 0;
            subscribed();
            tokio::select! {
                () = stop.cancelled() => return,
                () = follow(sink, stream, &message) => {}
            }
            debug!("subscription lost");
        }
        let pause = BACKOFF_MS.get(tries).or(BACKOFF_MS.last()).copied().unwrap_or_default();
        tries += 1;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(pause)) => {}
        }
    }
}

async fn subscribe(servers: &RedisServers, channels: &[String]) -> RedisResult<(PubSubSink, PubSubStream)> {
    let (mut sink, stream) = servers.pubsub().await?.split();
    sink.subscribe(channels).await?;
    Ok((sink, stream))
}

/// Until the connection is lost, or silent to a ping.
async fn follow(mut sink: PubSubSink, mut stream: PubSubStream, message: &(impl Fn(&str, &str) + Send + Sync)) {
    loop {
        match tokio::time::timeout(PING_EVERY, stream.next()).await {
            Ok(Some(received)) => {
                if let Ok(payload) = received.get_payload::<String>() {
                    message(received.get_channel_name(), &payload);
                }
            }
            Ok(None) => return,
            Err(_) => {
                let ping = tokio::time::timeout(ANSWER_WITHIN, sink.ping::<redis::Value>()).await;
                if !matches!(ping, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}
