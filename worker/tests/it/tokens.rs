//! Tokens: one renewal over the fleet, never lost, and only the platform's clear word ends them.

use std::time::{Duration, Instant};

use futures::future::join_all;
use secrecy::ExposeSecret as _;
use serde_json::json;
use shared::crypto::KeyRing;
use shared::platforms::{PlatformError, Scopes};
use shared::store::creators::Status;
use shared::tokens::{NewGrant, TokenError};

use crate::support::{SCOPES, System, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_need_a_token_renew_it_once_over_the_fleet() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let creator = system.connect(&open_id).await.creator;
    let id = system.credential(creator).await;
    let before = system.tokens.usable(id).await.expect("a token");
    // Expired: with one that still lives nobody waits for long.
    system.age_tokens(-1).await;
    // A connection is there for each of them.
    join_all((0..16).map(|_| system.store.credential(id))).await;
    // Long enough that all of them have seen the old pair before the new one is there.
    system.fault(json!({ "endpoint": "token", "kind": "slow", "delay_ms": 2000 })).await;
    let other = system.tokens_with(system.key.expose_secret());
    let asked = (0..16).map(|number| if number % 2 == 0 { system.tokens.usable(id) } else { other.usable(id) });
    let got: Vec<_> = join_all(asked).await.into_iter().map(|token| token.expect("a token")).collect();
    assert_eq!(system.refreshes(&open_id).await, 1);
    assert!(got[0].version > before.version);
    assert!(got.iter().all(|token| token.version == got[0].version));
    assert!(got.iter().all(|token| token.access.0.expose_secret() == got[0].access.0.expose_secret()));
    assert_ne!(got[0].access.0.expose_secret(), before.access.0.expose_secret());
    // The new one is young: nobody renews it again.
    system.tokens.usable(id).await.expect("a token");
    assert_eq!(system.refreshes(&open_id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_renewed_from_eighty_percent_of_its_life_on() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let id = system.credential(system.connect(&open_id).await.creator).await;
    // Of two hours, 80 % are 5760 s: 1440 s are left then.
    system.age_tokens(1500).await;
    system.tokens.usable(id).await.expect("a token");
    assert_eq!(system.refreshes(&open_id).await, 0);
    system.age_tokens(1439).await;
    system.tokens.usable(id).await.expect("a token");
    assert_eq!(system.refreshes(&open_id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_was_fetched_is_saved_although_nobody_waits_for_it_any_more() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let id = system.credential(system.connect(&open_id).await.creator).await;
    let version = system.tokens.usable(id).await.expect("a token").version;
    system.age_tokens(600).await;
    system.fault(json!({ "endpoint": "token", "kind": "slow", "delay_ms": 4000, "times": 1 })).await;
    let job = tokio::spawn({
        let tokens = system.tokens.clone();
        async move { tokens.usable(id).await }
    });
    wait_for("the renewal to be on its way", async || (system.refreshes(&open_id).await == 1).then_some(())).await;
    job.abort();
    assert!(job.await.is_err_and(|error| error.is_cancelled()), "the job was cancelled while it waited");
    system.tokens.settle().await;
    let stored = system.store.credential(id).await.expect("read").expect("a credential");
    assert!(stored.version > version, "settling waited for the renewal");
    // And it works: the one that it renewed is dead by now.
    let token = system.tokens.usable(id).await.expect("a token");
    let caller = shared::platforms::Caller::interactive(None);
    system.tiktok.profile(&token.access, &token.scopes, &caller).await.expect("a profile");
    assert_eq!(system.refreshes(&open_id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_platform_down_a_token_is_used_until_it_expires() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let creator = system.connect(&open_id).await.creator;
    let id = system.credential(creator).await;
    let before = system.tokens.usable(id).await.expect("a token");
    system.fault(json!({ "endpoint": "token", "kind": "bad_gateway" })).await;
    system.age_tokens(600).await;
    assert_eq!(system.tokens.usable(id).await.expect("the stored one").version, before.version);
    system.age_tokens(-1).await;
    let error = system.tokens.usable(id).await.expect_err("expired");
    assert!(matches!(error, TokenError::Platform(PlatformError::Unavailable { .. })), "{error}");
    assert_eq!(system.creator(creator).await.status, Status::Active, "an outage marks nobody");
    system.clear_faults().await;
    assert!(system.tokens.usable(id).await.expect("a new one").version > before.version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_renewal_whose_answer_was_lost_is_the_platforms_next_word() {
    let system = System::start().await;
    // Whether the platform takes the old refresh token once more, for a while.
    for grace in [0, 3600] {
        system.control("PATCH", "/settings", json!({ "grace": grace })).await;
        let open_id = system.account(0).await;
        let creator = system.connect(&open_id).await.creator;
        let id = system.credential(creator).await;
        let version = system.tokens.usable(id).await.expect("a token").version;
        system.age_tokens(600).await;
        system.fault(json!({ "endpoint": "token", "kind": "lost_answer", "times": 1 })).await;
        assert_eq!(system.tokens.usable(id).await.expect("it lives still").version, version);
        assert_eq!(system.creator(creator).await.status, Status::Active, "nobody has said that it is dead");
        match system.tokens.usable(id).await {
            Ok(renewed) => assert!(grace > 0 && renewed.version > version),
            Err(TokenError::Dead { reason, .. }) => assert!(grace == 0 && reason == "invalid_grant", "{reason}"),
            Err(error) => panic!("{error}"),
        }
        let status = if grace > 0 { Status::Active } else { Status::ReauthorizationRequired };
        assert_eq!(system.creator(creator).await.status, status);
        assert_eq!(system.refreshes(&open_id).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_of_ours_marks_nobody() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let creator = system.connect(&open_id).await.creator;
    let id = system.credential(creator).await;
    system.age_tokens(-1).await;
    system
        .fault(
            json!({ "endpoint": "token", "kind": "error", "status": 401, "code": "invalid_client", "message": "no" }),
        )
        .await;
    let error = system.tokens.usable(id).await.expect_err("refused");
    assert!(matches!(error, TokenError::Platform(PlatformError::Rejected { .. })), "{error}");
    assert_eq!(system.creator(creator).await.status, Status::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_the_platform_refuses_is_dead_and_not_tried_again() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let creator = system.connect(&open_id).await.creator;
    let id = system.credential(creator).await;
    system.control("POST", &format!("/users/{open_id}/revoke"), json!({})).await;
    system.age_tokens(600).await;
    let error = system.tokens.usable(id).await.expect_err("dead");
    assert!(matches!(&error, TokenError::Dead { reason, log_id: Some(_) } if reason == "invalid_grant"), "{error}");
    let marked = system.creator(creator).await;
    assert_eq!(marked.status, Status::ReauthorizationRequired);
    assert_eq!(marked.status_reason.as_deref(), Some("invalid_grant"));
    let calls = system.refreshes(&open_id).await;
    assert!(matches!(system.tokens.usable(id).await, Err(TokenError::Dead { .. })));
    assert_eq!(system.refreshes(&open_id).await, calls);
    // Connecting again heals it, under its id.
    assert_eq!(system.connect(&open_id).await.creator, creator);
    assert_eq!(system.creator(creator).await.status, Status::Active);
    system.tokens.usable(id).await.expect("a token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_about_an_old_pair_does_not_touch_a_newer_one() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let creator = system.connect(&open_id).await.creator;
    let id = system.credential(creator).await;
    system.control("POST", &format!("/users/{open_id}/revoke"), json!({})).await;
    system.age_tokens(600).await;
    system.fault(json!({ "endpoint": "token", "kind": "slow", "delay_ms": 4000, "times": 1 })).await;
    let renewing = tokio::spawn({
        let tokens = system.tokens.clone();
        async move { tokens.usable(id).await }
    });
    wait_for("the refused renewal to be on its way", async || (system.refreshes(&open_id).await == 1).then_some(()))
        .await;
    // As if a callback had not waited for the lease: a newer pair is there before the verdict.
    system
        .sql(&format!(
            "UPDATE credentials SET version = nextval('credential_version'), issued_at = now(), \
             access_expires_at = now() + interval '2 hours' WHERE id = '{id}'"
        ))
        .await;
    let token = renewing.await.expect("no panic").expect("the newer pair");
    assert_eq!(system.creator(creator).await.status, Status::Active);
    assert_eq!(token.version, system.store.credential(id).await.expect("read").expect("a credential").version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_whose_token_was_refused_one_renews() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let id = system.credential(system.connect(&open_id).await.creator).await;
    let refused = system.tokens.usable(id).await.expect("a token").version;
    let renewed = join_all((0..6).map(|_| system.tokens.renewed(id, refused))).await;
    assert!(renewed.iter().all(|token| token.as_ref().expect("a token").version > refused));
    assert_eq!(system.refreshes(&open_id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_under_an_old_key_seals_under_the_new_one() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let id = system.credential(system.connect(&open_id).await.creator).await;
    let first = system.tokens.usable(id).await.expect("a token");
    let new_key = KeyRing::generate_key();
    let only_new = system.tokens_with(new_key.expose_secret());
    let error = only_new.usable(id).await.expect_err("sealed with the old key");
    assert!(matches!(error, TokenError::Sealed(_)), "{error}");

    let both = format!("{},{}", new_key.expose_secret(), system.key.expose_secret());
    let read = system.tokens_with(&both).usable(id).await.expect("a token");
    assert_eq!(read.access.0.expose_secret(), first.access.0.expose_secret());
    assert_eq!(read.version, first.version);
    let read = only_new.usable(id).await.expect("sealed with the new key now");
    assert_eq!(read.access.0.expose_secret(), first.access.0.expose_secret());
    // The refresh token too.
    system.age_tokens(600).await;
    assert!(only_new.usable(id).await.expect("renewed").version > first.version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_moved_to_another_row_or_column_does_not_open() {
    let system = System::start().await;
    let (one, two) = (system.account(0).await, system.account(0).await);
    let (first, second) = (system.connect(&one).await.creator, system.connect(&two).await.creator);
    let (first, second) = (system.credential(first).await, system.credential(second).await);
    let take = format!("(SELECT access_token FROM credentials WHERE id = '{second}')");
    system.sql(&format!("UPDATE credentials SET access_token = {take} WHERE id = '{first}'")).await;
    assert!(matches!(system.tokens.usable(first).await, Err(TokenError::Sealed(_))));
    system.sql(&format!("UPDATE credentials SET access_token = refresh_token WHERE id = '{second}'")).await;
    assert!(matches!(system.tokens.usable(second).await, Err(TokenError::Sealed(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_waits_for_who_works_on_the_accounts_tokens() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let creator = system.connect(&open_id).await.creator;
    let id = system.credential(creator).await;
    let hold = system.tokens.hold(id, Duration::ZERO).await.expect("the lease");
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
    let mut connecting = Box::pin(system.tokens.connect(&new, None));
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut connecting).await.is_err(), "it waits");
    // It waits no longer than it is held: the lease would end in the end.
    let released = Instant::now();
    system.tokens.release(hold).await;
    assert_eq!(connecting.await.expect("connected").creator, creator);
    assert!(released.elapsed() < Duration::from_secs(10), "{:?}", released.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_granted_is_said_to_be_missing() {
    let system = System::start().await;
    let open_id = system.account(0).await;
    let creator = system.connect_with(system.project, &open_id, "user.info.basic,video.list").await.creator;
    assert_eq!(system.creator(creator).await.missing_scopes, "user.info.profile,user.info.stats");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_work_on_tokens_is_an_error_like_another() {
    let system = System::start().await;
    let bug = system.tokens.to_the_end(async {
        tokio::task::yield_now().await;
        panic!("a bug");
    });
    assert!(matches!(bug.await, Err::<(), _>(TokenError::Panicked)));
    // And those who come later are served.
    assert_eq!(system.tokens.to_the_end(async { 7 }).await.expect("no panic"), 7);
}
