//! `GET /oauth/tiktok/callback`: where TikTok sends the creator's browser. Anybody can call it with anything: nothing is
//! believed that a stored state does not vouch for.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get};
use secrecy::SecretString;
use shared::ids::{CreatorId, ProjectId};
use shared::platforms::tiktok::scopes::in_words;
use shared::platforms::{Caller, Grant, Platform, PlatformError, Profile};
use shared::store::states::{Begun, PendingConsent};
use shared::tokens::{NewGrant, TokenError};

use crate::app::Api;
use crate::client;
use crate::dispatch;
use crate::error::ApiError;
use crate::params::Params;
use crate::routes::connect::tiktok::state_hash;
use crate::trace::TraceContext;
use crate::verifier;
use crate::views::{CallbackPage, ConsentOutcome};

/// Its path. `crate::observe` must know it: it is the one GET that changes something.
pub const PATH: &str = "/oauth/tiktok/callback";
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
        (status = 429, description = "Too many of unknown states from this address", content_type = "text/html",
            body = String, headers(("Retry-After" = i64, description = "Seconds after which to ask again"))),
        (status = 502, description = "TikTok failed, or refuses the app", content_type = "text/html", body = String),
        (status = 503, description = "Out of order for a moment", content_type = "text/html", body = String,
            headers(("Retry-After" = i64, description = "Seconds after which to ask again"))),
    )
)]
#[get("/oauth/tiktok/callback")]
pub async fn tiktok_callback(
    request: HttpRequest,
    params: Params,
    trace: TraceContext,
    api: Data<Api>,
) -> HttpResponse {
    let work = Data::clone(&api);
    let address = client::address(&request, &api.settings.trusted_proxies);
    // A creator who closes the window early is connected all the same.
    let finished = api.detached(async move { Ok(finish(&work, address, &params, &trace).await) }).await;
    let (pending, outcome) = finished.unwrap_or_else(|error| {
        tracing::error!(%error, detail = error.detail(), "a consent was not finished");
        (None, ConsentOutcome::Broken)
    });
    CallbackPage::new(&api.settings.public_url, pending.as_ref(), &outcome).respond()
}

/// Takes the state, which is good once whatever comes of it, and then the code.
async fn finish(
    api: &Api,
    address: Option<IpAddr>,
    params: &Params,
    trace: &TraceContext,
) -> (Option<PendingConsent>, ConsentOutcome) {
    let parameter = |name| params.first(name).filter(|text| !text.is_empty() && text.len() <= MAX_PARAMETER);
    let Some(hash) = parameter("state").map(state_hash) else { return (None, ConsentOutcome::UnknownState) };
    let (pending, begun_by) = match take_state(api, address, &hash).await {
        Ok(taken) => taken,
        Err(outcome) => return (None, outcome),
    };
    let outcome = match (parameter("error"), parameter("code")) {
        (Some("access_denied"), _) => ConsentOutcome::Declined,
        // RFC 6749, section 4.1.2.1: the server's own trouble, for which a redirect has no status.
        (Some("server_error" | "temporarily_unavailable"), _) => ConsentOutcome::PlatformFailed,
        (Some(_), _) | (None, None) => ConsentOutcome::Refused,
        (None, Some(code)) => match verifier::open(&api.keyring, &hash, &pending) {
            Ok(verifier) => connect(api, &pending, begun_by.as_deref(), code, verifier.as_ref(), trace).await,
            // Its key has been taken out of the list since: the consent is as good as not kept.
            Err(error) => {
                tracing::warn!(%error, "a consent's PKCE verifier does not open");
                ConsentOutcome::UnknownState
            }
        },
    };
    (Some(pending), outcome)
}

/// What the state stands for, and who began it. Anybody can make one up, and each costs a query: so they are counted.
async fn take_state(api: &Api, address: Option<IpAddr>, state_hash: &[u8; 32]) -> Result<Begun, ConsentOutcome> {
    let admission = api.limits.admit(address).await.map_err(|_| ConsentOutcome::TooMany)?;
    match api.within(api.store.take_state(state_hash)).await {
        Ok(Some(taken)) if taken.0.platform == Platform::Tiktok => {
            admission.known();
            Ok(taken)
        }
        Ok(_) => {
            admission.unknown().map_err(|_| ConsentOutcome::TooMany)?;
            Err(ConsentOutcome::UnknownState)
        }
        Err(error) => Err(failed(&error)),
    }
}

async fn connect(
    api: &Api,
    pending: &PendingConsent,
    begun_by: Option<&str>,
    code: &str,
    verifier: Option<&SecretString>,
    trace: &TraceContext,
) -> ConsentOutcome {
    let grant = match api.tiktok.exchange_code(code, verifier).await {
        Ok(grant) => grant,
        // The client has logged it.
        Err(PlatformError::GrantDead { .. }) => return ConsentOutcome::Refused,
        Err(error @ PlatformError::Rejected { .. }) => {
            tracing::error!(%error, "TikTok refuses the app, not the creator: are its key, secret and redirect URI right?");
            return ConsentOutcome::AppRefused;
        }
        Err(error) => {
            tracing::warn!(%error, "a code could not be exchanged");
            return ConsentOutcome::PlatformFailed;
        }
    };
    let requested = api.tiktok.scopes();
    let new = NewGrant {
        project: pending.project_id,
        grant: &grant,
        requested,
        exchanged: Instant::now(),
        external_ref: pending.external_ref.as_deref(),
        begun_by,
    };
    let connected = match api.tokens.connect(&new, Some(trace.as_str())).await {
        Ok(connected) => connected,
        Err(TokenError::Store(error)) => return failed(&error.into()),
        Err(error) => {
            tracing::error!(%error, "a grant could not be stored");
            return ConsentOutcome::Broken;
        }
    };
    tracing::Span::current().record("creator_id", tracing::field::display(connected.creator));
    dispatch::after_connect(api, pending.project_id, connected.sync, &connected.completed_disconnects, trace).await;
    show_profile(api, pending.project_id, connected.creator, &grant).await;
    let missing = requested.missing_from(&grant.scopes);
    ConsentOutcome::Connected {
        creator: connected.creator,
        missing: missing.iter().map(in_words).map(str::to_owned).collect(),
    }
}

fn failed(error: &ApiError) -> ConsentOutcome {
    tracing::error!(%error, detail = error.detail(), "a consent was not finished");
    if matches!(error, ApiError::Unavailable(_)) { ConsentOutcome::Unavailable } else { ConsentOutcome::Broken }
}

/// Reads the profile, so that the creator has a name before the first sync is done. If TikTok does not let us, the sync
/// does it: the grant is stored already.
async fn show_profile(api: &Api, project: ProjectId, creator: CreatorId, grant: &Grant) {
    let Ok(Some(profile)) = tokio::time::timeout(PROFILE_TIMEOUT, read_profile(api, project, grant)).await else {
        return;
    };
    if let Err(error) = api.within(api.store.save_first_profile(creator, &profile)).await {
        tracing::warn!(%error, detail = error.detail(), "the first profile was not stored; the sync will do it");
    }
}

async fn read_profile(api: &Api, project: ProjectId, grant: &Grant) -> Option<Profile> {
    let caller = Caller { group: Some(project.into()), ..Caller::interactive(Some(PROFILE_TURN)) };
    let read = api.tiktok.profile(&grant.access, &grant.scopes, &caller).await;
    read.inspect_err(|error| tracing::info!(%error, "no first profile; the sync will read it")).ok()
}
