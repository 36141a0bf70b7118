//! Scheduled and bulk resync, by real processes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::redis::connect as connect_redis;
use crate::support::{System, eventually, within};

/// Creators, all of them synced once; our ids, and TikTok's.
async fn connect(system: &System, number: usize) -> Vec<(String, String)> {
    let users = join_all((0..number).map(|_| system.sandbox.user(3))).await;
    let ids = system.connect_all(&users).await;
    system.settled().await;
    ids.into_iter().zip(users).collect()
}

async fn count(system: &System, query: &str) -> i64 {
    system.sql().await.query_one(query, &[]).await.unwrap().get(0)
}

fn counts(batch: &Value) -> [i64; 6] {
    ["total", "queued", "running", "done", "failed", "skipped"].map(|name| batch[name].as_i64().unwrap())
}

async fn finished(system: &System, batch: &str) -> Value {
    within(Duration::from_secs(60), "the batch has finished", async || {
        let answer = system.client.get(&format!("/api/v1/batches/{batch}")).await;
        let batch = answer.data(200).clone();
        let [total, rest @ ..] = counts(&batch);
        assert_eq!(rest.iter().sum::<i64>(), total, "{batch}");
        batch["finishedAt"].is_string().then_some(batch)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_syncs_again_and_two_workers_do_not_do_it_twice() {
    let system = System::builder().workers(2).set("METRIQLAB_RESYNC_EVERY", "1h").start().await;
    let creators = connect(&system, 10).await;
    let sql = system.sql().await;
    let bulk = "SELECT count(*) FROM jobs WHERE lane = 'bulk'";
    for round in 1..=3 {
        sql.execute("UPDATE creators SET next_sync_at = now()", &[]).await.unwrap();
        within(Duration::from_secs(120), "everybody's turn", async || {
            (count(&system, &format!("{bulk} AND state = 'done'")).await == 10 * round).then_some(())
        })
        .await;
        assert_eq!(count(&system, bulk).await, 10 * round, "one job each");
    }
    for (id, open_id) in &creators {
        // The connection reads the profile too. What a worker had begun that stood still is begun again, page and all.
        let calls = system.sandbox.calls("/v2/video/list/", open_id).await;
        let starts = count(&system, &format!("SELECT sum(claim)::bigint FROM jobs WHERE creator_id = '{id}'")).await;
        assert!(calls >= 4 && calls <= usize::try_from(starts).unwrap(), "{calls} pages in {starts} starts");
    }
    assert_eq!(count(&system, "SELECT count(*) FROM creators WHERE next_sync_at > now()").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_longest_age_keeps_creators_young() {
    let system = System::builder().set("METRIQLAB_RESYNC_EVERY", "2s").start().await;
    let creators = connect(&system, 3).await;
    let first = system.client.get(&format!("/api/v1/creators/{}", creators[0].0)).await;
    let first = first.data(200)["lastSyncedAt"].clone();
    eventually("a later sync that nobody asked for", async || {
        let now = system.client.get(&format!("/api/v1/creators/{}", creators[0].0)).await;
        (now.data(200)["lastSyncedAt"] != first).then_some(())
    })
    .await;
    let off = system.client.request(reqwest::Method::PATCH, &format!("/api/v1/creators/{}", creators[1].0));
    let off = system.client.send(off.json(&json!({"resyncEvery": "off"}))).await;
    assert_eq!(off.data(200)["resyncEvery"], "off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_resync_of_fifty_counts_every_creator_to_the_end() {
    let mut system = System::builder().set("METRIQLAB_RESYNC_EVERY", "off").start().await;
    let creators = connect(&system, 50).await;
    // No worker: the batch stays where it is while creators come and go.
    for worker in &mut system.workers {
        worker.terminate().await;
    }
    system.workers.clear();
    let path = |place: usize, end: &str| format!("/api/v1/creators/{}{end}", creators[place].0);
    let open = system.client.request(reqwest::Method::POST, &path(0, "/sync")).header("Prefer", "respond-async");
    system.client.send(open).await.data(202);
    let asked = system.client.post("/api/v1/creators/sync").await;
    assert_eq!(asked.data(202)["total"], 50);
    let batch = asked.data(202)["batchId"].as_str().unwrap().to_owned();
    let gone = system.client.request(reqwest::Method::DELETE, &path(1, "")).header("Prefer", "respond-async");
    system.client.send(gone).await.data(202);
    system.add_worker();
    system.add_worker();
    let ended = finished(&system, &batch).await;
    assert_eq!(counts(&ended), [50, 0, 0, 49, 0, 1]);
    assert_eq!(ended["estimatedFinishAt"], Value::Null);
    assert_eq!(
        count(&system, "SELECT count(*) FROM jobs WHERE kind = 'sync'").await,
        50 + 49,
        "the open one was shared"
    );
    // Old jobs go, the counts stay.
    let sql = system.sql().await;
    sql.batch_execute("DELETE FROM jobs WHERE finished_at IS NOT NULL").await.unwrap();
    assert_eq!(finished(&system, &batch).await, ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_waits_overtakes_a_bulk_backlog_also_for_its_own_creator() {
    let quota = 200;
    let system = System::builder()
        .set("TIKTOK_RATE_PER_MINUTE", &quota.to_string())
        .set("TIKTOK_RATE_WINDOW", "10s")
        .sandbox(|config| {
            config.rate_limit = quota;
            config.rate_window = Duration::from_secs(10);
        })
        .start()
        .await;
    let creators = connect(&system, 60).await;
    // A backlog of several windows: every creator of the project, and again under nineteen other names. Those fail and are tried
    // again, so none of it is gone within a minute.
    let sql = system.sql().await;
    sql.batch_execute(
        "INSERT INTO creators (id, project_id, credential_id, platform, external_id)
         SELECT uuid_v7(), project_id, credential_id, platform, external_id || '-' || n
         FROM creators, generate_series(1, 19) AS n",
    )
    .await
    .unwrap();
    system.client.post("/api/v1/creators/sync").await.data(202);
    let open = "SELECT count(*) FROM jobs WHERE lane = 'bulk' AND finished_at IS NULL";
    eventually("a backlog", async || (count(&system, open).await > 1000).then_some(())).await;
    let waiting = "SELECT creator_id::text FROM jobs JOIN creators ON creators.id = creator_id \
                   WHERE state = 'waiting' AND creators.last_synced_at IS NOT NULL ORDER BY jobs.id DESC LIMIT 1";
    let own = sql.query_opt(waiting, &[]).await.unwrap().map_or_else(|| creators[0].0.clone(), |row| row.get(0));
    let starts = "SELECT sum(claim)::bigint FROM jobs WHERE lane = 'bulk'";
    let before = count(&system, starts).await;
    system.client.sync(&own).await;
    // The backlog is a minute's worth of quota, 1,200 starts; a client who waited behind it would see them all.
    let meanwhile = count(&system, starts).await - before;
    assert!(meanwhile < 400, "{meanwhile} bulk jobs went first");
    assert!(count(&system, open).await > 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_resyncs_and_follows() {
    let system = System::start().await;
    connect(&system, 12).await;
    let said = system.run(&["resync", "--project", "test", "--older-than", "0s", "--follow"]).await;
    assert!(said.contains("12 creators") && said.contains("12 done, 0 failed, 0 skipped"), "{said}");
    let said = system.run(&["resync", "--all", "--older-than", "24h", "--follow"]).await;
    assert!(said.contains("0 done, 0 failed, 0 skipped"), "{said}");
    // A project on a slow cadence is set faster: its turns come sooner, also the next ones.
    let later = "UPDATE creators SET next_sync_at = now() + interval '25 days'";
    assert_eq!(system.sql().await.execute(later, &[]).await.unwrap(), 12);
    let said = system.run(&["resync", "--project", "test", "--every", "6h"]).await;
    assert!(said.contains("at most 6h old") && said.ends_with("; 12 creators' turns come sooner\n"), "{said}");
    assert_eq!(count(&system, "SELECT resync_every FROM projects WHERE name = 'test'").await, 6 * 3600);
    let far = "SELECT count(*) FROM creators WHERE next_sync_at > now() + interval '6 h'";
    assert_eq!(count(&system, far).await, 0);
    let said = system.run(&["resync", "--project", "test", "--every", "default"]).await;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(count(&system, "SELECT count(*) FROM projects WHERE resync_every IS NULL").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_goes_on_at_once_though_its_worker_is_killed_again_and_again() {
    let mut system = System::builder()
        .set("METRIQLAB_RESYNC_EVERY", "off")
        .set("TIKTOK_RATE_PER_MINUTE", "200")
        .set("TIKTOK_RATE_WINDOW", "2s")
        .start()
        .await;
    // As many as one worker holds of the bulk lane.
    connect(&system, 24).await;
    system.workers[0].terminate().await;
    system.workers.clear();
    // So slowly that some of them are left for a third worker, and still fast enough that nearly all wait in its hands.
    system.variables.retain(|(name, _)| name != "TIKTOK_RATE_PER_MINUTE");
    system.variables.push(("TIKTOK_RATE_PER_MINUTE".to_owned(), "3".to_owned()));
    let asked = system.client.post("/api/v1/creators/sync").await;
    let batch = asked.data(202)["batchId"].as_str().unwrap().to_owned();
    let mut died_with: Vec<HashSet<String>> = Vec::new();
    // Two crashes make a suspect, and of suspects a worker would hold one.
    for (life, least) in [(1, 9), (2, 6), (3, 3)] {
        let name = format!("-{}-", system.add_worker().pid());
        eventually("jobs of all workers before wait for their turns", async || {
            let now = waiting(&system, &name).await;
            let again = now.iter().filter(|job| died_with.iter().all(|jobs| jobs.contains(*job)));
            (again.count() >= least).then_some(())
        })
        .await;
        if life < 3 {
            system.workers.last_mut().unwrap().kill().await;
            died_with.push(waiting(&system, &name).await);
        }
    }
    let done = finished(&system, &batch).await;
    assert_eq!(counts(&done), [24, 0, 0, 24, 0, 0]);
}

/// The bulk jobs of a worker that only wait for their turn at the budget.
async fn waiting(system: &System, worker: &str) -> HashSet<String> {
    let mut connection = connect_redis(&system.redis_url).await;
    let key = |name: &str| format!("{{{}:bulk}}:v1:{name}", system.prefix());
    let marks: HashSet<String> = redis::cmd("SMEMBERS").arg(key("waiting")).query_async(&mut connection).await.unwrap();
    let claims: HashMap<String, String> =
        redis::cmd("HGETALL").arg(key("claims")).query_async(&mut connection).await.unwrap();
    let ours = claims.into_iter().filter(|(_, claim)| claim.contains(worker) && marks.contains(claim));
    ours.map(|(job, _)| job).collect()
}
