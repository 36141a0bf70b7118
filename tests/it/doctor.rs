//! `metriqlab doctor` on a system that is well, and on each thing that can be wrong with it.

use serde_json::{Value, json};

use crate::support::redis::connect;
use crate::support::servers::{PrivatePostgres, PrivateRedis};
use crate::support::system::{CLIENT_SECRET, ENCRYPTION_KEY};
use crate::support::{System, eventually, process};

const OTHER_KEY: &str = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyISE=";

const BOTH_KEYS: &str = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyISE=,MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The report, and the exit status.
struct Diagnosis {
    status: i32,
    report: Value,
    /// All that it said, on whichever way.
    said: String,
}

impl Diagnosis {
    fn check(&self, name: &str) -> &Value {
        let mut checks = self.report["checks"].as_array().expect("checks").iter();
        checks.find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {}", self.report))
    }

    /// The names of the lines that are not ok.
    fn complaints(&self) -> Vec<(&str, &str)> {
        let checks = self.report["checks"].as_array().expect("checks").iter();
        checks
            .map(|check| (check["name"].as_str().expect("a name"), check["level"].as_str().expect("a level")))
            .filter(|(_, level)| *level != "ok")
            .collect()
    }
}

async fn doctor(system: &System, changes: &[(&str, &str)]) -> Diagnosis {
    let output = run(system, &["doctor", "--json"], changes).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let said = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    Diagnosis { status: output.status.code().expect("an exit status"), report, said }
}

async fn run(system: &System, arguments: &[&str], changes: &[(&str, &str)]) -> std::process::Output {
    let address = system.client.base.trim_start_matches("http://").to_owned();
    let mut variables = system.variables.clone();
    variables.push(("METRIQLAB_BIND".to_owned(), address));
    for (name, value) in changes {
        variables.retain(|(known, _)| known != name);
        variables.push(((*name).to_owned(), (*value).to_owned()));
    }
    process::program(arguments, &variables, system.folder.path()).output().await.expect("run the program")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_system_is_well_and_each_fault_is_named() {
    let (mut postgres, mut redis) = tokio::join!(PrivatePostgres::start(), PrivateRedis::start());
    let mut system = System::builder().on_postgres(&postgres.url).on_redis(&redis.url).start().await;
    let creator = system.connect(&system.sandbox.user(3).await).await;
    system.client.sync(&creator).await;
    let passwords = [&postgres.url, &redis.url]
        .map(|url| url::Url::parse(url).expect("a URL").password().expect("a password").to_owned());
    let keeps_secrets = |said: &str| {
        for secret in [ENCRYPTION_KEY, CLIENT_SECRET, OTHER_KEY].into_iter().chain(passwords.iter().map(String::as_str))
        {
            assert!(!said.contains(secret), "a secret is in {said}");
        }
    };

    eventually("the worker has said that it lives", async || {
        let well = doctor(&system, &[]).await;
        keeps_secrets(&well.said);
        (well.status == 0 && well.complaints().is_empty()).then_some(())
    })
    .await;
    let text = eventually("the table says the same", async || {
        let table = run(&system, &["doctor"], &[]).await;
        let text = String::from_utf8_lossy(&table.stdout).into_owned();
        let is_well = table.status.success() && text.contains("  ok    Postgres ") && text.contains(" 0 failures");
        if is_well {
            return Some(text);
        }
        eprintln!("not yet: {text}");
        None
    })
    .await;
    assert!(!text.contains('\x1b'), "colors are for terminals");
    keeps_secrets(&text);

    assert!(run(&system, &["queue", "pause", "bulk"], &[]).await.status.success());
    complains(&system, &[], &[("lanes", "warn")], "bulk is paused: its jobs wait, since ").await;
    assert!(run(&system, &["queue", "resume", "bulk"], &[]).await.status.success());

    let said = "the workers have 600 requests in 1m; here it is 500 requests in 1m";
    complains(&system, &[("TIKTOK_RATE_PER_MINUTE", "500")], &[("cadence and quota", "warn")], said).await;

    let unsealed = [("encryption keys", "fail")];
    for (changes, complaints, words) in [
        ([("TIKTOK_CLIENT_SECRET", "wrong")], &[("TikTok app", "fail")][..], "invalid_client"),
        ([("METRIQLAB_ENCRYPTION_KEY", OTHER_KEY)], &unsealed[..], "2 under key"),
        ([("METRIQLAB_ENCRYPTION_KEY", BOTH_KEYS)], &[("encryption keys", "warn")], "2 of 2 tokens"),
        (
            [("METRIQLAB_PUBLIC_URL", "http://elsewhere.invalid")],
            &[("redirect URI", "fail"), ("public URL", "warn")],
            "refuses http://elsewhere.invalid",
        ),
    ] {
        keeps_secrets(&complains(&system, &changes, complaints, words).await.said);
    }

    let sql = system.sql().await;
    sql.batch_execute("UPDATE credentials SET access_token = overlay(access_token PLACING '\\x00' FROM 40)")
        .await
        .unwrap();
    complains(&system, &[], &unsealed, "1 of the newest").await;
    sql.batch_execute("DELETE FROM creators; DELETE FROM credentials").await.unwrap();

    let mut connection = connect(&redis.url).await;
    let mut policy = redis::cmd("CONFIG");
    policy.arg("SET").arg("maxmemory-policy");
    policy.clone().arg("allkeys-lru").exec_async(&mut connection).await.expect("set it");
    complains(&system, &[], &[("Redis memory", "fail")], "allkeys-lru").await;
    policy.arg("noeviction").exec_async(&mut connection).await.expect("set it back");

    // The newest, and one that has others after it.
    for missing in ["(SELECT max(version) FROM __diesel_schema_migrations)", "'20261124000012'"] {
        let delete = format!("DELETE FROM __diesel_schema_migrations WHERE version = {missing} RETURNING version");
        let row = sql.query_one(&delete, &[]).await.unwrap();
        let version: &str = row.get(0);
        let said = format!("this program needs {version}, too");
        complains(&system, &[], &[("schema", "fail"), ("API", "fail")], &said).await;
        sql.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ($1)", &[&version]).await.unwrap();
    }

    let wrong = complains(&system, &[("TIKTOK_PKCE", "perhaps")], &[("settings", "fail")], "TIKTOK_PKCE").await;
    assert_eq!(wrong.status, 2);
    assert_eq!(wrong.check("Postgres")["level"], "ok", "the rest is looked at all the same");

    system.workers[0].terminate().await;
    complains(&system, &[], &[("workers", "fail")], "none is alive").await;
    system.add_worker();

    redis.stop().await;
    let without = complains(&system, &[], &[("Redis", "fail"), ("API", "warn")], "127.0.0.1").await;
    assert_eq!((without.status, &without.check("TikTok app")["level"]), (1, &Value::from("ok")));
    keeps_secrets(&without.said);
    drop(sql);
    postgres.stop().await;
    let complaints = [("Postgres", "fail"), ("Redis", "fail"), ("API", "fail")];
    keeps_secrets(&complains(&system, &[], &complaints, "127.0.0.1").await.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_held_and_a_redis_that_keeps_nothing_are_named() {
    let (postgres, redis) = tokio::join!(PrivatePostgres::start(), PrivateRedis::start());
    let system = System::builder().on_postgres(&postgres.url).on_redis(&redis.url).start().await;
    let mut creators = Vec::new();
    // As many as make an outage of their failures.
    for _ in 0..5 {
        creators.push(system.connect(&system.sandbox.user(1).await).await);
    }
    system.settled().await;

    let mut connection = connect(&redis.url).await;
    let mut append = redis::cmd("CONFIG");
    append.arg("SET").arg("appendonly");
    append.clone().arg("no").exec_async(&mut connection).await.expect("set it");
    complains(&system, &[], &[("Redis persistence", "warn")], "a restart forgets the queue").await;
    append.arg("yes").exec_async(&mut connection).await.expect("set it back");

    system.sandbox.fault(json!({"endpoint": "user_info", "kind": "internal_error"})).await;
    system.client.post("/api/v1/creators/sync").await.data(202);
    let held = complains(&system, &[], &[("outages", "warn")], "not called: user_info (next look in ").await;
    assert_eq!(held.check("TikTok app")["level"], "ok", "tokens are another endpoint's");
    system.sandbox.clear_faults().await;
    // Who waits is a look at the platform, and ends the outage.
    let ask = system.client.request(reqwest::Method::POST, &format!("/api/v1/creators/{}/sync", creators[0]));
    system.client.send(ask.header("Prefer", "respond-async")).await.data(202);
    eventually("the doctor is content", async || doctor(&system, &[]).await.complaints().is_empty().then_some(()))
        .await;
}

/// Waits until these lines and no others are not ok; the first one has these words, and says what to do. Not at once,
/// for the API may be behind by the second for which it knows its state.
async fn complains(system: &System, changes: &[(&str, &str)], lines: &[(&str, &str)], words: &str) -> Diagnosis {
    let fails = lines.iter().any(|(_, level)| *level == "fail");
    eventually(&format!("the doctor complains of {lines:?}: {words}"), async || {
        let diagnosis = doctor(system, changes).await;
        let complaints = diagnosis.complaints();
        if complaints.len() != lines.len() || !lines.iter().all(|line| complaints.contains(line)) {
            eprintln!("not yet: {complaints:?}");
            return None;
        }
        let first = diagnosis.check(lines[0].0);
        if !first["found"].as_str().expect("text").contains(words) {
            eprintln!("not yet: {first}");
            return None;
        }
        assert!(!first["remedy"].is_null(), "{first}");
        assert_eq!(diagnosis.status != 0, fails, "{}", diagnosis.said);
        Some(diagnosis)
    })
    .await
}
