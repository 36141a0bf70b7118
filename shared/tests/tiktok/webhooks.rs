//! Webhooks, as the sandbox sends them.

use chrono::Utc;
use sandbox::SandboxConfig;
use serde_json::{Value, json};
use shared::platforms::tiktok::{RemovalReason, WebhookError, WebhookEvent};

use crate::helpers::{ALL, Stage};
use crate::wire::{Request, Wire};

async fn stage() -> (Stage, Wire) {
    let wire = Wire::start(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()).await;
    let config = SandboxConfig { webhook_url: Some(format!("{}/hook", wire.base)), ..SandboxConfig::default() };
    (Stage::with(config, |_| {}), wire)
}

fn read(stage: &Stage, request: &Request) -> Result<WebhookEvent, WebhookError> {
    stage.tiktok.webhook(&request.header("tiktok-signature").unwrap(), &request.body, Utc::now())
}

#[tokio::test]
async fn a_revocation_is_told_by_a_webhook_that_verifies() {
    let (stage, mut wire) = stage().await;
    let open_id = stage.creator(json!({})).await;
    let grant = stage.grant(&open_id, ALL).await;
    stage.tiktok.revoke(&grant.access).await.unwrap();
    let event = read(&stage, &wire.next().await).unwrap();
    let WebhookEvent::AuthorizationRemoved { open_id: whose, reason, at } = event else { panic!("{event:?}") };
    assert_eq!((whose, reason), (open_id, RemovalReason::RevokedByUs));
    assert!((Utc::now() - at).num_seconds().abs() < 60);
}

#[tokio::test]
async fn what_tiktok_may_send_is_told_apart() {
    let (stage, mut wire) = stage().await;
    let open_id = stage.creator(json!({})).await;
    let mut send = async |event: Value| {
        stage.control("POST", "/webhooks", event).await;
        read(&stage, &wire.next().await)
    };
    let old = json!({"open_id": open_id, "reason": 4, "spaced": true, "t_age_seconds": 200_000, "create_time": 1_763_970_000});
    let Ok(WebhookEvent::AuthorizationRemoved { reason, at, .. }) = send(old).await else { panic!() };
    assert_eq!((reason, at.timestamp()), (RemovalReason::AccountBanned, 1_763_970_000));
    let forged = send(json!({"open_id": open_id, "bad_signature": true})).await;
    assert_eq!(forged, Err(WebhookError::BadSignature));
    let foreign = send(json!({"open_id": open_id, "client_key": "another"})).await;
    assert_eq!(foreign, Err(WebhookError::OtherApp));
    let other = send(json!({"event": "portability.download.ready", "content": "{}"})).await;
    assert_eq!(other, Ok(WebhookEvent::Ignored { event: "portability.download.ready".into() }));
}
