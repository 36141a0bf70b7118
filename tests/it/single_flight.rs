//! Callers who ask for the same creator at the same time share one job.

use futures::future::join_all;
use reqwest::Method;

use crate::support::client::Answer;
use crate::support::{Client, System};

const JOBS: &str = "SELECT count(*) FROM jobs";

async fn count(system: &System, query: &str) -> i64 {
    system.sql().await.query_one(query, &[]).await.unwrap().get(0)
}

/// How many pages of videos were read so far, and how often a job was started.
async fn read(system: &System, open_id: &str) -> (i64, i64) {
    let pages = system.sandbox.calls("/v2/video/list/", open_id).await;
    (i64::try_from(pages).unwrap(), count(system, "SELECT sum(claim)::bigint FROM jobs").await)
}

/// What twenty who ask at once are told.
async fn twenty(clients: &[Client], path: &str, prefer: &str) -> Vec<Answer> {
    let callers = clients.iter().cycle().take(20);
    join_all(callers.map(|client| client.send(client.request(Method::POST, path).header("prefer", prefer)))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_callers_on_two_api_processes_share_one_job() {
    let mut system = System::builder().apis(2).workers(2).start().await;
    let open_id = system.sandbox.user(60).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    // While no worker runs, the job can't be done before the last of them has asked.
    for worker in &mut system.workers {
        worker.terminate().await;
    }
    system.workers.clear();
    let before = read(&system, &open_id).await;
    let (clients, path) = (system.clients.clone(), format!("/api/v1/creators/{id}/sync"));
    let promised = twenty(&clients, &path, "respond-async").await;
    for answer in &promised {
        assert_eq!(answer.data(202)["jobId"], promised[0].data(202)["jobId"], "one for all");
    }
    assert_eq!(count(&system, JOBS).await, 2, "the first sync, and this one");
    let work = async {
        system.add_worker();
        system.add_worker();
    };
    let (answers, ()) = tokio::join!(twenty(&clients, &path, "wait=60"), work);
    for answer in answers {
        assert_eq!(answer.data(200)["synced"], true);
    }
    let after = read(&system, &open_id).await;
    let (pages, starts) = (after.0 - before.0, after.1 - before.1);
    assert!(pages <= 4 * starts, "one listing of three or four pages a start, not {pages} in {starts} starts");
    let jobs = count(&system, JOBS).await;
    system.client.sync(&id).await;
    assert_eq!(count(&system, JOBS).await, jobs + 1, "asked after it was done: a new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_job_in_the_way_is_shared_and_becomes_interactive() {
    let system = System::start().await;
    let open_id = system.sandbox.user(5).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    // A bulk job that nobody begins.
    system.pause("bulk").await;
    let insert = "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state) \
                  SELECT gen_random_uuid(), 'sync', 'bulk', id, project_id, 'waiting' FROM creators RETURNING id::text";
    let sql = system.sql().await;
    let job: String = sql.query_one(insert, &[]).await.unwrap().get(0);
    system.client.sync(&id).await;
    let row = sql.query_one("SELECT state, lane FROM jobs WHERE id::text = $1", &[&job]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("done", "sync"));
    assert_eq!(count(&system, JOBS).await, 2, "the first sync, and this one");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_is_the_clients_to_choose() {
    let mut system = System::builder().workers(0).start().await;
    let open_id = system.sandbox.user(5).await;
    let id = system.connect(&open_id).await;
    let path = format!("/api/v1/creators/{id}/sync");
    let ask = async |prefer: &str| {
        let request = system.client.request(Method::POST, &path).header("Prefer", prefer);
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
    // By itself it would wait for 25 s.
    assert!(took.as_secs() < 20, "{took:?}");
    let (answer, took) = ask("wait=1").await;
    assert_eq!(answer.data(202)["jobId"], job.as_str(), "the same job");
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert!(took.as_millis() >= 950 && took.as_secs() < 20, "{took:?}");
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
