//! `metriqlab jobs` and `metriqlab status`, on a real system.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use shared::store::Store;
use shared::store::members::Actor;

use crate::support::servers::PrivateRedis;
use crate::support::{System, within};

const LIMIT: Duration = Duration::from_secs(60);

async fn text(system: &System, query: &str) -> String {
    system.sql().await.query_one(query, &[]).await.unwrap().get(0)
}

fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// A creator of a batch whose sync TikTok has refused for good by now; our id, the job's and the batch's.
async fn dead_job(system: &System) -> (String, String, String) {
    let open_id = system.sandbox.user(2).await;
    let creator = system.connect(&open_id).await;
    system.settled().await;
    system
        .sandbox
        .fault(json!({"endpoint": "video_list", "kind": "error", "status": 400, "code": "invalid_params", "message": "no"}))
        .await;
    // A bulk job tries for an hour: it is held until only the last try is left.
    system.pause("bulk").await;
    let asked = system.client.request(reqwest::Method::POST, "/api/v1/creators/sync").json(&json!({"ids": [creator]}));
    let batch = system.client.send(asked).await.data(202)["batchId"].as_str().unwrap().to_owned();
    let sql = system.sql().await;
    // A tick of the scheduler that began before the pause may hand it to Redis all the same, where the gate holds it.
    let held = "UPDATE jobs SET attempts = 7 WHERE state IN ('waiting', 'enqueued')";
    assert_eq!(sql.execute(held, &[]).await.unwrap(), 1);
    system.run(&["queue", "resume", "bulk"]).await;
    let dead = within(LIMIT, "the job is dead", async || {
        let row = sql.query_opt("SELECT id::text FROM jobs WHERE state = 'failed'", &[]).await.unwrap();
        row.map(|row| row.get::<_, String>(0))
    })
    .await;
    system.sandbox.clear_faults().await;
    (creator, dead, batch)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_is_listed_shown_tried_again_and_its_batch_counts_it() {
    let mut system = System::builder().set("METRIQLAB_RESYNC_EVERY", "off").start().await;
    let (creator, dead, batch) = dead_job(&system).await;
    let listed = objects(&system.run(&["jobs", "list", "--state", "dead", "--project", "test", "--json"]).await);
    assert_eq!(listed.len(), 1);
    let job = &listed[0];
    assert_eq!((&job["id"], &job["state"], &job["project"]), (&json!(dead), &json!("failed"), &json!("test")));
    assert_eq!((&job["creatorId"], &job["kind"]), (&json!(creator), &json!("sync")));
    assert!(job["error"]["code"].is_string() && job["error"]["logId"].is_string(), "{job}");
    let shown = system.run(&["jobs", "show", &dead]).await;
    assert!(shown.contains("log_id") && shown.contains(&creator) && shown.contains("failed"), "{shown}");
    let read = system.client.get(&format!("/api/v1/batches/{batch}")).await;
    assert_eq!(read.data(200)["failed"], 1);
    let said = system.run(&["jobs", "retry", &dead]).await;
    assert!(said.contains("is tried again"), "{said}");
    within(LIMIT, "the batch has it done", async || {
        let read = system.client.get(&format!("/api/v1/batches/{batch}")).await;
        let read = read.data(200).clone();
        (read["done"] == 1 && read["failed"] == 0 && read["finishedAt"].is_string()).then_some(())
    })
    .await;
    let shown = system.run(&["jobs", "show", &dead]).await;
    assert!(!shown.contains("log_id"), "it is done, and nothing is wrong: {shown}");
    let again = system.output(&["jobs", "retry", &dead]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is done, not dead"));
    // The batch outlives its jobs, but not for ever. The worker would prune it, too.
    system.workers[0].terminate().await;
    let store = Store::open(&SecretString::from(system.database_url.as_str()), 1).unwrap();
    let sql = system.sql().await;
    let aged = async |days: i32| {
        let age = "UPDATE batches SET finished_at = now() - make_interval(days => $1)";
        sql.execute(age, &[&days]).await.unwrap();
        store.prune_batches(10).await.unwrap()
    };
    assert_eq!((aged(29).await, aged(31).await), (0, 1));
    assert_eq!(text(&system, "SELECT count(*)::text FROM batch_jobs").await, "0");
}

/// Rows as a week of trouble leaves them: dead syncs, poison among them, and a dead revocation.
const TROUBLE: &str = "
    INSERT INTO creators (id, project_id, credential_id, platform, external_id, status, disconnecting_at, next_sync_at)
    SELECT uuid_v7(), project_id, credential_id, platform, external_id || '-' || n,
        CASE WHEN n = 2 THEN 'REAUTHORIZATION_REQUIRED' ELSE 'ACTIVE' END,
        CASE WHEN n = 3 THEN now() END, now() + interval '1 day'
    FROM creators, generate_series(1, 1200) AS n;
    INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, attempts, error_code, error, finished_at)
    SELECT uuid_v7(), 'sync', 'sync', id, project_id, 'failed', 4, 'internal', 'the job ended its worker 3 times', now()
    FROM creators;";

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_are_tried_again_all_together_and_what_can_t_be_is_said() {
    let system = System::builder().workers(0).set("METRIQLAB_RESYNC_EVERY", "off").start().await;
    let open_id = system.sandbox.user(1).await;
    system.connect(&open_id).await;
    // Its first sync is open: no worker runs.
    system.sql().await.batch_execute(TROUBLE).await.unwrap();
    let listed = objects(&system.run(&["jobs", "list", "--state", "failed", "--limit", "700", "--json"]).await);
    assert_eq!(listed.len(), 700);
    assert!(listed.is_sorted_by(|one, other| one["id"].as_str() > other["id"].as_str()), "newest first, each once");
    let poison = system.run(&["jobs", "show", listed[0]["id"].as_str().unwrap()]).await;
    assert!(poison.contains("ended its worker 3 times"), "{poison}");
    let said = system.run(&["jobs", "retry", "--dead", "--kind", "sync"]).await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("1198 dead jobs are tried again"), "{said}");
    assert_eq!(lines.len(), 4, "a newer job, disconnected, must connect again: {said}");
    assert!(lines[1..].iter().all(|line| line.starts_with("1 are left as they are: ")), "{said}");
    let waiting = "SELECT count(*)::text FROM jobs WHERE state = 'waiting' AND lane = 'bulk' AND attempts = 0";
    assert_eq!(text(&system, waiting).await, "1198");
    let blamed =
        "SELECT count(*)::text FROM jobs WHERE state = 'waiting' AND num_nonnulls(error_code, error, log_id) > 0";
    assert_eq!(text(&system, blamed).await, "0", "what failed before is not what is wrong now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_is_discarded_and_a_revocation_is_not() {
    let system = System::builder().workers(0).start().await;
    let open_id = system.sandbox.user(1).await;
    let creator = system.connect(&open_id).await;
    let sync = text(&system, "SELECT id::text FROM jobs").await;
    let refuse = async |id: &str, word: &str| {
        let output = system.output(&["jobs", "discard", id]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(word) && said.lines().count() == 1, "{said}");
    };
    refuse(&sync, "somebody may wait").await;
    system.sql().await.batch_execute("UPDATE jobs SET state = 'failed', finished_at = now()").await.unwrap();
    assert!(system.run(&["jobs", "discard", &sync]).await.contains("is discarded"));
    assert_eq!(text(&system, "SELECT state FROM jobs").await, "cancelled");
    refuse(&sync, "is cancelled already").await;
    let delete = system.client.request(reqwest::Method::DELETE, &format!("/api/v1/creators/{creator}"));
    system.client.send(delete.header("Prefer", "respond-async")).await.data(202);
    let revocation = text(&system, "SELECT id::text FROM jobs WHERE kind = 'revoke'").await;
    refuse(&revocation, "never given up").await;
    refuse("01a20e03-4827-72b4-b1d9-38d4b8f1a19a", "there is no job").await;
    for wrong in [&["jobs", "show", "nonsense"][..], &["jobs", "list", "--state", "odd"], &["jobs", "retry"]] {
        let output = system.output(wrong).await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_it_all_and_goes_on_without_redis() {
    let mut redis = PrivateRedis::start().await;
    let system = System::builder()
        .apis(0)
        .on_redis(&redis.url)
        .set("METRIQLAB_RESYNC_EVERY", "6h")
        .set("TIKTOK_RATE_PER_MINUTE", "500")
        .start()
        .await;
    system.run(&["queue", "pause", "bulk"]).await;
    let status = within(LIMIT, "the worker is seen", async || {
        let status: Value = serde_json::from_str(&system.run(&["status", "--json"]).await).unwrap();
        (is_whole(&status) && status["workers"][0].is_object()).then_some(status)
    })
    .await;
    assert_eq!(status["workers"].as_array().unwrap().len(), 1);
    assert_eq!(status["redis"], json!({"reachable": true, "error": null}));
    let lanes = status["lanes"].as_array().unwrap();
    assert_eq!(lanes.iter().map(|lane| &lane["lane"]).collect::<Vec<_>>(), ["revoke", "sync", "bulk"]);
    assert_eq!((&lanes[1]["state"], &lanes[2]["state"]), (&json!("open"), &json!("paused")));
    assert!(lanes[2]["changedAt"].is_string());
    for lane in lanes {
        for number in ["ready", "delayed", "running", "waiting", "dead"] {
            assert_eq!(lane[number], 0, "{lane}");
        }
        assert_eq!(lane["oldestSeconds"], Value::Null);
    }
    assert!(status["workers"][0]["lastHeartbeatSeconds"].as_f64().unwrap() < 60.0);
    let endpoints: Vec<&Value> = status["quota"].as_array().unwrap().iter().map(|quota| &quota["endpoint"]).collect();
    assert_eq!(endpoints, ["user_info", "video_list"]);
    assert_eq!((&status["quota"][0]["used"], &status["quota"][0]["quota"]), (&json!(0), &json!(500)));
    assert_eq!((&status["quota"][0]["ceiling"], &status["quota"][0]["breaker"]), (&json!(500), &json!("closed")));
    assert_eq!(status["quota"][0]["probeSeconds"], Value::Null);
    assert_eq!(status["creators"], json!({"active": 0, "reauthorizationRequired": 0, "disconnecting": 0, "due": 0}));
    assert_eq!(status["forecast"]["fits"], true);
    in_a_folder_of_up(&system).await;
    let plain = system.run(&["status"]).await;
    assert!(plain.contains("paused") && !plain.contains('\x1b'), "{plain}");
    redis.stop().await;
    let status: Value = serde_json::from_str(&system.run(&["status", "--json"]).await).unwrap();
    assert_eq!(status["redis"]["reachable"], false);
    assert_eq!((&status["workers"], &status["lanes"][0]["ready"]), (&Value::Null, &Value::Null));
    assert_eq!(status["lanes"][2]["state"], "paused");
    assert!(system.run(&["status"]).await.contains("Redis is out of reach"));
    let output = system.output(&["status", "--database-url", "postgres://127.0.0.1:1/none"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
}

/// Three hundred creators that are synced once an hour. Of ten pages of videos the schedule reads three each time, and seven once
/// a week. Beside them one that is left alone, and one that must connect again.
const CADENCES: &str = "
    UPDATE creators SET resync_every = 0;
    INSERT INTO creators (id, project_id, credential_id, platform, external_id, status, resync_gap, video_count, recent_videos)
    SELECT uuid_v7(), project_id, credential_id, platform, external_id || '-' || n,
        CASE WHEN n = 0 THEN 'REAUTHORIZATION_REQUIRED' ELSE 'ACTIVE' END, 3600, 200, 40
    FROM creators, generate_series(0, 300) AS n;";

#[tokio::test(flavor = "multi_thread")]
async fn the_forecast_is_what_the_cadences_need_of_each_endpoint() {
    let mut system = System::builder().workers(0).set("METRIQLAB_RESYNC_EVERY", "1d").start().await;
    system.connect(&system.sandbox.user(1).await).await;
    system.sql().await.batch_execute(CADENCES).await.unwrap();
    let (profiles, pages) = (300.0 / 60.0, 300.0 * (3.0 / 60.0 + 7.0 / (7.0 * 24.0 * 60.0)));
    for (quota, window, a_minute, fits) in
        [("10", "60s", 10.0, false), ("1", "10s", 6.0, false), ("10", "10s", 60.0, true)]
    {
        for (name, value) in [("TIKTOK_RATE_PER_MINUTE", quota), ("TIKTOK_RATE_WINDOW", window)] {
            system.variables.retain(|(known, _)| known != name);
            system.variables.push((name.to_owned(), value.to_owned()));
        }
        let status: Value = serde_json::from_str(&system.run(&["status", "--json"]).await).unwrap();
        assert_eq!((&status["forecast"]["creators"], &status["forecast"]["goesBy"]), (&json!(300), &json!("settings")));
        for (place, endpoint, needed) in [(0, "user_info", profiles), (1, "video_list", pages)] {
            let forecast = &status["quota"][place];
            assert_eq!(forecast["endpoint"], endpoint);
            let (found, expected) = (forecast["forecastPercent"].as_f64().unwrap(), needed / a_minute * 100.0);
            assert!((found - expected).abs() < 0.001, "{quota} in {window}, {endpoint}: {found}, not {expected}");
        }
        assert_eq!(status["forecast"]["fits"], fits, "{quota} in {window}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_key_is_listed_with_what_it_may_do() {
    let system = System::builder().workers(0).start().await;
    let arguments = ["keys", "create", "--project", "limited", "--scopes", "sync,read", "--expires", "90d"];
    let key = system.run(&arguments).await.trim().to_owned();
    let listed = system.run(&["keys", "list"]).await;
    let line = listed.lines().find(|line| line.starts_with(&key[..12])).expect("the key's line").to_owned();
    assert!(line.contains("limited  scopes read,sync  expires 20"), "{line}");
    let whole = listed.lines().find(|line| !line.starts_with(&key[..12])).expect("the system's own key").to_owned();
    assert!(!whole.contains("scopes") && !whole.contains("expires"), "{whole}");
    let ask = |method: reqwest::Method, path: &str| {
        reqwest::Client::new().request(method, format!("{}{path}", system.client.base)).header("x-api-key", &key).send()
    };
    assert_eq!(ask(reqwest::Method::GET, "/api/v1/creators").await.expect("an answer").status(), 200);
    assert_eq!(ask(reqwest::Method::POST, "/api/v1/connect/tiktok").await.expect("an answer").status(), 403);
}

/// Whether no part is missing: each may take a certain time, which may be too short on a machine that stands still.
fn is_whole(status: &Value) -> bool {
    let quotas = status["quota"].as_array().expect("the quotas").iter();
    let mut parts = quotas.map(|quota| &quota["used"]).chain([&status["workers"], &status["creators"]]);
    status["redis"]["reachable"] == true && parts.all(|part| !part.is_null())
}

/// Where `up` keeps these servers and a sandbox, the status has all that it needs, the quota's use too.
async fn in_a_folder_of_up(system: &System) {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join(".metriqlab");
    for (name, text) in [
        ("postgres/url", system.database_url.as_str()),
        ("redis/url", system.redis_url.as_str()),
        ("sandbox-url", "http://127.0.0.1:1"),
    ] {
        std::fs::create_dir_all(kept.join(name).parent().expect("a folder")).expect("make it");
        std::fs::write(kept.join(name), text).expect("write it");
    }
    let prefix = system.variables.iter().filter(|(name, _)| name == "METRIQLAB_REDIS_PREFIX").cloned();
    let prefix = prefix.collect::<Vec<_>>();
    // Nothing is set here: cadence and quota are the worker's word.
    let status = within(LIMIT, "the worker has said what it goes by", async || {
        let mut command = crate::support::process::program(&["status", "--json"], &prefix, folder.path());
        let output = command.output().await.expect("run the program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        // Each part of the status is read by itself, and the worker may come to its word between two of them.
        let goes_by_it = status["forecast"]["goesBy"] == "workers" && status["quota"][0]["quota"] == 500;
        (goes_by_it && is_whole(&status)).then_some(status)
    })
    .await;
    assert_eq!((&status["workers"][0]["jobs"], &status["quota"][0]["used"]), (&json!(0), &json!(0)));
    let forecast = &status["forecast"];
    assert_eq!((&forecast["longestAgeSeconds"], &forecast["workersAgree"]), (&json!(21_600.0), &json!(true)));
    assert_eq!(&status["quota"][0]["ceiling"], &json!(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_until_it_is_asked_to_end() {
    let system = System::builder().apis(0).workers(0).start().await;
    let folder = system.folder.path();
    let arguments = ["status", "--watch", "--json"];
    let mut watch = crate::support::process::Process::start("watch", &arguments, &system.variables, folder);
    within(LIMIT, "two frames", async || {
        (watch.said().lines().filter(|line| line.starts_with('{')).count() >= 2).then_some(())
    })
    .await;
    watch.signal(nix::sys::signal::Signal::SIGINT);
    assert!(watch.wait().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_named_by_its_id_where_several_have_its_name() {
    let system = System::builder().workers(0).start().await;
    let create = |project: &str| ["keys", "create", "--project", project].map(str::to_owned);
    let run = async |arguments: &[String]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = system.output(&arguments).await;
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(run(&create("twins")).await.0, Some(0), "it is made");
    assert_eq!(run(&create("twins")).await.0, Some(0), "and found");
    let first = text(&system, "SELECT id::text FROM projects WHERE name = 'twins'").await;
    // Somebody calls theirs the same, in the dashboard.
    let store = Store::open(&SecretString::from(system.database_url.clone()), 1).expect("a store");
    let email = "ada@example.com".parse().expect("an address");
    let user = store.add_password_link(&email, &[1; 32]).await.expect("a user");
    let second = store.create_project(Actor { user, email: &email }, "twins").await.expect("a project").to_string();
    let before = text(&system, "SELECT count(*)::text FROM api_keys").await;
    for arguments in [
        create("twins").to_vec(),
        ["resync", "--project", "twins"].map(str::to_owned).to_vec(),
        ["resync", "--project", "twins", "--every", "6h"].map(str::to_owned).to_vec(),
        ["jobs", "list", "--project", "twins"].map(str::to_owned).to_vec(),
    ] {
        let (status, said) = run(&arguments).await;
        assert_eq!(status, Some(1), "{arguments:?}: {said}");
        let names_both = said.contains(&first) && said.contains(&second);
        assert!(names_both && said.contains("owners: ada@example.com"), "{arguments:?}: {said}");
    }
    assert_eq!(text(&system, "SELECT count(*)::text FROM api_keys").await, before, "no key was made");
    assert_eq!(run(&create(&second)).await.0, Some(0), "an id is clear");
    let of = format!("SELECT count(*)::text FROM api_keys WHERE project_id = '{second}'");
    assert_eq!(text(&system, &of).await, "1");
    let unknown = shared::ids::ProjectId::new().to_string();
    assert_eq!(run(&create(&unknown)).await.0, Some(1), "an id makes no project");
}
