//! `POST /v2/oauth/token/`: a code or a refresh token for a pair of tokens.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::form::Form;
use super::{authenticate, pkce, refusal};
use crate::answer::{Answer, OauthError};
use crate::config::AppProfile;
use crate::endpoint::Endpoint;
use crate::grants::Pair;
use crate::state::{About, Context, State, lock};

const FIELDS: [&str; 7] =
    ["client_key", "client_secret", "grant_type", "code", "redirect_uri", "code_verifier", "refresh_token"];

pub(crate) async fn token(state: Data<State>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let form = Form::read(&request, &body, &FIELDS);
    let about = About {
        endpoint: Endpoint::Token,
        open_id: form.as_ref().ok().and_then(|form| owner(&state, form)),
        granted_at_ms: None,
        grant_type: form.as_ref().ok().and_then(|form| form.get("grant_type")).map(str::to_owned),
        limit_key: None,
    };
    let work = |context: &Context<'_>| match form.and_then(|form| exchange(&state, &form, context)) {
        Ok(pair) => Answer::json(200, &pair_json(&pair)),
        Err(error) => refusal(error, context),
    };
    state.respond(&request, about, work).await
}

/// Whom the request is about, as far as it can be told.
fn owner(state: &State, form: &Form) -> Option<String> {
    let grants = lock(&state.grants);
    let by_code =
        form.get("code").and_then(|code| grants.look_at(code, state.clock.now())).map(|code| code.open_id.clone());
    by_code.or_else(|| form.get("refresh_token").and_then(|token| grants.owner(token)))
}

fn exchange(state: &State, form: &Form, context: &Context<'_>) -> Result<Pair, OauthError> {
    let grant_type = form.required("grant_type")?;
    authenticate(state, form)?;
    match grant_type {
        "authorization_code" => by_code(state, form, context),
        "refresh_token" => by_refresh_token(state, form, context),
        _ => Err(OauthError::new("unsupported_grant_type", "The grant type is not supported.")),
    }
}

fn by_code(state: &State, form: &Form, context: &Context<'_>) -> Result<Pair, OauthError> {
    let (text, redirect_uri) = (form.required("code")?, form.required("redirect_uri")?);
    let expired = || OauthError::new("invalid_grant", "Authorization code is expired.");
    let mut grants = lock(&state.grants);
    let code = grants.look_at(text, context.now()).ok_or_else(expired)?;
    if code.redirect_uri.as_deref().is_some_and(|registered| registered != redirect_uri) {
        return Err(OauthError::new(
            "invalid_request",
            "Redirect_uri is not matched with the uri when requesting code.",
        ));
    }
    if let Some(challenge) = &code.challenge
        && !form.get("code_verifier").is_some_and(|verifier| pkce::verifies(challenge, verifier))
    {
        return Err(OauthError::new("invalid_request", "Code verifier or code challenge is invalid."));
    }
    // The consent page lets no desktop request through without a challenge; a code of the control API has none.
    if state.config.app_profile == AppProfile::Desktop && form.get("code_verifier").is_none() {
        return Err(OauthError::malformed());
    }
    grants.exchange(text, context.settings, context.now_ms).ok_or_else(expired)
}

fn by_refresh_token(state: &State, form: &Form, context: &Context<'_>) -> Result<Pair, OauthError> {
    let token = form.required("refresh_token")?;
    let dead = || OauthError::new("invalid_grant", "Refresh token is invalid or expired.");
    let mut grants = lock(&state.grants);
    let open_id = grants.owner(token).ok_or_else(dead)?;
    {
        let world = lock(&state.world);
        if world.creator(&open_id).is_none() || world.is_banned(&open_id) {
            return Err(dead());
        }
    }
    grants.refresh(token, context.settings, context.now_ms).ok_or_else(dead)
}

/// The success body of both grants.
pub(crate) fn pair_json(pair: &Pair) -> Value {
    json!({
        "access_token": pair.access,
        "expires_in": pair.expires_in,
        "open_id": pair.open_id,
        "refresh_expires_in": pair.refresh_expires_in,
        "refresh_token": pair.refresh,
        "scope": pair.scopes.join(),
        "token_type": "Bearer",
    })
}
