//! Revocations: the platform is told, then everything is erased, and nothing makes it give up.

use std::time::Instant;

use serde_json::json;
use shared::platforms::Scopes;
use shared::queue::{Final, Lane};
use shared::store::creators::Status;
use shared::store::jobs::JobState;
use shared::tokens::{NewGrant, TokenError};

use crate::support::{SCOPES, System, postgres, wait_for};

async fn assert_erased(system: &System) {
    for table in ["creators", "videos", "credentials", "creator_history", "video_history"] {
        assert_eq!(system.count(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
}

async fn revocations(system: &System, open_id: &str) -> u64 {
    system.requests(open_id, "path=/v2/oauth/revoke/").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_revokes_and_erases() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(5).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    let id = system.ask_for_disconnect(system.project, connected.creator).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_erased(&system).await;
    assert_eq!(revocations(&system, &open_id).await, 1);
    let said = system.control("GET", &format!("/users/{open_id}"), serde_json::Value::Null).await;
    assert!(said["scopes"].is_null(), "TikTok knows of no grant any more: {said}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_renewed_before_it_is_revoked() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    // Known to be expired; or TikTok alone knows.
    for known in [true, false] {
        let connected = system.connect(&open_id).await;
        system.control("POST", &format!("/users/{open_id}/expire"), json!({ "access": true })).await;
        if known {
            system.age_tokens(-10).await;
        }
        let before = system.refreshes(&open_id).await;
        let id = system.ask_for_disconnect(system.project, connected.creator).await;
        let worker = system.worker();
        assert_eq!(system.last_word(id).await, Final::Done, "known: {known}");
        assert_eq!(system.refreshes(&open_id).await, before + 1, "known: {known}");
        let said = system.control("GET", &format!("/users/{open_id}"), serde_json::Value::Null).await;
        assert!(said["scopes"].is_null(), "{said}");
        assert_erased(&system).await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_the_platform_refuses_already_count_as_revoked() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    for marked in [true, false] {
        let connected = system.connect(&open_id).await;
        system.control("POST", &format!("/users/{open_id}/revoke"), json!({})).await;
        if marked {
            system.sql("UPDATE credentials SET dead_reason = 'invalid_grant'").await;
        }
        let calls = revocations(&system, &open_id).await;
        let id = system.ask_for_disconnect(system.project, connected.creator).await;
        let worker = system.worker();
        assert_eq!(system.last_word(id).await, Final::Done, "marked: {marked}");
        assert_eq!(revocations(&system, &open_id).await, calls + u64::from(!marked));
        assert_erased(&system).await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_revoked_when_the_last_project_lets_go() {
    let system = System::start().await;
    let worker = system.worker();
    let other = system.store.add_key("other", &[2; 32], "mlk_other").await.expect("a project");
    let open_id = system.account(2).await;
    let mine = system.connect(&open_id).await.creator;
    let theirs = system.connect_with(other, &open_id, SCOPES).await;
    assert_eq!(system.last_word(theirs.sync.expect("a first sync")).await, Final::Done);
    let id = system.ask_for_disconnect(system.project, mine).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(revocations(&system, &open_id).await, 0);
    // The other project's connection works on.
    let credential = system.credential(theirs.creator).await;
    assert!(system.tokens.usable(credential).await.is_ok());
    let id = system.ask_for_disconnect(other, theirs.creator).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(revocations(&system, &open_id).await, 1);
    assert_erased(&system).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_until_the_platform_is_back() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let connected = system.connect(&open_id).await;
    system.fault(json!({ "endpoint": "revoke", "kind": "bad_gateway" })).await;
    let id = system.ask_for_disconnect(system.project, connected.creator).await;
    let worker = system.worker();
    wait_for("a second failed try", async || {
        let job = system.job(id).await;
        (job.state == JobState::Retrying && job.attempts >= 2).then_some(())
    })
    .await;
    assert!(system.job(id).await.error.is_some_and(|error| error.contains("502")));
    // Hundreds of failures later it is still tried. Its waits are long by then: a restart of the fleet with an empty
    // Redis is one way to hurry it.
    worker.stop().await;
    system.clear_faults().await;
    system.sql("UPDATE jobs SET attempts = 500, run_at = now() WHERE kind = 'revoke'").await;
    system.queue.forget(Lane::Revoke, id).await.expect("forgotten");
    let worker = system.worker();
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_erased(&system).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_whose_answer_was_lost_ends_well() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(0).await;
    let connected = system.connect(&open_id).await;
    system.fault(json!({ "endpoint": "revoke", "kind": "lost_answer", "times": 1 })).await;
    let id = system.ask_for_disconnect(system.project, connected.creator).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_erased(&system).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_during_a_revocation_ends_in_a_connection_that_is_not_revoked() {
    let system = System::start().await;
    let open_id = system.account(3).await;
    let old = system.connect(&open_id).await.creator;
    let revoke = system.ask_for_disconnect(system.project, old).await;
    let new = system.connect(&open_id).await;
    assert_ne!(new.creator, old);
    assert_eq!(new.completed_disconnects, [revoke]);
    let worker = system.worker();
    assert_eq!(system.last_word(new.sync.expect("a first sync")).await, Final::Done);
    assert_eq!(system.last_word(revoke).await, Final::Done);
    assert_eq!(revocations(&system, &open_id).await, 0);
    assert_eq!(system.videos(new.creator).await.len(), 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_on_its_way_is_awaited_by_a_new_connection() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(3).await;
    let old = system.connect(&open_id).await;
    assert_eq!(system.last_word(old.sync.expect("a first sync")).await, Final::Done);
    system.fault(json!({ "endpoint": "revoke", "kind": "slow", "delay_ms": 3000, "times": 1 })).await;
    let revoke = system.ask_for_disconnect(system.project, old.creator).await;
    wait_for("the revocation to be on its way", async || (revocations(&system, &open_id).await == 1).then_some(()))
        .await;
    let grant = system.grant(&open_id, SCOPES).await;
    let requested = Scopes::parse(SCOPES);
    let new = NewGrant {
        project: system.project,
        grant: &grant,
        requested: &requested,
        exchanged: Instant::now(),
        external_ref: None,
        begun_by: None,
    };
    let new = system.tokens.connect(&new, None).await.expect("connected");
    assert_eq!(system.last_word(revoke).await, Final::Done, "it was done before the connection");
    assert_ne!(new.creator, old.creator);
    assert_eq!(system.creator(new.creator).await.id, new.creator);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_on_its_way_is_awaited_and_none_starts_after_the_disconnect() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(1).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    let credential = system.credential(connected.creator).await;
    // A renewal ends the older access token, so that a revocation with that one would be refused.
    system.control("PATCH", "/settings", json!({ "refresh_ends_access": true })).await;
    system.age_tokens(600).await;
    system.fault(json!({ "endpoint": "token", "kind": "slow", "delay_ms": 2000, "times": 1 })).await;
    let renewing = tokio::spawn({
        let tokens = system.tokens.clone();
        async move { tokens.usable(credential).await }
    });
    wait_for("the renewal to be on its way", async || (system.refreshes(&open_id).await == 1).then_some(())).await;
    let id = system.ask_for_disconnect(system.project, connected.creator).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert!(renewing.await.expect("no panic").is_ok());
    assert_eq!((system.refreshes(&open_id).await, revocations(&system, &open_id).await), (1, 1));
    let said = system.control("GET", &format!("/users/{open_id}"), serde_json::Value::Null).await;
    assert!(said["scopes"].is_null(), "{said}");
    assert_erased(&system).await;
    assert!(matches!(system.tokens.usable(credential).await, Err(TokenError::Gone)));
    assert!(matches!(system.tokens.renewed(credential, 1).await, Err(TokenError::Gone)));
    assert_eq!(system.refreshes(&open_id).await, 1);
    worker.stop().await;
}

async fn is_granted(system: &System, open_id: &str) -> bool {
    !system.control("GET", &format!("/users/{open_id}"), json!(null)).await["scopes"].is_null()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_is_stopped_while_it_renews_loses_no_pair() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let connected = system.connect(&open_id).await;
    system.control("POST", &format!("/users/{open_id}/expire"), json!({ "access": true })).await;
    system.age_tokens(-10).await;
    // TikTok rotates the pair at once, and says so long after the worker was told to stop.
    system.fault(json!({ "endpoint": "token", "kind": "slow", "delay_ms": 4000, "times": 1 })).await;
    let id = system.ask_for_disconnect(system.project, connected.creator).await;
    let worker = system.hasty_worker();
    wait_for("the renewal to be on its way", async || (system.refreshes(&open_id).await == 1).then_some(())).await;
    worker.stop().await;
    assert!(is_granted(&system, &open_id).await);
    system.sql("UPDATE credentials SET lease_expires_at = now()").await;
    let worker = system.worker();
    assert_eq!(system.last_word(id).await, Final::Done);
    assert!(!is_granted(&system, &open_id).await, "the grant does not live on");
    assert_erased(&system).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_token_that_is_refused_does_not_count_as_revoked() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let connected = system.connect(&open_id).await;
    let refused = json!({ "endpoint": "revoke", "kind": "error", "status": 400, "times": 2,
        "code": "invalid_request", "message": "no" });
    system.fault(refused).await;
    let id = system.ask_for_disconnect(system.project, connected.creator).await;
    let worker = system.worker();
    assert_eq!(system.last_word(id).await, Final::Done);
    assert!(!is_granted(&system, &open_id).await);
    assert_eq!(system.job(id).await.attempts, 2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_whose_access_tokens_were_refused_is_revoked_all_the_same() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let connected = system.connect(&open_id).await;
    system.sql("UPDATE credentials SET dead_reason = 'access_token_invalid'").await;
    let id = system.ask_for_disconnect(system.project, connected.creator).await;
    let worker = system.worker();
    assert_eq!(system.last_word(id).await, Final::Done);
    assert!(!is_granted(&system, &open_id).await);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_a_late_revocation_has_killed_says_so() {
    let system = System::start().await;
    let worker = system.worker();
    let open_id = system.account(1).await;
    let old = system.connect(&open_id).await;
    assert_eq!(system.last_word(old.sync.expect("a first sync")).await, Final::Done);
    system.fault(json!({ "endpoint": "revoke", "kind": "slow", "delay_ms": 8000, "times": 1 })).await;
    let revoke = system.ask_for_disconnect(system.project, old.creator).await;
    wait_for("the revocation to be on its way", async || (revocations(&system, &open_id).await == 1).then_some(()))
        .await;
    // It takes longer than the lease, so that a new connection does not wait for it, and reaches TikTok after that one.
    system.sql("UPDATE credentials SET lease_expires_at = now()").await;
    let new = system.connect(&open_id).await;
    assert_eq!(system.last_word(new.sync.expect("a first sync")).await, Final::Done);
    system.control("POST", &format!("/users/{open_id}/revoke"), json!({})).await;
    wait_for("the new creator to be marked", async || {
        (system.creator(new.creator).await.status == Status::ReauthorizationRequired).then_some(())
    })
    .await;
    assert_eq!(system.last_word(revoke).await, Final::Done);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_long_past_and_the_last_grant_ends_with_the_last_holder() {
    // Whether the other project lets go, too, while the first one's past is still being erased.
    for lets_go in [false, true] {
        let system = System::start().await;
        let worker = system.worker();
        let other = system.store.add_key("other", &[2; 32], "mlk_other").await.expect("a project");
        let open_id = system.account(2).await;
        let mine = system.connect(&open_id).await;
        assert_eq!(system.last_word(mine.sync.expect("a first sync")).await, Final::Done);
        // A past that takes long: who erases it waits for a row of it.
        let past = postgres(&system.database_url).await;
        past.batch_execute("BEGIN; SELECT FROM video_history FOR UPDATE").await.expect("locked");
        let first = system.ask_for_disconnect(system.project, mine.creator).await;
        wait_for("the first grant to end, and its lease", async || {
            let leases = "SELECT count(*) FROM credentials WHERE lease_owner IS NOT NULL";
            (!is_granted(&system, &open_id).await && system.count(leases).await == 0).then_some(())
        })
        .await;
        let theirs = system.connect_with(other, &open_id, SCOPES).await;
        assert_eq!(system.last_word(theirs.sync.expect("a first sync")).await, Final::Done);
        if lets_go {
            // Its own past is not in the way.
            let second = system.ask_for_disconnect(other, theirs.creator).await;
            assert_eq!(system.last_word(second).await, Final::Done);
            assert!(is_granted(&system, &open_id).await, "the first one is still there");
        }
        past.batch_execute("COMMIT").await.expect("unlocked");
        assert_eq!(system.last_word(first).await, Final::Done);
        if lets_go {
            assert!(!is_granted(&system, &open_id).await, "nobody holds it any more");
            assert_erased(&system).await;
        } else {
            assert!(is_granted(&system, &open_id).await, "the other project holds it");
            assert_eq!(system.count("SELECT count(*) FROM creators").await, 1);
            let syncs = format!("SELECT count(*) FROM jobs WHERE kind = 'sync' AND creator_id = '{}'", theirs.creator);
            assert_eq!(system.count(&syncs).await, 1, "no call came late, so nobody has to find out");
        }
        worker.stop().await;
    }
}
