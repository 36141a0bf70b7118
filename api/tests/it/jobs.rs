//! Syncs and disconnects: queued, waited for, joined, and answered by the job's last word.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use shared::ids::{CreatorId, JobId};
use shared::queue::{Final, Lane};
use shared::store::jobs::{Failure, Fence, Start};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{Answer, Client, Options, World, eventually, send};

fn sync_path(creator: CreatorId) -> String {
    format!("/api/v1/creators/{creator}/sync")
}

async fn open_job(world: &World, creator: CreatorId, kind: &str) -> JobId {
    let select =
        format!("SELECT id::text FROM jobs WHERE creator_id = '{creator}' AND kind = '{kind}' AND finished_at IS NULL");
    let sql = world.sql().await;
    eventually("an open job", || async {
        let row = sql.query_opt(&select, &[]).await.expect("rows");
        row.map(|row| row.get::<_, String>(0).parse().expect("an id"))
    })
    .await
}

async fn claim(world: &World, job: JobId) -> Fence {
    match world.store.start_job(job).await.expect("started") {
        Start::Claimed(job) => job.fence(),
        other => panic!("not claimed: {other:?}"),
    }
}

/// Ends a job as a worker does: the row, then the notice.
async fn finish(world: &World, job: JobId, state: &str) {
    let update = format!("UPDATE jobs SET state = '{state}', finished_at = now() WHERE id = '{job}'");
    world.sql().await.batch_execute(&update).await.expect("ended");
    world.queue.notify(job, &if state == "done" { Final::Done } else { Final::Cancelled }).await.expect("told");
}

fn in_background(client: &Client, method: Method, path: String) -> tokio::task::JoinHandle<Answer> {
    let client = client.clone();
    tokio::spawn(async move { send(client.request(method, &path)).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_is_answered_when_its_job_is_done_and_shared_by_all_who_ask() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    // Five callers come to the single flight at the same instant: when the lock goes.
    let mut sql = world.sql().await;
    let lock = sql.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE jobs IN EXCLUSIVE MODE").await.expect("locked");
    let asking: Vec<_> = (0..5).map(|_| in_background(&world.client, Method::POST, sync_path(creator))).collect();
    let watcher = world.sql().await;
    eventually("five callers at the lock", || async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let row = watcher.query_one(waiting, &[]).await.expect("a row");
        (row.get::<_, i64>(0) == 5).then_some(())
    })
    .await;
    lock.rollback().await.expect("unlocked");
    let (ended, mut answers) = (AtomicBool::new(false), Vec::new());
    let working = async {
        // Who comes to a job that is done already gets one of its own; it is done too.
        while !ended.load(Ordering::Relaxed) {
            if let Some(job) = first_open_job(&watcher).await {
                finish(&world, job, "done").await;
            }
        }
    };
    let collecting = async {
        for answer in asking {
            answers.push(answer.await.expect("an answer"));
        }
        ended.store(true, Ordering::Relaxed);
    };
    tokio::join!(working, collecting);
    for answer in answers {
        assert_eq!(answer.data(200), &json!({"synced": true}));
    }
    let row = watcher.query_one("SELECT count(*) FROM jobs WHERE kind = 'sync'", &[]).await.expect("a row");
    assert!(row.get::<_, i64>(0) < 1 + 5, "the first one, and fewer than one for each caller");
}

async fn first_open_job(sql: &tokio_postgres::Client) -> Option<JobId> {
    let row = sql.query_opt("SELECT id::text FROM jobs WHERE finished_at IS NULL LIMIT 1", &[]).await.expect("rows");
    row.map(|row| row.get::<_, String>(0).parse().expect("an id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_takes_longer_is_accepted_and_told_where_to_ask() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let began = Instant::now();
    let answer = send(world.client.request(Method::POST, &sync_path(creator)).header("prefer", "wait=1")).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    let data = answer.data(202).clone();
    let job = data["jobId"].as_str().expect("a job").to_owned();
    assert_eq!(data, json!({"synced": false, "jobId": job, "status": "queued"}));
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert_eq!(answer.header("location"), Some(format!("/api/v1/jobs/{job}").as_str()));
    assert!(answer.header("retry-after").expect("a time").parse::<u64>().expect("seconds") >= 1);

    let async_ = send(world.client.request(Method::POST, &sync_path(creator)).header("prefer", "respond-async")).await;
    assert_eq!(async_.data(202)["jobId"], job, "the same job");
    assert_eq!(async_.header("preference-applied"), Some("respond-async"));

    let shown = world.client.get(&format!("/api/v1/jobs/{job}")).await;
    let expected = json!({"id": job, "kind": "sync", "creatorId": creator.to_string(), "externalRef": null, "status": "queued", "attempts": 0,
        "error": null, "createdAt": shown.data(200)["createdAt"], "finishedAt": null});
    assert_eq!(shown.data(200), &expected);
    let fence = claim(&world, job.parse().expect("an id")).await;
    assert_eq!(world.client.get(&format!("/api/v1/jobs/{job}")).await.data(200)["status"], "running");
    let failure = Failure { code: "platform_error", message: "TikTok is down".into(), log_id: None };
    world.store.retry_job(fence, Lane::Sync, Duration::from_secs(1), &failure).await.expect("retried");
    let shown = world.client.get(&format!("/api/v1/jobs/{job}")).await;
    assert_eq!(shown.data(200)["status"], "retrying");
    assert_eq!(shown.data(200)["attempts"], 1);
    assert_eq!(shown.data(200)["error"], json!({"code": "platform_error", "message": "TikTok is down"}));
    finish(&world, job.parse().expect("an id"), "done").await;
    let shown = world.client.get(&format!("/api/v1/jobs/{job}")).await;
    assert_eq!((&shown.data(200)["status"], &shown.data(200)["error"]), (&json!("done"), &Value::Null));
    assert!(shown.data(200)["finishedAt"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_is_the_contracts_error() {
    let world = World::start().await;
    for (code, status) in [("platform_error", 502), ("reauthorization_required", 409), ("internal", 500)] {
        let creator = world.creator(code).await;
        let answer = in_background(&world.client, Method::POST, sync_path(creator));
        let job = open_job(&world, creator, "sync").await;
        let fence = claim(&world, job).await;
        let failure = Failure { code, message: "a secret detail".into(), log_id: None };
        assert!(world.store.fail_job(fence, &failure).await.expect("failed"));
        world.queue.notify(job, &Final::Failed { code: code.into() }).await.expect("told");
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.error(status), code);
        assert!(!answer.text.contains("secret"), "{}", answer.text);
        assert_eq!(world.client.get(&format!("/api/v1/jobs/{job}")).await.data(200)["error"]["code"], code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_that_must_connect_again_is_not_queued() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    world.sql().await.batch_execute("UPDATE creators SET status = 'REAUTHORIZATION_REQUIRED'").await.expect("marked");
    assert_eq!(world.client.post(&sync_path(creator)).await.error(409), "reauthorization_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_bulk_job_becomes_interactive() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let insert = format!(
        "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, run_at)
        SELECT gen_random_uuid(), 'sync', 'bulk', id, project_id, 'waiting', now() + interval '1 hour' FROM creators WHERE id = '{creator}'"
    );
    world.sql().await.batch_execute(&insert).await.expect("a bulk job");
    let bulk = open_job(&world, creator, "sync").await;
    let answer = send(world.client.request(Method::POST, &sync_path(creator)).header("prefer", "respond-async")).await;
    assert_eq!(answer.data(202)["jobId"], bulk.to_string());
    let select = "SELECT lane, state, run_at <= now() FROM jobs WHERE finished_at IS NULL";
    let row = world.sql().await.query_one(select, &[]).await.expect("a row");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1), row.get::<_, bool>(2)), ("sync", "enqueued", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_is_pushed_to_its_lane() {
    let world = World::start().await;
    let ready = async |lane| world.queue.depth(lane).await.expect("Redis").ready;
    let creator = world.creator("open-1").await;
    let later = |method, path: &str| world.client.request(method, path).header("prefer", "respond-async");
    for _ in 0..3 {
        send(later(Method::POST, &sync_path(creator))).await.data(202);
        assert_eq!((ready(Lane::Sync).await, ready(Lane::Revoke).await), (1, 0));
    }
    send(later(Method::DELETE, &format!("/api/v1/creators/{creator}"))).await.data(202);
    assert_eq!(ready(Lane::Revoke).await, 1);
}

/// Asks, and hangs up for good while the request waits for Postgres: a reset, which the server notices at once.
async fn hang_up_while_it_waits(world: &World, method: &Method, path: &str) {
    let mut stream = TcpStream::connect(world.api.addr()).await.expect("connected");
    let key = &world.client.key;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nx-api-key: {key}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let sql = world.sql().await;
    eventually("it waits for the lock", || async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'jobs'::regclass \
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let row = sql.query_one(waiting, &[]).await.expect("a row");
        (row.get::<_, i64>(0) > 0).then_some(())
    })
    .await;
    stream.set_zero_linger().expect("set");
    drop(stream);
    // Connections go to the server's threads in turn: each has looked at its own again after these. None is used twice.
    let unpooled = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(90));
    let unpooled = unpooled.build().expect("an HTTP client");
    for _ in 0..64 {
        assert_eq!(send(unpooled.get(format!("{}/healthz", world.base))).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_nothing_that_it_asked_for() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let asked = [
        (Method::POST, sync_path(creator), "sync", Lane::Sync),
        (Method::DELETE, format!("/api/v1/creators/{creator}"), "revoke", Lane::Revoke),
    ];
    for (method, path, kind, lane) in asked {
        let mut sql = world.sql().await;
        let lock = sql.transaction().await.expect("a transaction");
        lock.batch_execute("LOCK TABLE jobs IN EXCLUSIVE MODE").await.expect("locked");
        hang_up_while_it_waits(&world, &method, &path).await;
        lock.rollback().await.expect("unlocked");
        open_job(&world, creator, kind).await;
        eventually("it is pushed", || async {
            (world.queue.depth(lane).await.expect("Redis").ready == 1).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_creator_is_gone_at_once_and_its_waiting_sync_is_told() {
    let world = World::start().await;
    let creator = world.creator("open-1").await;
    let sync = in_background(&world.client, Method::POST, sync_path(creator));
    open_job(&world, creator, "sync").await;
    let path = format!("/api/v1/creators/{creator}");
    let first = in_background(&world.client, Method::DELETE, path.clone());
    let job = open_job(&world, creator, "revoke").await;
    for gone in ["", "/profile", "/videos"] {
        assert_eq!(world.client.get(&format!("{path}{gone}")).await.error(404), "not_found");
    }
    assert_eq!(world.client.get("/api/v1/creators").await.data(200), &json!([]));
    assert_eq!(world.client.post(&sync_path(creator)).await.error(404), "not_found");
    assert_eq!(sync.await.expect("an answer").error(404), "not_found");
    let joined = send(world.client.request(Method::DELETE, &path).header("prefer", "wait=0")).await;
    assert_eq!(joined.data(202), &json!({"disconnected": false, "jobId": job.to_string(), "status": "queued"}));
    assert_eq!(joined.header("location"), Some(format!("/api/v1/jobs/{job}").as_str()));
    assert_eq!(world.client.get(&format!("/api/v1/jobs/{job}")).await.data(200)["kind"], "revoke");
    world.sql().await.batch_execute("DELETE FROM creators").await.expect("erased");
    finish(&world, job, "done").await;
    assert_eq!(first.await.expect("an answer").data(200), &json!({"disconnected": true}));
    assert_eq!(world.client.delete(&path).await.error(404), "not_found", "after it, there is nothing");
    assert_eq!(world.client.get(&format!("/api/v1/jobs/{job}")).await.data(200)["status"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_a_promise_is_kept_in_postgres() {
    let nowhere = Options { redis: Some("redis://127.0.0.1:1".into()), sync_wait: "1s", ..Options::default() };
    let world = World::with(nowhere).await;
    let creator = world.creator("open-1").await;
    world.client.get(&format!("/api/v1/creators/{creator}/profile")).await.data(200);
    world.client.post("/api/v1/connect/tiktok").await.data(200);
    let answer = world.client.post(&sync_path(creator)).await;
    assert_eq!(answer.data(202)["status"], "queued");
    let answer = world.client.delete(&format!("/api/v1/creators/{creator}")).await;
    assert_eq!(answer.data(202)["disconnected"], false);
    assert_eq!(world.client.get("/api/v1/creators").await.data(200), &json!([]));
    // The row's word is enough.
    let other = world.creator("open-2").await;
    let path = sync_path(other);
    let waiting = send(world.client.request(Method::POST, &path).header("prefer", "wait=20"));
    let ending = async {
        let job = open_job(&world, other, "sync").await;
        let done = format!("UPDATE jobs SET state = 'done', finished_at = now() WHERE id = '{job}'");
        world.sql().await.batch_execute(&done).await.expect("ended");
    };
    let (answer, ()) = tokio::join!(waiting, ending);
    assert_eq!(answer.data(200), &json!({"synced": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_costs_no_more_than_the_wait() {
    // It takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let redis = format!("redis://{}", silent.local_addr().expect("an address"));
    let world = World::with(Options { redis: Some(redis), ..Options::default() }).await;
    for method in [Method::POST, Method::DELETE] {
        // What a busy machine takes besides is not Redis's: it is asked again, with another creator.
        let mut all = Vec::new();
        for number in 0..5 {
            let took = wait_of_three_seconds(&world, &method, number).await;
            all.push(took);
            if took < Duration::from_secs(5) {
                break;
            }
        }
        assert!(all.iter().any(|took| *took < Duration::from_secs(5)), "{method}: {all:?}");
    }
    eventually("ready without Redis", || async {
        let ready = send(world.client.bare(Method::GET, "/readyz")).await;
        (ready.status == 200 && ready.body["redis"] == "down").then_some(())
    })
    .await;
}

/// How long it takes to ask for a new creator's sync or disconnect, and to wait for three seconds: no worker is there.
async fn wait_of_three_seconds(world: &World, method: &Method, number: u32) -> Duration {
    let creator = world.creator(&format!("{method}-{number}")).await;
    let path = if *method == Method::POST { sync_path(creator) } else { format!("/api/v1/creators/{creator}") };
    let began = Instant::now();
    let answer = send(world.client.request(method.clone(), &path).header("prefer", "wait=3")).await;
    let took = began.elapsed();
    answer.data(202);
    assert!(took >= Duration::from_secs(3), "{took:?}");
    took
}
