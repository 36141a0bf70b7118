//! The key's own limit, and the one for who shows no good key.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use reqwest::Method;
use shared::api_key::ApiKey;

use crate::harness::{Answer, Options, World, send, until_refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_its_limit_and_is_told_of_it() {
    let (world, answers, refused) = six_requests_of_five().await;
    for (answer, left) in answers.iter().zip((0..5).rev()) {
        answer.data(200);
        assert_eq!(answer.header("ratelimit-limit"), Some("5"));
        assert_eq!(answer.header("ratelimit-remaining"), Some(left.to_string().as_str()));
        assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=5;w=60"));
        assert!(answer.header("ratelimit").expect("a state").starts_with(&format!("\"default\";r={left};t=")));
    }
    assert_eq!(refused.error(429), "rate_limited");
    let wait: u64 = refused.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=12).contains(&wait), "five a minute is one in 12 s: {wait}");
    assert_eq!(refused.header("ratelimit-remaining"), Some("0"));
    assert_eq!(refused.header("ratelimit-limit"), Some("5"));
    let back: u64 = refused.header("ratelimit-reset").expect("a time").parse().expect("seconds");
    assert_eq!(back, 48 + wait, "until all of it is back, not the next one alone");
    world.stranger().await.get("/api/v1/creators").await.data(200);
}

/// Six requests with a key that has five a minute, within the 12 s after which there is one more. A machine that is too busy
/// for that is asked again.
async fn six_requests_of_five() -> (World, Vec<Answer>, Answer) {
    for _ in 0..10 {
        let world = World::with(Options { rate: 5, ..Options::default() }).await;
        let began = Instant::now();
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(world.client.get("/api/v1/creators?limit=1").await);
        }
        let last = world.client.get("/api/v1/no/such/route").await;
        if began.elapsed() < Duration::from_secs(12) {
            return (world, answers, last);
        }
    }
    panic!("six requests take longer than 12 s, ten times");
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_turns_the_limit_off() {
    let world = World::with(Options { rate: 0, ..Options::default() }).await;
    let answer = world.client.get("/api/v1/creators").await;
    answer.data(200);
    assert!(answer.header("ratelimit-limit").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_without_a_good_key_is_slowed_and_good_keys_are_not() {
    let world = World::start().await;
    let (refused, _) = use_up(&world).await;
    assert_eq!(refused.error(429), "rate_limited");
    assert!(refused.header("retry-after").is_some());
    world.client.get("/api/v1/creators").await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_well_formed_keys_takes_two_connections_of_postgres_at_most() {
    // Whoever looks a key up has to wait, and can be counted: none is without a connection, or given up.
    let statement_timeout = Duration::from_secs(60);
    let world = World::with(Options { connections: 40, statement_timeout, ..Options::default() }).await;
    let sql = world.sql().await;
    sql.batch_execute("BEGIN; LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    // By a connection of its own: a transaction sees who is there as it was at its first look.
    let watcher = world.sql().await;
    let (_, used_up) = use_up(&world).await;
    let flood = (0..30).map(|_| {
        let request = world.client.bare(Method::GET, "/api/v1/creators");
        tokio::spawn(send(request.header("x-api-key", ApiKey::generate().expose())))
    });
    let mut flood = flood.collect::<FuturesUnordered<_>>();
    let waiting = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%api_keys%'";
    // All but those that wait are refused. Ten more a second are inside the limit.
    let (mut refused, mut waits) = (0, 0);
    while refused + waits < 30 {
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(50), flood.next()).await {
            assert_eq!(answer.expect("one of thirty").expect("an answer").error(429), "rate_limited");
            refused += 1;
        }
        waits = watcher.query_one(waiting, &[]).await.expect("a row").get(0);
        let inside = i64::try_from(used_up.elapsed().as_millis() / 100 + 1).expect("few");
        assert!(waits <= 2 + inside, "{waits}, and {inside} inside the limit");
    }
    assert!(waits > 0, "all were refused");
    sql.batch_execute("ROLLBACK").await.expect("unlocked");
    while flood.next().await.is_some() {}
    world.client.get("/api/v1/creators").await.data(200);
}

/// Sends requests without a good key until one is refused. Gives the refusal, and when that was asked for.
async fn use_up(world: &World) -> (Answer, Instant) {
    let mut asked = Instant::now();
    let refused = until_refused(401, async |_| {
        asked = Instant::now();
        send(world.client.bare(Method::GET, "/api/v1/creators").header("x-api-key", "mlk_wrong")).await
    })
    .await;
    (refused, asked)
}
