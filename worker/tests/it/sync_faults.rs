//! Syncs that something fails under: tries, tokens, stops.

use std::time::Duration;

use serde_json::json;
use shared::ids::{CreatorId, JobId};
use shared::queue::{Final, Lane, Message};
use shared::store::creators::Status;
use shared::store::jobs::JobState;
use shared::store::single_flight::OpenSync;
use tokio::time::Instant;

use crate::support::{System, wait_for};

fn failed(code: &str) -> Final {
    Final::Failed { code: code.to_owned() }
}

/// A bulk job that has failed six times: the wait after one more is minutes long.
async fn often_failed(system: &System, creator: CreatorId) -> JobId {
    let (id, project) = (JobId::new(), system.project);
    let insert = format!(
        "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, attempts) \
         VALUES ('{id}', 'sync', 'bulk', '{creator}', '{project}', 'retrying', 6)"
    );
    system.sql(&insert).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_passes_is_a_success() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(25).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    for kind in ["internal_error", "bad_gateway", "empty_body", "truncated", "reset", "lost_answer", "fresh_grant"] {
        for endpoint in ["user_info", "video_list"] {
            // The hour is what counts as a fresh grant.
            system.fault(json!({ "endpoint": endpoint, "kind": kind, "times": 1, "within_seconds": 3600 })).await;
            let id = system.ask_for_sync(connected.creator).await;
            assert_eq!(system.last_word(id).await, Final::Done, "{kind} at {endpoint}");
            assert_eq!(system.job(id).await.attempts, 2, "{kind} at {endpoint}");
        }
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_last_try_the_platform_has_failed() {
    let system = System::start().await;
    let open_id = system.account(3).await;
    let connected = system.connect(&open_id).await;
    let id = connected.sync.expect("a first sync");
    system.fault(json!({ "endpoint": "video_list", "kind": "bad_gateway" })).await;
    // Three tries have failed already.
    system.sql("UPDATE jobs SET attempts = 3, state = 'retrying'").await;
    let worker = system.worker();
    assert_eq!(system.last_word(id).await, failed("platform_error"));
    let job = system.job(id).await;
    assert_eq!((job.state, job.attempts), (JobState::Failed, 4));
    assert!(job.error.is_some_and(|error| error.contains("502")));
    let creator = system.creator(connected.creator).await;
    assert_eq!((creator.status, creator.last_synced_at), (Status::Active, None));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_platform_refuses_is_not_tried_again_while_somebody_waits() {
    let system = System::start().await;
    let refused =
        json!({ "endpoint": "video_list", "kind": "error", "status": 400, "code": "invalid_params", "message": "no" });
    system.fault(refused).await;
    let open_id = system.account(3).await;
    let connected = system.connect(&open_id).await;
    let worker = system.worker();
    let id = connected.sync.expect("a first sync");
    assert_eq!(system.last_word(id).await, failed("platform_error"));
    let job = system.job(id).await;
    assert_eq!((job.state, job.attempts), (JobState::Failed, 1));
    assert!(job.error.is_some_and(|error| error.contains("invalid_params")));
    assert_eq!(system.creator(connected.creator).await.status, Status::Active, "it is not the creator's fault");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_hangs_costs_the_last_try_a_second_and_a_half() {
    let system = System::start().await;
    let open_id = system.account(3).await;
    let connected = system.connect(&open_id).await;
    system.fault(json!({ "endpoint": "user_info", "kind": "slow", "delay_ms": 20_000 })).await;
    system.sql("UPDATE jobs SET attempts = 3, state = 'retrying'").await;
    let began = Instant::now();
    let worker = system.worker();
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, failed("platform_error"));
    let took = began.elapsed();
    // Far from the ten seconds of a request that nobody waits for, and the twenty of this answer.
    assert!((Duration::from_millis(1500)..Duration::from_secs(8)).contains(&took), "{took:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_given_up_says_what_the_platform_said() {
    let system = System::start().await;
    let said = "SELECT count(*) FROM jobs WHERE state = 'failed' AND log_id <> '' AND error_code = '";
    let worker = system.worker();
    // The last try fails; and the grant is refused.
    let open_id = system.account(3).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    worker.stop().await;
    system.fault(json!({ "endpoint": "user_info", "kind": "internal_error", "times": 1 })).await;
    let id = system.ask_for_sync(connected.creator).await;
    system.sql("UPDATE jobs SET attempts = 3 WHERE finished_at IS NULL").await;
    let worker = system.worker();
    assert_eq!(system.last_word(id).await, failed("platform_error"));
    assert_eq!(system.count(&format!("{said}platform_error' AND error LIKE '%internal_error%'")).await, 1);
    system.control("POST", &format!("/users/{open_id}/revoke"), json!({})).await;
    let id = system.ask_for_sync(connected.creator).await;
    assert_eq!(system.last_word(id).await, failed("reauthorization_required"));
    assert_eq!(system.count(&format!("{said}reauthorization_required' AND error LIKE '%invalid_grant%'")).await, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_access_token_is_renewed_once_and_the_call_repeated() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(3).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    system.control("POST", &format!("/users/{open_id}/expire"), json!({ "access": true })).await;
    let id = system.ask_for_sync(connected.creator).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(system.job(id).await.attempts, 1);
    assert_eq!(system.refreshes(&open_id).await, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_worked_and_is_refused_later_in_the_job_is_renewed_again() {
    let system = System::start().await;
    let open_id = system.account(3).await;
    for endpoint in ["user_info", "video_list"] {
        let refused = json!({ "endpoint": endpoint, "kind": "error", "status": 401, "times": 1,
            "code": "access_token_invalid", "message": "no" });
        system.fault(refused).await;
    }
    let connected = system.connect(&open_id).await;
    let worker = system.worker();
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    assert_eq!(system.refreshes(&open_id).await, 2);
    assert_eq!(system.creator(connected.creator).await.status, Status::Active);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_refused_for_good_end_the_sync_and_mark_the_creator() {
    let system = System::start().await;
    let worker = system.worker();
    // The grant is gone; or a fresh token is refused as well.
    for banned in [false, true] {
        let open_id = system.account(3).await;
        let connected = system.connect(&open_id).await;
        assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
        if banned {
            let refused = json!({ "endpoint": "user_info", "kind": "error", "status": 401, "open_id": open_id,
                "code": "access_token_invalid", "message": "no" });
            system.fault(refused).await;
        } else {
            system.control("POST", &format!("/users/{open_id}/revoke"), json!({})).await;
        }
        let id = system.ask_for_sync(connected.creator).await;
        assert_eq!(system.last_word(id).await, failed("reauthorization_required"));
        assert_eq!(system.creator(connected.creator).await.status, Status::ReauthorizationRequired);
        assert_eq!(system.refreshes(&open_id).await, 1);
        assert_eq!(system.videos(connected.creator).await.len(), 3, "what was read stays");
    }
    worker.stop().await;
}

/// The platform has made a new pair, and its answer was lost. What the old refresh token is worth then is not documented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_whose_answer_was_lost_heals_or_asks_for_a_new_consent() {
    let system = System::start().await;
    let worker = system.worker();
    for (grace, word, status) in
        [(0, failed("reauthorization_required"), Status::ReauthorizationRequired), (3600, Final::Done, Status::Active)]
    {
        system.control("PATCH", "/settings", json!({ "grace": grace })).await;
        let open_id = system.account(3).await;
        let connected = system.connect(&open_id).await;
        assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
        system.age_tokens(-1).await;
        system.fault(json!({ "endpoint": "token", "kind": "lost_answer", "times": 1 })).await;
        let id = system.ask_for_sync(connected.creator).await;
        assert_eq!(system.last_word(id).await, word);
        assert_eq!((system.job(id).await.attempts, system.refreshes(&open_id).await), (2, 2));
        assert_eq!(system.creator(connected.creator).await.status, status);
        assert_eq!(system.videos(connected.creator).await.len(), 3, "what was read stays");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_are_no_attempt() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(45).await;
    let too_many = json!({ "endpoint": "video_list", "kind": "error", "status": 429, "after": 1, "times": 2,
        "code": "rate_limit_exceeded", "message": "slow down" });
    system.fault(too_many).await;
    let connected = system.connect(&open_id).await;
    let id = connected.sync.expect("a first sync");
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(system.job(id).await.attempts, 1);
    assert_eq!(system.videos(connected.creator).await.len(), 45);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_gives_its_job_back_unharmed() {
    let system = System::start().await;
    let first = system.hasty_worker();
    let open_id = system.account(3).await;
    system.fault(json!({ "endpoint": "user_info", "kind": "slow", "delay_ms": 4000, "times": 1 })).await;
    let connected = system.connect(&open_id).await;
    let id = connected.sync.expect("a first sync");
    wait_for("the job to run", async || (system.job(id).await.state == JobState::Running).then_some(())).await;
    let second = system.worker();
    tokio::time::timeout(Duration::from_secs(7), first.stop()).await.expect("it stops within its grace");
    assert_eq!(system.last_word(id).await, Final::Done);
    let job = system.job(id).await;
    assert_eq!(job.attempts, 1, "a stop is no failure");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_job_that_somebody_waits_for_fails_and_retries_as_an_interactive_one() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(3).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    // It has failed often while nobody waited, and fails once more while somebody does.
    let id = often_failed(&system, connected.creator).await;
    system.fault(json!({ "endpoint": "user_info", "kind": "internal_error", "delay_ms": 5000, "times": 1 })).await;
    system.push(Lane::Bulk, "sync", id).await;
    wait_for("the job to run", async || (system.job(id).await.state == JobState::Running).then_some(())).await;
    let asked = system.store.open_sync(system.project, connected.creator, None).await.expect("an answer");
    assert_eq!(asked, OpenSync::Shared { id, promoted: true });
    let message = Message { id, kind: "sync".to_owned(), trace: None, group: None };
    system.queue.promote(Lane::Bulk, &message).await.expect("promoted");
    // The next try after seven that nobody waited for would come in minutes.
    let began = Instant::now();
    assert_eq!(system.last_word(id).await, Final::Done);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let job = system.job(id).await;
    assert_eq!((job.lane, job.attempts), (Lane::Sync, 2));
    worker.stop().await;
}

/// Redis is told of nothing but the old wait, since the job's worker still holds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_right_after_a_bulk_try_has_failed_does_not_wait_as_long_as_nobody_would_mind() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(3).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    // As a client who comes when the failure has just been written.
    system
        .sql(
            "CREATE FUNCTION somebody_asks() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN NEW.lane := 'sync'; NEW.run_at := now(); NEW.attempts := 0; RETURN NEW; END $$; \
             CREATE TRIGGER somebody_asks BEFORE UPDATE ON jobs FOR EACH ROW \
             WHEN (NEW.state = 'retrying' AND OLD.state = 'running') EXECUTE FUNCTION somebody_asks()",
        )
        .await;
    let id = often_failed(&system, connected.creator).await;
    system.fault(json!({ "endpoint": "user_info", "kind": "internal_error", "times": 1 })).await;
    system.push(Lane::Bulk, "sync", id).await;
    // The wait after seven tries of a bulk job is one of up to 27 minutes.
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(system.job(id).await.lane, Lane::Sync);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_restarts_costs_a_job_time_and_no_attempt() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(45).await;
    system.fault(json!({ "endpoint": "video_list", "kind": "slow", "delay_ms": 300 })).await;
    let connected = system.connect(&open_id).await;
    let id = connected.sync.expect("a first sync");
    wait_for("the job to be in the middle", async || {
        (system.requests(&open_id, "path=/v2/user/info/").await > 0).then_some(())
    })
    .await;
    system.cut_postgres().await;
    // The test's own store is cut off as well.
    wait_for("the job's last word", async || {
        let words = system.store.last_words(&[id]).await.ok()?;
        words.into_iter().next().filter(|(_, word)| *word == Final::Done)
    })
    .await;
    assert_eq!(system.job(id).await.attempts, 1);
    assert_eq!(system.videos(connected.creator).await.len(), 45);
    worker.stop().await;
}
