//! `GET /oauth/tiktok/callback`: where TikTok sends the creator's browser. Anybody can call it with anything: nothing is
//! believed that a stored state does not vouch for.

use std::time::{Duration, Instant};

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use shared::ids::CreatorId;
use shared::platforms::tiktok::scopes::in_words;
use shared::platforms::{Caller, Grant, Platform, PlatformError, Profile};
use shared::store::states::PendingConsent;
use shared::tokens::{NewGrant, TokenError};

use crate::app::Api;
use crate::dispatch;
use crate::error::ApiError;
use crate::params::Params;
use crate::routes::connect::tiktok::state_hash;
use crate::trace::TraceContext;
use crate::views::{CallbackPage, ConsentOutcome};

/// Longer than any state or code that is real.
const MAX_PARAMETER: usize = 4096;
/// What the first look at the profile may take of the creator's patience.
const PROFILE_TIMEOUT: Duration = Duration::from_secs(3);
/// How much of it may go by waiting for a turn at the budget.
const PROFILE_TURN: Duration = Duration::from_millis(500);

/// Ends a consent: stores the creator, and tells the browser what happened.
#[utoipa::path(
    tag = "Connect",
    params(
        ("state" = Option<String>, Query, description = "What the consent began with"),
        ("code" = Option<String>, Query, description = "What the tokens are fetched with"),
        ("error" = Option<String>, Query, description = "Why there is no code"),
    ),
    responses(
        (status = 200, description = "Connected, or the creator declined", content_type = "text/html", body = String),
        (status = 400, description = "An unknown, used or expired state, or a code that TikTok refuses",
            content_type = "text/html", body = String),
        (status = 502, description = "TikTok failed", content_type = "text/html", body = String),
        (status = 503, description = "Out of order for a moment", content_type = "text/html", body = String),
    )
)]
#[get("/oauth/tiktok/callback")]
pub async fn tiktok_callback(params: Params, trace: TraceContext, api: Data<Api>) -> HttpResponse {
    let work = Data::clone(&api);
    // A creator who closes the window early is connected all the same.
    let finished = api.detached(async move { Ok(finish(&work, &params, &trace).await) }).await;
    let (redirect_url, outcome) = finished.unwrap_or_else(|error| {
        tracing::error!(%error, detail = error.detail(), "a consent was not finished");
        (None, ConsentOutcome::Broken)
    });
    CallbackPage::new(&api.settings.public_url, redirect_url.as_deref(), &outcome).respond()
}

/// Takes the state, which is good once whatever comes of it, and then the code.
async fn finish(api: &Api, params: &Params, trace: &TraceContext) -> (Option<String>, ConsentOutcome) {
    let parameter = |name| params.first(name).filter(|text| !text.is_empty() && text.len() <= MAX_PARAMETER);
    let Some(state) = parameter("state") else { return (None, ConsentOutcome::UnknownState) };
    let pending = match api.within(api.store.take_state(&state_hash(state))).await {
        Ok(Some(pending)) if pending.platform == Platform::Tiktok => pending,
        Ok(_) => return (None, ConsentOutcome::UnknownState),
        Err(error) => return (None, failed(&error)),
    };
    let outcome = match (parameter("error"), parameter("code")) {
        (Some("access_denied"), _) => ConsentOutcome::Declined,
        (Some(_), _) | (None, None) => ConsentOutcome::Refused,
        (None, Some(code)) => connect(api, &pending, code, trace).await,
    };
    (pending.redirect_url, outcome)
}

async fn connect(api: &Api, pending: &PendingConsent, code: &str, trace: &TraceContext) -> ConsentOutcome {
    let grant = match api.tiktok.exchange_code(code, pending.pkce_verifier.as_deref()).await {
        Ok(grant) => grant,
        Err(error) if is_refusal(&error) => {
            tracing::info!(%error, "TikTok refuses a code");
            return ConsentOutcome::Refused;
        }
        Err(error) => {
            tracing::warn!(%error, "a code could not be exchanged");
            return ConsentOutcome::PlatformFailed;
        }
    };
    let requested = api.tiktok.scopes();
    let new = NewGrant { project: pending.project_id, grant: &grant, requested, exchanged: Instant::now() };
    let connected = match api.tokens.connect(&new, Some(trace.as_str())).await {
        Ok(connected) => connected,
        Err(TokenError::Store(error)) => return failed(&error.into()),
        Err(error) => {
            tracing::error!(%error, "a grant could not be stored");
            return ConsentOutcome::Broken;
        }
    };
    dispatch::first_sync(api, connected.sync, &connected.completed_disconnects, trace).await;
    show_profile(api, connected.creator, &grant).await;
    let missing = requested.missing_from(&grant.scopes);
    ConsentOutcome::Connected {
        creator: connected.creator,
        missing: missing.iter().map(in_words).map(str::to_owned).collect(),
    }
}

/// Whether TikTok refuses this code. One that it can't even read it calls a malformed request.
fn is_refusal(error: &PlatformError) -> bool {
    match error {
        PlatformError::GrantDead { .. } => true,
        PlatformError::Rejected { code, .. } => code == "invalid_request",
        _ => false,
    }
}

fn failed(error: &ApiError) -> ConsentOutcome {
    tracing::error!(%error, detail = error.detail(), "a consent was not finished");
    if matches!(error, ApiError::Unavailable(_)) { ConsentOutcome::Unavailable } else { ConsentOutcome::Broken }
}

/// Reads the profile, so that the creator has a name before the first sync is done. If TikTok does not let us, the sync
/// does it: the grant is stored already.
async fn show_profile(api: &Api, creator: CreatorId, grant: &Grant) {
    let Ok(Some(profile)) = tokio::time::timeout(PROFILE_TIMEOUT, read_profile(api, grant)).await else { return };
    if let Err(error) = api.within(api.store.save_first_profile(creator, &profile)).await {
        tracing::warn!(%error, detail = error.detail(), "the first profile was not stored; the sync will do it");
    }
}

async fn read_profile(api: &Api, grant: &Grant) -> Option<Profile> {
    let caller = Caller::interactive(Some(PROFILE_TURN));
    let read = api.tiktok.profile(&grant.access, &grant.scopes, &caller).await;
    read.inspect_err(|error| tracing::info!(%error, "no first profile; the sync will read it")).ok()
}
