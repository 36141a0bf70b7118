//! Callers who ask for the same creator at the same time share one job.

use futures::future::join_all;
use serde_json::json;

use crate::support::System;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_callers_on_two_api_processes_share_one_job() {
    let system = System::builder().apis(2).workers(2).start().await;
    let open_id = system.sandbox.user(60).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    system.sandbox.settings(json!({"latency": {"profile": "between", "min_ms": 50, "max_ms": 50}})).await;
    let before = system.sandbox.calls("/v2/video/list/", &open_id).await;
    let path = format!("/api/v1/creators/{id}/sync");
    let answers = join_all((0..20).map(|n| system.clients[n % 2].post(&path))).await;
    for answer in answers {
        assert_eq!(answer.data(200)["synced"], true);
    }
    let pages = system.sandbox.calls("/v2/video/list/", &open_id).await - before;
    assert!(pages <= 4, "one listing of three or four pages, not {pages}");
    let jobs: i64 = system.sql().await.query_one("SELECT count(*) FROM jobs", &[]).await.unwrap().get(0);
    assert_eq!(jobs, 2, "the first sync, and this one");
    system.client.sync(&id).await;
    let jobs: i64 = system.sql().await.query_one("SELECT count(*) FROM jobs", &[]).await.unwrap().get(0);
    assert_eq!(jobs, 3, "asked after it was done: a new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_job_in_the_way_is_shared_and_becomes_interactive() {
    let system = System::start().await;
    let open_id = system.sandbox.user(5).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    let sql = system.sql().await;
    // A bulk job that waits its turn in Postgres, far in the future.
    sql.execute(
        "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, run_at) \
         SELECT gen_random_uuid(), 'sync', 'bulk', id, project_id, 'waiting', now() + interval '1 day' FROM creators",
        &[],
    )
    .await
    .unwrap();
    system.client.sync(&id).await;
    let row = sql.query_one("SELECT count(*), max(lane) FROM jobs WHERE state = 'done'", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (2, "sync"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_is_the_clients_to_choose() {
    let mut system = System::builder().workers(0).start().await;
    let open_id = system.sandbox.user(5).await;
    let id = system.connect(&open_id).await;
    let path = format!("/api/v1/creators/{id}/sync");
    let ask = async |prefer: &str| {
        let request = system.client.request(reqwest::Method::POST, &path).header("Prefer", prefer);
        let start = std::time::Instant::now();
        (system.client.send(request).await, start.elapsed())
    };
    let (answer, took) = ask("respond-async").await;
    let data = answer.data(202).clone();
    assert_eq!(data["synced"], false);
    assert_eq!(data["status"], "queued");
    assert_eq!(answer.header("preference-applied"), Some("respond-async"));
    assert!(answer.header("retry-after").is_some());
    let job = data["jobId"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(format!("/api/v1/jobs/{job}").as_str()));
    assert!(took.as_secs() < 1);
    let (answer, took) = ask("wait=1").await;
    assert_eq!(answer.data(202)["jobId"], job.as_str(), "the same job");
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert!(took.as_millis() >= 950 && took.as_secs() < 4, "{took:?}");
    let seen = system.client.get(&format!("/api/v1/jobs/{job}")).await;
    assert_eq!(seen.data(200)["status"], "queued");
    assert_eq!(seen.data(200)["creatorId"], id.as_str());
    // It goes on, though nobody waits for it any more.
    system.add_worker();
    system.settled().await;
    let seen = system.client.get(&format!("/api/v1/jobs/{job}")).await;
    assert_eq!(seen.data(200)["status"], "done");
    assert!(seen.data(200)["finishedAt"].is_string());
}
