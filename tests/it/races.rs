//! The table "Races, settled" of docs/internals.md, through the front door. What only the store can show is in
//! `shared/tests/store_lifecycle.rs`, what only the queue can show in `shared/tests/queue/`.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::support::{System, eventually, within};

/// A revocation waits twice as long after each try: after five that failed up to a minute.
const REVOKED_WITHIN: Duration = Duration::from_secs(150);

fn latency(ms: u64) -> serde_json::Value {
    json!({"latency": {"profile": "between", "min_ms": ms, "max_ms": ms}})
}

/// Waits until a page of videos of this creator has been asked for since `before`.
async fn a_page_is_read(system: &System, open_id: &str, before: usize) {
    eventually("a page of videos is read", async || {
        (system.sandbox.calls("/v2/video/list/", open_id).await > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_stops_a_sync_under_way_and_its_caller_gets_404() {
    let system = System::start().await;
    let open_id = system.sandbox.user(200).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    // Six seconds for its pages; the profile and the first of them within the five that a try has for both.
    system.sandbox.settings(latency(700)).await;
    let before = system.sandbox.calls("/v2/video/list/", &open_id).await;
    let (client, path) = (system.client.clone(), format!("/api/v1/creators/{id}/sync"));
    let waiting = tokio::spawn(async move { client.post(&path).await });
    a_page_is_read(&system, &open_id, before).await;
    let gone = system.client.delete(&format!("/api/v1/creators/{id}")).await;
    assert_eq!(gone.data(200)["disconnected"], true);
    assert_eq!(waiting.await.unwrap().error(404), "not_found");
    system.settled().await;
    let sql = system.sql().await;
    for table in ["creators", "videos", "credentials"] {
        let rows: i64 = sql.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0);
        assert_eq!(rows, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_is_gone_at_once_and_a_second_disconnect_joins_the_first() {
    let system = System::start().await;
    let open_id = system.sandbox.user(3).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    system.sandbox.fault(json!({"endpoint": "revoke", "kind": "internal_error"})).await;
    let path = format!("/api/v1/creators/{id}");
    let ask = async || {
        let request = system.client.request(reqwest::Method::DELETE, &path).header("Prefer", "wait=1");
        system.client.send(request).await
    };
    let first = ask().await;
    let job = first.data(202)["jobId"].clone();
    assert_eq!(first.data(202)["disconnected"], false);
    for path in ["", "/profile", "/videos"] {
        assert_eq!(system.client.get(&format!("/api/v1/creators/{id}{path}")).await.error(404), "not_found");
    }
    assert_eq!(system.client.post(&format!("/api/v1/creators/{id}/sync")).await.error(404), "not_found");
    assert_eq!(system.client.get("/api/v1/creators").await.data(200).as_array().unwrap().len(), 0);
    assert_eq!(ask().await.data(202)["jobId"], job, "the same job");
    let seen = system.client.get(&format!("/api/v1/jobs/{}", job.as_str().unwrap())).await;
    assert_eq!(seen.data(200)["kind"], "revoke");
    system.sandbox.clear_faults().await;
    within(REVOKED_WITHIN, "the disconnect is done", async || {
        let seen = system.client.get(&format!("/api/v1/jobs/{}", job.as_str().unwrap())).await;
        (seen.data(200)["status"] == "done").then_some(())
    })
    .await;
    assert_eq!(ask().await.error(404), "not_found");
    assert!(!system.sandbox.is_granted(&open_id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_again_while_a_disconnect_is_under_way_is_a_working_connection() {
    let system = System::start().await;
    let open_id = system.sandbox.user(3).await;
    let old = system.connect(&open_id).await;
    system.settled().await;
    system.sandbox.fault(json!({"endpoint": "revoke", "kind": "internal_error"})).await;
    let request = system.client.request(reqwest::Method::DELETE, &format!("/api/v1/creators/{old}"));
    let left = system.client.send(request.header("Prefer", "wait=1")).await;
    let job = left.data(202)["jobId"].as_str().unwrap().to_owned();
    let fresh = system.connect(&open_id).await;
    assert_ne!(fresh, old);
    let seen = system.client.get(&format!("/api/v1/jobs/{job}")).await;
    assert_eq!(seen.data(200)["status"], "done");
    system.sandbox.clear_faults().await;
    system.client.sync(&fresh).await;
    system.settled().await;
    assert!(system.sandbox.is_granted(&open_id).await, "the new grant was not revoked");
    assert_eq!(system.client.get(&format!("/api/v1/creators/{fresh}")).await.data(200)["status"], "ACTIVE");
    assert_eq!(system.client.get(&format!("/api/v1/creators/{old}")).await.error(404), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_on_its_way_is_awaited_by_a_new_connection() {
    let system = System::start().await;
    let open_id = system.sandbox.user(3).await;
    let old = system.connect(&open_id).await;
    system.settled().await;
    system.sandbox.fault(json!({"endpoint": "revoke", "kind": "slow", "delay_ms": 6000, "times": 1})).await;
    let (client, path) = (system.client.clone(), format!("/api/v1/creators/{old}"));
    let leaving = tokio::spawn(async move { client.delete(&path).await });
    let sql = system.sql().await;
    eventually("the revocation is on its way", async || {
        let leased = "SELECT count(*) FROM credentials WHERE lease_expires_at > now()";
        (sql.query_one(leased, &[]).await.unwrap().get::<_, i64>(0) == 1).then_some(())
    })
    .await;
    let fresh = system.connect(&open_id).await;
    assert_eq!(leaving.await.unwrap().data(200)["disconnected"], true);
    assert_ne!(fresh, old);
    system.settled().await;
    // Whichever came last at TikTok: the connection works, or says that it does not; it is never silently dead.
    let answer = system.client.post(&format!("/api/v1/creators/{fresh}/sync")).await;
    let status = system.client.get(&format!("/api/v1/creators/{fresh}")).await.data(200)["status"].clone();
    if system.sandbox.is_granted(&open_id).await {
        assert_eq!(answer.data(200)["synced"], true);
        assert_eq!(status, "ACTIVE");
    } else {
        assert_eq!(answer.error(409), "reauthorization_required");
        assert_eq!(status, "REAUTHORIZATION_REQUIRED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connects_of_one_account_are_one_creator_with_tokens_that_work() {
    let system = System::builder().apis(2).start().await;
    let open_id = system.sandbox.user(3).await;
    let ids =
        join_all(system.clients.iter().cycle().take(6).map(|client| system.sandbox.connect(client, &open_id))).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    system.settled().await;
    system.client.sync(&ids[0]).await;
    assert_eq!(system.client.get("/api/v1/creators").await.data(200).as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_two_projects_is_revoked_by_the_last_one() {
    let system = System::start().await;
    let other = system.client.with_key(&system.key("other").await);
    let open_id = system.sandbox.user(3).await;
    let mine = system.connect(&open_id).await;
    let theirs = system.sandbox.connect(&other, &open_id).await;
    system.settled().await;
    assert_eq!(system.client.delete(&format!("/api/v1/creators/{mine}")).await.data(200)["disconnected"], true);
    assert!(system.sandbox.is_granted(&open_id).await);
    other.sync(&theirs).await;
    assert_eq!(other.delete(&format!("/api/v1/creators/{theirs}")).await.data(200)["disconnected"], true);
    assert!(!system.sandbox.is_granted(&open_id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_renewed_once_however_many_workers_need_them() {
    let system = System::builder().workers(3).start().await;
    let other = system.client.with_key(&system.key("other").await);
    let open_id = system.sandbox.user(3).await;
    let mine = system.connect(&open_id).await;
    let theirs = system.sandbox.connect(&other, &open_id).await;
    system.settled().await;
    let sql = system.sql().await;
    sql.execute("UPDATE credentials SET issued_at = now() - interval '2h', access_expires_at = now()", &[])
        .await
        .unwrap();
    system.sandbox.settings(latency(150)).await;
    let before = system.sandbox.calls("/v2/oauth/token/", &open_id).await;
    tokio::join!(system.client.sync(&mine), other.sync(&theirs));
    assert_eq!(system.sandbox.calls("/v2/oauth/token/", &open_id).await - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_expired_are_renewed_before_they_are_revoked() {
    let system = System::start().await;
    let open_id = system.sandbox.user(3).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    system.sandbox.advance(Duration::from_secs(3 * 3600)).await;
    let sql = system.sql().await;
    sql.execute(
        "UPDATE credentials SET issued_at = now() - interval '3h', access_expires_at = now() - interval '1h'",
        &[],
    )
    .await
    .unwrap();
    assert_eq!(system.client.delete(&format!("/api/v1/creators/{id}")).await.data(200)["disconnected"], true);
    assert!(!system.sandbox.is_granted(&open_id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_tokens_ask_for_a_new_connection_and_count_as_revoked() {
    let system = System::start().await;
    let open_id = system.sandbox.user(3).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    system.sandbox.withdraw(&open_id).await;
    let path = format!("/api/v1/creators/{id}");
    assert_eq!(system.client.post(&format!("{path}/sync")).await.error(409), "reauthorization_required");
    let creator = system.client.get(&path).await;
    assert_eq!(creator.data(200)["status"], "REAUTHORIZATION_REQUIRED");
    let page = system.client.get(&format!("{path}/videos")).await;
    assert_eq!(page.data(200)["items"].as_array().unwrap().len(), 3, "what was synced stays readable");
    assert_eq!(system.connect(&open_id).await, id, "connecting again keeps the id");
    system.client.sync(&id).await;
    assert_eq!(system.client.get(&path).await.data(200)["status"], "ACTIVE");
    system.sandbox.withdraw(&open_id).await;
    assert_eq!(system.client.delete(&path).await.data(200)["disconnected"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stops_working_within_a_second_on_every_process() {
    let system = System::builder().apis(2).workers(0).start().await;
    let key = system.key("test").await;
    let clients: Vec<_> = system.clients.iter().map(|client| client.with_key(&key)).collect();
    for client in &clients {
        client.get("/api/v1/creators").await.data(200);
    }
    let prefix = key.get(..12).unwrap();
    system.run(&["keys", "revoke", prefix]).await;
    let revoked = std::time::Instant::now();
    for client in &clients {
        loop {
            // What counts is when it was asked, however long a busy machine takes to answer.
            let asked = revoked.elapsed();
            if client.get("/api/v1/creators").await.status == 401 {
                break;
            }
            assert!(asked <= Duration::from_secs(1), "the key still works after {asked:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_survives_everything_until_it_is_done() {
    let mut system = System::start().await;
    let open_id = system.sandbox.user(3).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    system.sandbox.fault(json!({"endpoint": "revoke", "kind": "internal_error"})).await;
    let request = system.client.request(reqwest::Method::DELETE, &format!("/api/v1/creators/{id}"));
    system.client.send(request.header("Prefer", "wait=1")).await.data(202);
    system.workers[0].kill().await;
    system.apis[0].kill().await;
    system.sandbox.clear_faults().await;
    system.add_worker();
    within(REVOKED_WITHIN, "TikTok is told and the data is gone", async || {
        let sql = system.sql().await;
        let rows: i64 = sql.query_one("SELECT count(*) FROM creators", &[]).await.unwrap().get(0);
        (rows == 0).then_some(())
    })
    .await;
    assert!(!system.sandbox.is_granted(&open_id).await);
}
