//! What a worker tells about itself.

use shared::queue::Final;

use crate::support::{System, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_tells_that_it_lives_that_it_can_work_and_what_it_did() {
    let system = System::start().await;
    let metrics = shared::telemetry::init_metrics().expect("the only recorder of this process");
    let worker = system.worker_with(Some(([127, 0, 0, 1], 0).into()), Some(metrics.clone()));
    wait_for("its gauges, which an API in its process serves, too", async || {
        metrics.render().contains("\nmetriqlab_worker_slots 4\n").then_some(())
    })
    .await;
    let base = format!("http://{}", worker.metrics_addr().expect("an address"));
    let get = async |path: &str| {
        let answer = reqwest::get(format!("{base}{path}")).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let open_id = system.account(2).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    let (status, health) = get("/healthz").await;
    assert_eq!(status, 200, "{health}");
    assert_eq!(get("/readyz").await, (200, r#"{"status":"ok"}"#.to_owned()));
    let (status, text) = get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        r#"metriqlab_jobs_finished_total{kind="sync",outcome="done"}"#,
        r#"metriqlab_jobs_run_seconds_count{kind="sync",outcome="done"}"#,
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    // A rolling deploy begins with the migrations of the version to come.
    system.sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231000000')").await;
    assert_eq!(get("/readyz").await, (200, r#"{"status":"ok"}"#.to_owned()));
    // Without one of its migrations it can't work, though newer ones are there.
    system.sql("DELETE FROM __diesel_schema_migrations WHERE version = '20261124000012'").await;
    let (status, text) = get("/readyz").await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("missing 20261124000012; run `metriqlab migrate`"), "{text}");
    // Without its tables it can't work, and says why.
    system.sql("DROP TABLE __diesel_schema_migrations").await;
    let (status, text) = get("/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("metriqlab migrate"), "{text}");
    worker.stop().await;
}
