//! `POST /api/v1/connect/tiktok`: begins a consent.

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shared::ids::ApiKeyId;
use shared::platforms::Platform;
use shared::store::audit::By;
use shared::store::states::PendingConsent;
use utoipa::ToSchema;

use crate::app::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::envelope::{Success, ok};
use crate::error::ApiError;
use crate::external_ref;
use crate::idempotency::Idempotency;
use crate::openapi::ConnectErrors;
use crate::overtaken::About;
use crate::redirect;
use crate::verifier;

/// Twice the 128 random bits that the contract asks for.
const STATE_BYTES: usize = 32;

/// What a consent may begin with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "the document's description of the body; `JsonBody` reads it, so that errors name the field"
)]
pub struct ConnectRequest {
    /// Where the creator's browser goes afterwards, with `status=connected&creatorId=…` or `status=failed&reason=…` added.
    /// `https`, or `http` on localhost.
    #[schema(example = "https://app.example.com/connected")]
    redirect_url: Option<String>,
    /// Your own name for the creator, such as the id of your user: at most 255 characters. It is on the creator from then on.
    #[schema(
        example = "user-4711",
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000-\u001F\u007F-\u009F\u200B\u200E\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFFD]*[^\u0000-\u001F\u007F-\u009F\u200B\u200E\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFFD\s][^\u0000-\u001F\u007F-\u009F\u200B\u200E\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFFD]*$"
    )]
    external_ref: Option<String>,
}

/// A consent that has begun.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Consent {
    /// The platform's page: open it in a popup, or send the creator there.
    pub auth_url: String,
    /// What ties the consent to your project: good once, for ten minutes.
    #[schema(example = "abc123")]
    pub state: String,
}

/// Makes the URL on which a creator connects a TikTok account.
#[utoipa::path(
    tag = "Connect",
    security(("apiKey" = [])),
    request_body(content = Option<ConnectRequest>, description = "Not needed"),
    responses((status = 200, description = "The consent has begun", body = Success<Consent>), ConnectErrors)
)]
#[post("/connect/tiktok")]
pub async fn connect_tiktok(
    caller: Caller,
    idempotency: Idempotency,
    body: JsonBody,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let pending = PendingConsent {
        project_id: caller.project(),
        platform: Platform::Tiktok,
        redirect_url: body.text("redirectUrl")?.map(redirect::parse).transpose()?.map(String::from),
        external_ref: body.text("externalRef")?.map(external_ref::parse).transpose()?.map(str::to_owned),
        pkce_sealed: None,
        pkce_verifier: None,
    };
    let work = begin(Data::clone(&api), caller.key(), pending);
    idempotency.answer_once(&api, caller, &body, About::Consent, Box::pin(work)).await
}

async fn begin(api: Data<Api>, key: ApiKeyId, pending: PendingConsent) -> Result<HttpResponse, ApiError> {
    let state = URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; STATE_BYTES]>());
    let (hash, pkce) = (state_hash(&state), api.tiktok.pkce());
    let pkce_sealed = pkce.as_ref().map(|pkce| verifier::seal(&api.keyring, &hash, pkce));
    api.within(api.store.add_state(By::Key(key), &hash, &PendingConsent { pkce_sealed, ..pending })).await?;
    let auth_url = api.tiktok.authorize_url(&state, pkce.as_ref()).to_string();
    Ok(ok(Consent { auth_url, state }))
}

/// What a state is stored under: a reader of the table can't finish somebody's consent.
pub fn state_hash(state: &str) -> [u8; 32] {
    Sha256::digest(state).into()
}
