//! SIGTERM, whatever is away: everything that runs ends or is given back, in time, with exit status 0.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::process::Process;
use crate::support::servers::{PrivatePostgres, PrivateRedis};
use crate::support::{System, eventually, within};

/// The grace of these systems.
const GRACE: &str = "1s";
/// A stop takes the grace, and what it then waits for Redis and for renewals. Well below an orchestrator's SIGKILL.
const STOPPED_WITHIN: Duration = Duration::from_secs(25);

/// A sync of 300 videos behind a TikTok that takes 600 ms a call, nine seconds in all; returns its job once a worker is
/// at it.
async fn long_job(system: &System) -> String {
    let open_id = system.sandbox.user(300).await;
    let id = system.connect(&open_id).await;
    system.settled().await;
    system.sandbox.settings(json!({"latency": {"profile": "between", "min_ms": 600, "max_ms": 600}})).await;
    let request = system.client.request(reqwest::Method::POST, &format!("/api/v1/creators/{id}/sync"));
    let promised = system.client.send(request.header("Prefer", "respond-async")).await;
    let job = promised.data(202)["jobId"].as_str().expect("a job").to_owned();
    state(system, &job, "running").await;
    job
}

async fn state(system: &System, job: &str, wanted: &str) {
    within(Duration::from_secs(60), wanted, async || {
        let seen = system.client.get(&format!("/api/v1/jobs/{job}")).await;
        (seen.status == 200 && seen.data(200)["status"] == wanted).then_some(())
    })
    .await;
}

async fn ends_well(process: &mut Process) {
    let ending = tokio::time::timeout(STOPPED_WITHIN, process.terminate());
    let status = ending.await.unwrap_or_else(|_| panic!("it does not end: {}", process.said()));
    assert!(status.success(), "{status}: {}", process.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_longer_than_the_grace_is_given_back_and_runs_elsewhere_at_once_without_an_attempt_more() {
    let mut system = System::builder().set("METRIQLAB_SHUTDOWN_GRACE", GRACE).start().await;
    let job = long_job(&system).await;
    system.add_worker();
    eventually("the second worker is ready", async || {
        system.workers[1].said().contains("the worker is ready").then_some(())
    })
    .await;
    // Whoever sends it twice gets no other stop.
    system.workers[0].signal(Signal::SIGTERM);
    ends_well(&mut system.workers[0]).await;
    system.sandbox.settings(json!({"latency": {"profile": "none"}})).await;
    state(&system, &job, "done").await;
    let seen = system.client.get(&format!("/api/v1/jobs/{job}")).await;
    assert!(seen.data(200)["attempts"] == 1 || system.tried_again(), "a stop is no attempt: {}", seen.body);
    // Unless it stood still before, and was taken for dead.
    let stood_still = system.workers[0].said().contains("another worker has this job by now");
    let said = system.workers[1].said();
    assert!(
        stood_still || !said.contains("took back the jobs of a dead worker"),
        "nobody had to be found dead: {said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_away_api_and_worker_stop_in_time_and_the_job_is_not_lost() {
    let mut redis = PrivateRedis::start().await;
    let mut system = System::builder().on_redis(&redis.url).set("METRIQLAB_SHUTDOWN_GRACE", GRACE).start().await;
    let job = long_job(&system).await;
    redis.stop().await;
    ends_well(&mut system.workers[0]).await;
    system.sandbox.settings(json!({"latency": {"profile": "none"}})).await;
    system.add_worker();
    redis.restart().await;
    state(&system, &job, "done").await;
    redis.stop().await;
    ends_well(&mut system.apis[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_away_api_and_worker_stop_in_time_and_the_job_is_not_lost() {
    let mut postgres = PrivatePostgres::start().await;
    let mut system = System::builder().on_postgres(&postgres.url).set("METRIQLAB_SHUTDOWN_GRACE", GRACE).start().await;
    let job = long_job(&system).await;
    postgres.stop().await;
    ends_well(&mut system.workers[0]).await;
    system.sandbox.settings(json!({"latency": {"profile": "none"}})).await;
    system.add_worker();
    postgres.restart().await;
    state(&system, &job, "done").await;
    postgres.stop().await;
    ends_well(&mut system.apis[0]).await;
}
