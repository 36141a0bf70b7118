//! `Idempotency-Key`: a POST that is sent twice happens once.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use shared::ids::CreatorId;
use shared::key_scopes::KeyScope;

use crate::harness::{Answer, Client, Options, World, eventually, send, sql};

const CONNECT: &str = "/api/v1/connect/tiktok";
const BULK: &str = "/api/v1/creators/sync";

async fn post(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    send(client.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

async fn count(world: &World, table: &str) -> i64 {
    world.sql().await.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.expect("a row").get(0)
}

#[track_caller]
fn is_replay(first: &Answer, again: &Answer) {
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")));
    for name in ["content-type", "location", "retry-after", "preference-applied"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"), "which is each request's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gets_the_first_answer_again() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let connect = json!({"redirectUrl": "https://app.example.com/", "externalRef": "a"});
    let first = post(&world.client, CONNECT, "k1", &connect).await;
    first.data(200);
    let spaced = "{ \"externalRef\" : \"a\",\n \"redirectUrl\":\"https://app.example.com/\" }";
    let again = world.client.request(Method::POST, CONNECT).header("idempotency-key", "\"k1\"");
    is_replay(&first, &send(again.header("content-type", "application/json").body(spaced)).await);
    assert_eq!(count(&world, "oauth_states").await, 1);
    let first = post(&world.client, BULK, "k1", &json!({})).await;
    first.data(202);
    is_replay(&first, &post(&world.client, BULK, "k1", &json!({})).await);
    assert_eq!(count(&world, "batches").await, 1, "another route is another request, and is not repeated either");
    let path = format!("/api/v1/creators/{creator}/sync");
    let sync = |key: &'static str| world.client.request(Method::POST, &path).header("idempotency-key", key);
    let first = send(sync("k1").header("prefer", "respond-async")).await;
    assert_eq!(first.data(202)["synced"], false);
    let ended = format!("UPDATE jobs SET state = 'done', finished_at = now() WHERE creator_id = '{creator}'");
    world.sql().await.batch_execute(&ended).await.expect("ended");
    let now = send(sync("k1").header("prefer", "respond-async")).await;
    assert_eq!((now.data(200), now.header("idempotent-replayed")), (&json!({"synced": true}), Some("true")));
    let nobody = json!({"ids": [CreatorId::new().to_string()]});
    let unknown = post(&world.client, BULK, "k2", &nobody).await;
    assert_eq!(unknown.error(400), "invalid_request");
    let again = post(&world.client, BULK, "k2", &nobody).await;
    assert_eq!((again.error(400), again.message()), ("invalid_request", unknown.message()));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_ne!(again.body["error"]["requestId"], unknown.body["error"]["requestId"]);
    let other = post(&world.client, BULK, "k3", &json!({})).await;
    assert_ne!(other.data(202)["batchId"], first.body["data"]["batchId"], "another key is another request");
    assert!(other.header("idempotent-replayed").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_is_done_is_answered_200_again() {
    let world = World::with(Options { sync_wait: "30s", ..Options::default() }).await;
    let creator = world.creator("open-1").await;
    let path = format!("/api/v1/creators/{creator}/sync");
    let asking = tokio::spawn({
        let (client, path) = (world.client.clone(), path.clone());
        async move { post(&client, &path, "k", &json!({})).await }
    });
    finish_sync(&world, creator).await;
    let first = asking.await.expect("an answer");
    assert_eq!(first.data(200)["synced"], true);
    is_replay(&first, &post(&world.client, &path, "k", &json!({})).await);
}

/// Ends the creator's open sync as a worker would: the row, and the word to who waits.
async fn finish_sync(world: &World, creator: CreatorId) {
    let open = format!("SELECT id::text FROM jobs WHERE creator_id = '{creator}' AND state = 'enqueued'");
    let job = eventually("a job", || async {
        world.sql().await.query_opt(&open, &[]).await.expect("rows").map(|row| row.get::<_, String>(0))
    })
    .await;
    let ended = format!("UPDATE jobs SET state = 'done', finished_at = now() WHERE id = '{job}'");
    world.sql().await.batch_execute(&ended).await.expect("ended");
    world.queue.notify(job.parse().expect("an id"), &shared::queue::Final::Done).await.expect("told");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_under_the_same_key_is_refused() {
    let world = World::start().await;
    let first = post(&world.client, CONNECT, "k", &json!({"externalRef": "a"})).await;
    first.data(200);
    for other in [json!({"externalRef": "b"}), json!({})] {
        let refused = post(&world.client, CONNECT, "k", &other).await;
        assert_eq!(refused.error(422), "idempotency_mismatch");
    }
    is_replay(&first, &post(&world.client, CONNECT, "k", &json!({"externalRef": "a"})).await);
    for wrong in ["", "\"\"", "a\"b", &"x".repeat(256)] {
        let refused = post(&world.client, CONNECT, wrong, &json!({})).await;
        assert_eq!(refused.error(400), "invalid_request", "{wrong}");
        assert!(refused.message().starts_with("Idempotency-Key: "), "{}", refused.message());
    }
    let twice =
        world.client.request(Method::POST, CONNECT).header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(send(twice).await.error(400), "invalid_request");
    // A malformed body never came to be a request.
    let malformed = world.client.request(Method::POST, CONNECT).header("idempotency-key", "m");
    let malformed = send(malformed.header("content-type", "application/json").body("{")).await;
    assert_eq!(malformed.error(400), "invalid_request");
    post(&world.client, CONNECT, "m", &json!({})).await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_is_given_again_only_while_it_can_be_used() {
    let world = World::start().await;
    let first = post(&world.client, CONNECT, "k", &json!({})).await;
    is_replay(&first, &post(&world.client, CONNECT, "k", &json!({})).await);
    // The creator declines: that uses the state up.
    let state = first.data(200)["state"].as_str().expect("a state").to_owned();
    let declined = format!("/oauth/tiktok/callback?error=access_denied&state={state}");
    assert_eq!(send(world.client.bare(Method::GET, &declined)).await.status, 200);
    let second = post(&world.client, CONNECT, "k", &json!({})).await;
    assert_ne!(second.data(200)["state"], state.as_str());
    assert!(second.header("idempotent-replayed").is_none());
    is_replay(&second, &post(&world.client, CONNECT, "k", &json!({})).await);
    let late = "UPDATE oauth_states SET expires_at = now()";
    world.sql().await.batch_execute(late).await.expect("later");
    let third = post(&world.client, CONNECT, "k", &json!({})).await;
    assert_ne!(third.data(200)["state"], second.data(200)["state"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_went_on_is_told_as_it_stands() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let path = format!("/api/v1/creators/{creator}/sync");
    let ask =
        || world.client.request(Method::POST, &path).header("idempotency-key", "k").header("prefer", "respond-async");
    let first = send(ask()).await;
    is_replay_of_job(&first, &send(ask()).await, "queued");
    let set = async |change: &str| {
        let job = first.body["data"]["jobId"].as_str().expect("a job");
        world
            .sql()
            .await
            .batch_execute(&format!("UPDATE jobs SET {change} WHERE id = '{job}'"))
            .await
            .expect("changed");
    };
    set("state = 'running'").await;
    is_replay_of_job(&first, &send(ask()).await, "running");
    set("state = 'failed', error_code = 'platform_error', finished_at = now()").await;
    let anew = send(ask()).await;
    assert_ne!(anew.data(202)["jobId"], first.data(202)["jobId"], "it is asked for anew");
    // A creator that must connect again, and has.
    let refused =
        "UPDATE creators SET status = 'REAUTHORIZATION_REQUIRED'; DELETE FROM idempotency_keys; DELETE FROM jobs";
    world.sql().await.batch_execute(refused).await.expect("changed");
    assert_eq!(send(ask()).await.error(409), "reauthorization_required");
    world.sql().await.batch_execute("UPDATE creators SET status = 'ACTIVE'").await.expect("changed");
    assert_eq!(send(ask()).await.data(202)["synced"], false);
}

#[track_caller]
fn is_replay_of_job(first: &Answer, again: &Answer, status: &str) {
    let job = &first.data(202)["jobId"];
    assert_eq!(again.data(202), &json!({"synced": false, "jobId": job, "status": status}));
    assert_eq!(
        (again.header("idempotent-replayed"), again.header("location")),
        (Some("true"), first.header("location"))
    );
    assert!(again.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_first_runs_the_others_are_told_and_a_client_that_hangs_up_finds_the_answer() {
    let world = World::with(Options { sync_wait: "30s", ..Options::default() }).await;
    let creator = world.creator("open-1").await;
    let path = format!("/api/v1/creators/{creator}/sync");
    let asking = tokio::spawn({
        let (client, path) = (world.client.clone(), path.clone());
        async move { post(&client, &path, "k", &json!({})).await }
    });
    eventually("the first request", || async { (count(&world, "idempotency_keys").await > 0).then_some(()) }).await;
    for _ in 0..3 {
        let told = post(&world.client, &path, "k", &json!({})).await;
        assert_eq!(told.error(409), "idempotency_in_progress");
        assert!(told.header("retry-after").is_some());
    }
    assert_eq!(post(&world.client, &path, "k", &json!({"x": 1})).await.error(422), "idempotency_mismatch");
    asking.abort();
    finish_sync(&world, creator).await;
    let found = eventually("the first one's answer", || async {
        let answer = post(&world.client, &path, "k", &json!({})).await;
        (answer.status != 409).then_some(answer)
    })
    .await;
    assert_eq!(found.data(200)["synced"], true);
    assert_eq!(found.header("idempotent-replayed"), Some("true"));
    let syncs = format!(
        "jobs WHERE creator_id = '{creator}' AND created_at > (SELECT min(created_at) FROM idempotency_keys) - interval '1 minute'"
    );
    assert_eq!(count(&world, &syncs).await, 2, "the first one of the connection, and this");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_happen_once() {
    let world = World::start().await;
    let asking = (0..20).map(|_| {
        let client = world.client.clone();
        tokio::spawn(async move { post(&client, BULK, "k", &json!({})).await })
    });
    let answers = futures::future::join_all(asking).await;
    let answers: Vec<Answer> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
    assert!(answers.iter().all(|answer| [202, 409].contains(&answer.status.as_u16())));
    let fresh = answers.iter().filter(|answer| answer.status == 202 && answer.header("idempotent-replayed").is_none());
    assert_eq!((fresh.count(), count(&world, "batches").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_frees_the_key_within_seconds_for_the_same_request() {
    let world = World::start().await;
    post(&world.client, BULK, "k", &json!({})).await.data(202);
    // As a process leaves it that died at this moment: the lease has its whole time.
    let crash = "UPDATE idempotency_keys SET answer = NULL, lease_expires_at = now() + interval '15 seconds'";
    world.sql().await.batch_execute(crash).await.expect("crashed");
    let crashed = Instant::now();
    assert_eq!(post(&world.client, BULK, "k", &json!({})).await.error(409), "idempotency_in_progress");
    // Time that passes is not waited for.
    let passed = "UPDATE idempotency_keys SET lease_expires_at = lease_expires_at - interval '15 seconds'";
    world.sql().await.batch_execute(passed).await.expect("passed");
    assert!(crashed.elapsed() < Duration::from_secs(60));
    assert_eq!(post(&world.client, BULK, "k", &json!({"olderThan": "1h"})).await.error(422), "idempotency_mismatch");
    let anew = post(&world.client, BULK, "k", &json!({})).await;
    anew.data(202);
    assert!(anew.header("idempotent-replayed").is_none());
    is_replay(&anew, &post(&world.client, BULK, "k", &json!({})).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_for_a_day_and_then_pruned() {
    let world = World::start().await;
    let first = post(&world.client, BULK, "k", &json!({})).await;
    let older = |hours: u32| format!("UPDATE idempotency_keys SET created_at = now() - interval '{hours} hours'");
    world.sql().await.batch_execute(&older(23)).await.expect("older");
    assert_eq!(world.store.prune_requests(10).await.expect("pruned"), 0);
    is_replay(&first, &post(&world.client, BULK, "k", &json!({})).await);
    world.sql().await.batch_execute(&older(24)).await.expect("older");
    let anew = post(&world.client, BULK, "k", &json!({"olderThan": "1h"})).await;
    assert_ne!(
        anew.data(202)["batchId"],
        first.data(202)["batchId"],
        "another request by now, whether it was pruned or not"
    );
    world.sql().await.batch_execute(&older(24)).await.expect("older");
    assert_eq!(world.store.prune_requests(10).await.expect("pruned"), 1);
    assert_eq!(count(&world, "idempotency_keys").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_ours_is_not_kept() {
    let world = World::start().await;
    let broken = "ALTER TABLE batches RENAME TO gone";
    world.sql().await.batch_execute(broken).await.expect("renamed");
    assert_eq!(post(&world.client, BULK, "k", &json!({})).await.error(500), "internal");
    assert_eq!(count(&world, "idempotency_keys").await, 0);
    world.sql().await.batch_execute("ALTER TABLE gone RENAME TO batches").await.expect("renamed");
    post(&world.client, BULK, "k", &json!({})).await.data(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_the_project_and_needs_the_scope_too() {
    let world = World::start().await;
    let first = post(&world.client, CONNECT, "k", &json!({})).await;
    first.data(200);
    let stranger = post(&world.stranger().await, CONNECT, "k", &json!({})).await;
    assert_ne!(stranger.data(200)["state"], first.data(200)["state"]);
    let reader = world.limited(&[KeyScope::Read], None).await;
    assert_eq!(post(&reader, CONNECT, "k", &json!({})).await.error(403), "forbidden");
    let expires = Some(Utc::now() + TimeDelta::hours(1));
    let second = world.limited(&[KeyScope::Connect], expires).await;
    is_replay(&first, &post(&second, CONNECT, "k", &json!({})).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_kept_in_clear() {
    let world = World::start().await;
    let body = json!({"externalRef": "find-the-ref"});
    let first = post(&world.client, CONNECT, "find-the-key", &body).await;
    let state = first.data(200)["state"].as_str().expect("a state").to_owned();
    let sql = sql(&world.database_url).await;
    let rows = sql.query("SELECT to_jsonb(k)::text || encode(answer, 'escape') FROM idempotency_keys k", &[]).await;
    let row: String = rows.expect("rows")[0].get(0);
    for secret in [state.as_str(), "find-the-ref", "find-the-key", "authUrl"] {
        assert!(!row.contains(secret), "{secret}");
    }
    // Under another encryption key it does not open: the request is new.
    sql.batch_execute("UPDATE idempotency_keys SET answer = set_byte(answer, 3, get_byte(answer, 3) # 1)")
        .await
        .expect("changed");
    let anew = post(&world.client, CONNECT, "find-the-key", &body).await;
    assert_ne!(anew.data(200)["state"], state.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_though_postgres_breaks_off_when_it_is_written() {
    let world = World::start().await;
    // What nextval counts is not undone with the rest.
    let breaks_off = "CREATE SEQUENCE tries; CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tries') <= 2 THEN RAISE 'terminating connection due to a test'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER breaks_off BEFORE UPDATE OF answer ON idempotency_keys FOR EACH ROW WHEN (NEW.answer IS NOT NULL)
            EXECUTE FUNCTION break_off()";
    world.sql().await.batch_execute(breaks_off).await.expect("a trigger");
    let first = post(&world.client, BULK, "k", &json!({})).await;
    first.data(202);
    is_replay(&first, &post(&world.client, BULK, "k", &json!({})).await);
    assert_eq!(count(&world, "batches").await, 1);
}
