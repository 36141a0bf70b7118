//! The profile, and what fails at the Display API.

use std::time::Duration;

use serde_json::{Value, json};
use shared::budget::BudgetSettings;
use shared::platforms::{AccessToken, Caller, PlatformError, Profile, Scopes};
use tokio::sync::watch;

use crate::helpers::{ALL, Stage, budget, caller, kind, told};

#[tokio::test]
async fn a_profile_is_what_tiktok_says() {
    let stage = Stage::new();
    let profile = json!({"display_name": "Ze\u{0}ro", "username": "zero", "bio_description": "", "is_verified": true,
        "follower_count": 9_007_199_254_740_993_i64, "following_count": null, "likes_count": i64::MAX});
    let (open_id, access) = stage.access(json!({"videos": 3, "profile": profile})).await;
    for fault in [Value::Null, json!({"endpoint": "user_info", "kind": "numeric_strings"})] {
        if !fault.is_null() {
            stage.fault(fault).await;
        }
        let read = stage.tiktok.profile(&access, &Scopes::parse(ALL), &caller()).await.unwrap();
        assert!(read.avatar_url.is_some() && read.profile_url.is_some());
        let expected = Profile {
            external_id: Some(open_id.clone()),
            username: Some("zero".into()),
            display_name: Some("Zero".into()),
            bio: Some(String::new()),
            avatar_url: read.avatar_url.clone(),
            profile_url: read.profile_url.clone(),
            verified: Some(true),
            followers: Some(9_007_199_254_740_993),
            following: None,
            likes: Some(i64::MAX),
            video_count: Some(3),
        };
        assert_eq!(read, expected);
    }
}

#[tokio::test]
async fn only_what_was_granted_is_asked_for() {
    let stage = Stage::new();
    let open_id = stage.creator(json!({})).await;
    let scopes = "user.info.basic,user.info.stats";
    let access = stage.grant(&open_id, scopes).await.access;
    let read = stage.tiktok.profile(&access, &Scopes::parse(scopes), &caller()).await.unwrap();
    assert!(read.display_name.is_some() && read.followers.is_some());
    assert_eq!((read.username, read.bio, read.verified), (None, None, None));

    let nothing = stage.tiktok.profile(&access, &Scopes::parse("video.list"), &caller()).await;
    assert_eq!(kind(&nothing), "scope_missing");
    assert_eq!(stage.requests("/v2/user/info/").await, 1);
    let listing = stage.tiktok.videos(&access, None, &caller()).await;
    let Err(PlatformError::ScopeMissing { scopes, .. }) = listing else { panic!("{listing:?}") };
    assert_eq!(scopes, Scopes::parse("video.list"));
}

#[tokio::test]
async fn a_scope_that_was_withdrawn_is_told_so_that_less_can_be_asked_for() {
    let stage = Stage::new();
    let open_id = stage.creator(json!({})).await;
    let access = stage.grant(&open_id, ALL).await.access;
    stage.control("PUT", &format!("/users/{open_id}/scopes"), json!({"scopes": ["user.info.basic"]})).await;
    for mode in ["not_authorized", "permission_missed"] {
        stage.settings(json!({"missing_scope": mode})).await;
        let refused = stage.tiktok.profile(&access, &Scopes::parse(ALL), &caller()).await;
        let Err(PlatformError::ScopeMissing { scopes, log_id: Some(_), .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(scopes, Scopes::parse("user.info.profile,user.info.stats"));
        let rest = Scopes::parse(ALL).missing_from(&scopes);
        let read = stage.tiktok.profile(&access, &rest, &caller()).await.unwrap();
        assert!(read.display_name.is_some() && read.followers.is_none());
    }
    stage.settings(json!({"missing_scope": "omit"})).await;
    let read = stage.tiktok.profile(&access, &Scopes::parse(ALL), &caller()).await.unwrap();
    assert!(read.display_name.is_some() && read.followers.is_none() && read.username.is_none());
}

#[tokio::test]
async fn a_token_that_tiktok_refuses_is_told() {
    let stage = Stage::new();
    let (open_id, access) = stage.access(json!({})).await;
    stage.control("POST", &format!("/users/{open_id}/expire"), json!({"access": true})).await;
    for token in [access, AccessToken("act.made-up".into())] {
        let profile = stage.tiktok.profile(&token, &Scopes::parse(ALL), &caller()).await;
        assert!(matches!(profile, Err(PlatformError::TokenInvalid { log_id: Some(_) })), "{profile:?}");
        assert_eq!(kind(&stage.tiktok.videos(&token, None, &caller()).await), "token_invalid");
    }
    // One that no header can carry is a fault of ours, not a panic.
    let odd = stage.tiktok.videos(&AccessToken("a\nb".into()), None, &caller()).await;
    assert_eq!(kind(&odd), "rejected");
}

#[tokio::test]
async fn whatever_fails_at_the_display_api_may_pass() {
    let stage = Stage::new();
    // For what is too slow, and nothing else: this machine may stand still for longer.
    let hasty = stage.client(|settings| settings.request_timeout = Duration::from_millis(500));
    let (_, access) = stage.access(json!({"videos": 2})).await;
    let scopes = Scopes::parse(ALL);
    let faults =
        ["internal_error", "bad_gateway", "empty_body", "truncated", "reset", "lost_answer", "slow", "fresh_grant"];
    for fault in faults {
        for error_data in ["empty", "absent"] {
            stage.settings(json!({"error_data": error_data})).await;
            let delay = if fault == "slow" { 2_000 } else { 0 };
            for endpoint in ["user_info", "video_list"] {
                stage.fault(json!({"endpoint": endpoint, "kind": fault, "times": 1, "delay_ms": delay})).await;
            }
            let tiktok = if fault == "slow" { &hasty } else { &stage.tiktok };
            let profile = tiktok.profile(&access, &scopes, &caller()).await;
            assert_eq!(kind(&profile), "unavailable", "{fault}: {profile:?}");
            let videos = tiktok.videos(&access, None, &caller()).await;
            assert_eq!(kind(&videos), "unavailable", "{fault}: {videos:?}");
            stage.clear_faults().await;
        }
    }
    assert_eq!(kind(&stage.tiktok.profile(&access, &scopes, &caller()).await), "ok");
}

#[tokio::test]
async fn errors_with_status_200_and_unknown_ones_are_errors() {
    let stage = Stage::new();
    let (_, access) = stage.access(json!({"videos": 2})).await;
    for (code, status, expected) in [
        ("internal_error", 200, "unavailable"),
        ("access_token_invalid", 200, "token_invalid"),
        ("scope_not_authorized", 200, "scope_missing"),
        ("scope_permission_missed", 400, "scope_missing"),
        ("invalid_params", 400, "rejected"),
        ("invalid_param", 200, "rejected"),
        ("something_new", 200, "unavailable"),
        ("something_new", 401, "token_invalid"),
        ("something_new", 403, "rejected"),
        ("something_new", 500, "unavailable"),
    ] {
        let fault = json!({"endpoint": "video_list", "kind": "error", "times": 1, "code": code, "status": status});
        stage.fault(fault).await;
        let videos = stage.tiktok.videos(&access, None, &caller()).await;
        assert_eq!(kind(&videos), expected, "{code} {status}");
        assert!(videos.unwrap_err().log_id().is_some_and(|log_id| log_id.len() == 34));
    }
}

#[tokio::test]
async fn an_endpoint_that_is_held_costs_no_wait_for_a_permit() {
    const ENDPOINT: &str = "user_info";
    let stage = Stage::new();
    let (_, access) = stage.access(json!({"videos": 1})).await;
    // A breaker's pauses are parts of the window. Of an hour: five minutes pass before the first look.
    let budget = budget(BudgetSettings { window: Duration::from_secs(3600), ..BudgetSettings::per_minute(1) });
    let tiktok = stage.client_with(&budget);
    let bulk = Caller { interactive: watch::channel(false).1, ..Caller::interactive(Some(Duration::ZERO)) };
    let permit = budget.permit(ENDPOINT, None, watch::channel(true).1, None).await.unwrap();
    let open = told(async || tiktok.profile(&access, &Scopes::parse(ALL), &bulk).await).await;
    assert_eq!(kind(&open), "no_budget");
    // Redis has a moment to hear of a failure; five are enough where it hears of all.
    for account in 0..100 {
        if budget.failed(ENDPOINT, &account.to_string()).await.is_some() {
            break;
        }
    }
    // And a moment to say that the endpoint is held; where it says nothing, the call goes on to the budget.
    let mut held = "no_budget";
    for _ in 0..20 {
        held = kind(&told(async || tiktok.profile(&access, &Scopes::parse(ALL), &bulk).await).await);
        if held != "no_budget" {
            break;
        }
    }
    assert_eq!(held, "held");
    permit.settle().await;
}
