//! Permits: one for each request, taken at the moment of sending, settled whatever comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox::SandboxConfig;
use serde_json::{Value, json};
use shared::budget::BudgetSettings;
use shared::platforms::tiktok::TikTok;
use shared::platforms::{Caller, PlatformError, Scopes};

use crate::helpers::{ALL, Stage, budget, budget_at, caller, kind, settings_for, told};

fn at_once() -> Caller {
    Caller::interactive(Some(Duration::ZERO))
}

#[tokio::test]
async fn without_budget_nothing_is_sent() {
    let stage = Stage::new();
    let (_, access) = stage.access(json!({})).await;
    let one = TikTok::new(settings_for(&stage.sandbox.base_url()), budget(BudgetSettings::per_minute(1))).unwrap();
    // Each endpoint has its own.
    let profile = told(async || one.profile(&access, &Scopes::parse(ALL), &at_once()).await).await;
    assert_eq!(kind(&profile), "ok");
    let page = told(async || one.videos(&access, None, &at_once()).await).await;
    assert_eq!(kind(&page), "ok");
    let none = told(async || one.videos(&access, None, &at_once()).await).await;
    let Err(PlatformError::NoBudget { retry_in }) = none else { panic!("{none:?}") };
    assert!(retry_in > Duration::from_secs(30) && retry_in < Duration::from_secs(62), "{retry_in:?}");
    assert_eq!(stage.requests("/v2/video/list/").await, 1);
}

#[tokio::test]
async fn a_permit_is_settled_whatever_the_answer() {
    let stage = Stage::new();
    let (_, access) = stage.access(json!({})).await;
    // Unsettled, it would be held for more than 10 s.
    let window = Duration::from_millis(300);
    let quick = BudgetSettings { quota: 1, window, slack: Duration::ZERO, request_timeout: Duration::from_secs(10) };
    let tiktok = TikTok::new(settings_for(&stage.sandbox.base_url()), budget(quick)).unwrap();
    for fault in ["reset", "bad_gateway", "truncated", "internal_error"] {
        stage.fault(json!({"endpoint": "video_list", "kind": fault, "times": 1})).await;
        let patient = Caller::interactive(Some(Duration::from_secs(5)));
        assert_eq!(kind(&tiktok.videos(&access, None, &patient).await), "unavailable");
        assert_eq!(kind(&tiktok.videos(&access, None, &patient).await), "ok");
    }
}

#[tokio::test]
async fn a_429_pauses_the_endpoint_for_everybody() {
    let config = SandboxConfig { rate_limit: 1, ..SandboxConfig::default() };
    let stage = Stage::with(config, |_| {});
    let (_, access) = stage.access(json!({})).await;
    for retry_after in [false, true] {
        stage.settings(json!({"retry_after": retry_after})).await;
        stage.control("DELETE", "/limits", Value::Null).await;
        let shared = budget(BudgetSettings::per_minute(1_000));
        let settings = settings_for(&stage.sandbox.base_url());
        let tiktok = TikTok::new(settings.clone(), Arc::clone(&shared)).unwrap();
        let other = TikTok::new(settings, shared).unwrap();
        assert_eq!(kind(&tiktok.videos(&access, None, &caller()).await), "ok");
        let asked = Instant::now();
        let limited = tiktok.videos(&access, None, &caller()).await;
        let Err(PlatformError::RateLimited { retry_after: wait, .. }) = limited else { panic!("{limited:?}") };
        assert_eq!(wait.is_some(), retry_after);
        let paused = told(async || other.videos(&access, None, &at_once()).await).await;
        // Without a word the pause is a second: where this machine stands still for so long, TikTok itself says no.
        let is_over = asked.elapsed() >= wait.unwrap_or(Duration::from_secs(1));
        let paused = kind(&paused);
        assert!(paused == "no_budget" || (paused == "rate_limited" && is_over), "{paused}");
        // The other endpoint goes on.
        let profile = told(async || other.profile(&access, &Scopes::parse(ALL), &at_once()).await).await;
        assert_eq!(kind(&profile), "ok");
    }
}

#[tokio::test]
async fn without_redis_nothing_is_sent_to_a_limited_endpoint() {
    let stage = Stage::new();
    let (open_id, access) = stage.access(json!({})).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    drop(listener);
    let away = budget_at(&url, BudgetSettings::per_minute(600));
    let tiktok = TikTok::new(settings_for(&stage.sandbox.base_url()), away).unwrap();
    let refused = tiktok.videos(&access, None, &Caller::interactive(Some(Duration::from_millis(100)))).await;
    assert_eq!(kind(&refused), "budget_unavailable");
    assert_eq!(stage.requests("/v2/video/list/").await, 0);
    // The OAuth endpoints have no quota: connecting and revoking go on.
    let code = stage.code(&open_id, ALL).await;
    let grant = tiktok.exchange_code(&code, None).await.unwrap();
    assert_eq!(tiktok.revoke(&grant.access).await, Ok(()));
}
