//! `POST /webhooks/tiktok`: signed by TikTok, delivered at least once, out of order, for up to three days.

use actix_web::http::header::HeaderName;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, post};
use chrono::{TimeDelta, Utc};
use serde::Serialize;
use shared::platforms::Platform;
use shared::platforms::tiktok::{RemovalReason, WebhookError, WebhookEvent};
use shared::store::credentials::Account;
use utoipa::ToSchema;

use crate::app::Api;
use crate::body::RawBody;
use crate::client;
use crate::envelope::{Success, ok};
use crate::error::ApiError;
use crate::openapi::WebhookErrors;

const SIGNATURE: HeaderName = HeaderName::from_static("tiktok-signature");

/// What TikTok is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct Received {
    /// Always `true`: it need not be sent again.
    received: bool,
}

/// Takes an event from TikTok. A removed authorization marks the creator; other events are acknowledged.
#[utoipa::path(
    tag = "Webhooks",
    params(("TikTok-Signature" = String, Header, description = "`t=<unix seconds>,s=<hex of the HMAC-SHA256>`")),
    request_body(content = String, content_type = "application/json", description = "The event, signed as it is"),
    responses((status = 200, description = "Received", body = Success<Received>), WebhookErrors)
)]
#[post("/webhooks/tiktok")]
pub async fn tiktok_webhook(request: HttpRequest, body: RawBody, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let signature = request.headers().get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let event = match api.tiktok.webhook(signature, &body.0, Utc::now()) {
        Ok(event) => event,
        Err(error) => {
            // Only who does not sign is held up: behind a proxy, TikTok shares an address with everybody.
            if error == WebhookError::BadSignature {
                let address = client::address(&request, &api.settings.trusted_proxies);
                api.limits.count_stranger(address).map_err(ApiError::RateLimited)?;
            }
            tracing::warn!(%error, "a webhook was refused");
            return Err(ApiError::InvalidRequest(error.to_string()));
        }
    };
    match event {
        WebhookEvent::AuthorizationRemoved { open_id, at, reason } => {
            let app = api.tiktok.client_key().to_owned();
            let account = Account { platform: Platform::Tiktok, app, external_id: open_id };
            // Repeated, it changes nothing; older than the connection, it is none of its business.
            let latest = at.checked_add_signed(latest(reason)).unwrap_or(at);
            let marked = api.within(api.store.note_removal(&account, latest, reason.as_ref())).await?;
            tracing::info!(marked, %reason, "TikTok says that an authorization was removed");
        }
        WebhookEvent::Ignored { event } => tracing::debug!(event, "an event from TikTok that asks for nothing"),
    }
    Ok(ok(Received { received: true }))
}

/// How long after the time that TikTok names the removal may have been: it counts whole seconds, connections microseconds. What
/// we revoked ourselves was so before anybody could connect again, which takes less than a second where nobody has to click.
fn latest(reason: RemovalReason) -> TimeDelta {
    if reason == RemovalReason::RevokedByUs { TimeDelta::zero() } else { TimeDelta::microseconds(999_999) }
}
