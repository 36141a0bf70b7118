//! Consent, exchange, refresh, revocation.

use std::time::Duration;

use sandbox::{AppProfile, SandboxConfig};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use shared::platforms::tiktok::{Pkce, PkceMode};
use shared::platforms::{AccessToken, PlatformError, RefreshToken, Scopes};

use crate::helpers::{ALL, REDIRECT, Stage, kind, param, refresh_of, settings_for};

#[tokio::test]
async fn the_consent_page_s_address_is_the_contract_s() {
    let mut settings = settings_for("https://www.tiktok.com");
    settings.client_key = "aw1 demo".into();
    let url = crate::helpers::client(settings).authorize_url("abc123", None);
    assert_eq!(
        url.as_str(),
        "https://www.tiktok.com/v2/auth/authorize/?client_key=aw1+demo\
         &scope=user.info.basic%2Cuser.info.profile%2Cuser.info.stats%2Cvideo.list&response_type=code\
         &redirect_uri=http%3A%2F%2F127.0.0.1%3A4999%2Fcb&state=abc123&disable_auto_auth=1"
    );
}

#[tokio::test]
async fn a_consent_becomes_a_grant_with_and_without_pkce() {
    for (profile, mode) in [
        (AppProfile::Web, PkceMode::Off),
        (AppProfile::Web, PkceMode::Base64url),
        (AppProfile::Web, PkceMode::Hex),
        (AppProfile::Desktop, PkceMode::Hex),
    ] {
        let config = SandboxConfig { app_profile: profile, ..SandboxConfig::default() };
        let stage = Stage::with(config, |settings| settings.pkce = mode);
        let open_id = stage.creator(json!({})).await;
        let pkce = stage.tiktok.pkce();
        assert_eq!(pkce.is_none(), mode == PkceMode::Off);
        let page = stage.tiktok.authorize_url("s t&1", pkce.as_ref());
        let sent = stage.consent(&page, &open_id, "user.info.basic,video.list").await;
        assert_eq!(param(&sent, "state"), "s t&1");

        let code = param(&sent, "code");
        let grant = stage.tiktok.exchange_code(&code, pkce.as_ref().map(Pkce::verifier)).await.unwrap();
        assert_eq!(grant.external_id, open_id);
        assert_eq!(grant.scopes, Scopes::parse("user.info.basic,video.list"));
        assert_eq!(grant.access_expires_in, Duration::from_secs(7_200));
        assert_eq!(grant.refresh_expires_in, Some(Duration::from_secs(15_552_000)));

        let again = stage.tiktok.exchange_code(&code, pkce.as_ref().map(Pkce::verifier)).await;
        if mode == PkceMode::Off {
            assert!(matches!(again, Err(PlatformError::GrantDead { log_id: Some(_), .. })), "{again:?}");
        } else {
            assert_ne!(kind(&again), "ok");
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_the_consent_is_refused() {
    let stage = Stage::with(SandboxConfig::default(), |settings| settings.pkce = PkceMode::Base64url);
    let open_id = stage.creator(json!({})).await;
    let (one, other) = (stage.tiktok.pkce().unwrap(), stage.tiktok.pkce().unwrap());
    let sent = stage.consent(&stage.tiktok.authorize_url("s", Some(&one)), &open_id, ALL).await;
    let wrong = stage.tiktok.exchange_code(&param(&sent, "code"), Some(other.verifier())).await;
    assert_eq!(kind(&wrong), "rejected");

    let elsewhere = stage.client(|settings| settings.redirect_uri = "http://127.0.0.1:4999/other".into());
    let sent = stage.consent(&stage.tiktok.authorize_url("s", None), &open_id, ALL).await;
    assert_eq!(kind(&elsewhere.exchange_code(&param(&sent, "code"), None).await), "rejected");
    assert_eq!(REDIRECT, "http://127.0.0.1:4999/cb");
    assert_eq!(kind(&stage.tiktok.exchange_code("made up", None).await), "grant_dead");
}

#[tokio::test]
async fn a_wrong_secret_is_the_operator_s_fault_whatever_the_status() {
    let stage = Stage::new();
    let open_id = stage.creator(json!({})).await;
    let wrong = stage.client(|settings| settings.client_secret = SecretString::from("hunter2"));
    let grant = stage.grant(&open_id, ALL).await;
    let refresh = grant.refresh.clone().unwrap();
    for status in [200, 400, 401] {
        stage.settings(json!({"oauth_error_status": status})).await;
        let code = stage.code(&open_id, ALL).await;
        let results = [
            wrong.exchange_code(&code, None).await.map(drop),
            wrong.refresh(&refresh).await.map(drop),
            wrong.revoke(&grant.access).await,
        ];
        for result in results {
            let Err(PlatformError::Rejected { code, log_id, .. }) = result else { panic!("{result:?}") };
            assert_eq!((code.as_str(), log_id.is_some()), ("invalid_client", true));
        }
        let dead = stage.tiktok.refresh(&RefreshToken("rft.made-up".into())).await;
        assert_eq!(kind(&dead), "grant_dead", "{status}");
    }
}

#[tokio::test]
async fn a_refresh_brings_a_new_pair_and_the_old_one_is_dead() {
    let stage = Stage::new();
    let open_id = stage.creator(json!({})).await;
    let first = stage.grant(&open_id, ALL).await.refresh.unwrap();
    stage.control("PUT", &format!("/users/{open_id}/scopes"), json!({"scopes": ["user.info.basic"]})).await;
    let second = stage.tiktok.refresh(&first).await.unwrap();
    assert_eq!(
        (second.external_id.as_str(), second.scopes.to_string().as_str()),
        (open_id.as_str(), "user.info.basic")
    );
    let rotated = refresh_of(second);
    assert_ne!(rotated.0.expose_secret(), first.0.expose_secret());
    assert_eq!(kind(&stage.tiktok.refresh(&first).await), "grant_dead");
    assert_eq!(kind(&stage.tiktok.refresh(&rotated).await), "ok");
}

#[tokio::test]
async fn a_revocation_ends_the_grant_and_says_if_it_knew_the_token() {
    let stage = Stage::new();
    for (answers_object, status) in [(true, 200), (false, 400)] {
        stage.settings(json!({"revoke_answers_object": answers_object, "oauth_error_status": status})).await;
        let open_id = stage.creator(json!({})).await;
        let grant = stage.grant(&open_id, ALL).await;
        // An expired token is unknown, and the grant lives on: the fresh one ends it.
        stage.control("POST", &format!("/users/{open_id}/expire"), json!({"access": true})).await;
        assert_eq!(kind(&stage.tiktok.revoke(&grant.access).await), "token_invalid");
        let fresh = stage.tiktok.refresh(&refresh_of(grant)).await.unwrap();
        assert_eq!(stage.tiktok.revoke(&fresh.access).await, Ok(()));
        assert_eq!(kind(&stage.tiktok.revoke(&fresh.access).await), "token_invalid");
        assert_eq!(kind(&stage.tiktok.refresh(&refresh_of(fresh)).await), "grant_dead");
    }
}

#[tokio::test]
async fn whatever_fails_at_the_oauth_endpoints_may_pass() {
    let stage = Stage::with(SandboxConfig::default(), |_| {});
    // For what is too slow, and nothing else: this machine may stand still for longer.
    let hasty = stage.client(|settings| settings.request_timeout = Duration::from_millis(500));
    let open_id = stage.creator(json!({})).await;
    for kind_of_fault in ["internal_error", "bad_gateway", "empty_body", "truncated", "reset", "lost_answer", "slow"] {
        let refresh = refresh_of(stage.grant(&open_id, ALL).await);
        stage
            .fault(json!({"endpoint": "token", "kind": kind_of_fault, "times": 1, "delay_ms": slow(kind_of_fault)}))
            .await;
        let tiktok = if kind_of_fault == "slow" { &hasty } else { &stage.tiktok };
        let failed = tiktok.refresh(&refresh).await;
        assert_eq!(kind(&failed), "unavailable", "{kind_of_fault}: {failed:?}");
        // TikTok may have done it all the same: then the grant is gone, and only now TikTok says so.
        let done = ["truncated", "lost_answer", "slow"].contains(&kind_of_fault);
        let again = stage.tiktok.refresh(&refresh).await;
        assert_eq!(kind(&again), if done { "grant_dead" } else { "ok" }, "{kind_of_fault}: {again:?}");
    }
    for kind_of_fault in ["internal_error", "bad_gateway", "truncated", "reset", "slow"] {
        let access = stage.grant(&open_id, ALL).await.access;
        stage
            .fault(json!({"endpoint": "revoke", "kind": kind_of_fault, "times": 1, "delay_ms": slow(kind_of_fault)}))
            .await;
        let tiktok = if kind_of_fault == "slow" { &hasty } else { &stage.tiktok };
        let failed = tiktok.revoke(&access).await;
        assert_eq!(kind(&failed), "unavailable", "{kind_of_fault}: {failed:?}");
        // It may be done all the same. An endpoint that answers is not held.
        let again = kind(&stage.tiktok.revoke(&access).await);
        assert!(["ok", "token_invalid"].contains(&again), "{kind_of_fault}: {again}");
    }
    for (code, status, expected) in [
        ("server_error", 200, "unavailable"),
        ("temporarily_unavailable", 503, "unavailable"),
        ("something_new", 500, "unavailable"),
        ("something_new", 200, "rejected"),
        ("access_denied", 400, "rejected"),
    ] {
        stage.fault(json!({"endpoint": "token", "kind": "error", "times": 1, "code": code, "status": status})).await;
        assert_eq!(kind(&stage.tiktok.exchange_code("any", None).await), expected, "{code}");
    }
}

fn slow(kind_of_fault: &str) -> u64 {
    if kind_of_fault == "slow" { 2_000 } else { 0 }
}

#[tokio::test]
async fn a_tiktok_out_of_reach_may_come_back() {
    let stage = Stage::new();
    // A port that was just free: nobody listens.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let away = stage.client(|settings| settings.api_url = base.parse().unwrap());
    let result = away.refresh(&RefreshToken("rft.secret".into())).await;
    let Err(PlatformError::Unavailable { message, .. }) = &result else { panic!("{result:?}") };
    assert!(message.starts_with("can't connect: ") && !message.contains("os error"), "{message}");
    assert_eq!(kind(&away.revoke(&AccessToken("act.secret".into())).await), "unavailable");
}

#[tokio::test]
async fn no_secret_is_shown() {
    let stage = Stage::new();
    let open_id = stage.creator(json!({})).await;
    let grant = stage.grant(&open_id, ALL).await;
    let shown = format!("{:?} {grant:?}", stage.tiktok);
    for secret in ["sandbox-client-secret", grant.access.0.expose_secret(), refresh_of(grant.clone()).0.expose_secret()]
    {
        assert!(!shown.contains(secret), "{shown}");
    }
}
