//! Grants without the consent page, and their end.

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Data, Path};
use serde::Deserialize;
use serde_json::json;

use super::{ControlError, Reply, creator, parse, reply};
use crate::grants::Code;
use crate::oauth::token::pair_json;
use crate::scopes::Scopes;
use crate::state::{State, lock};
use crate::webhooks::Reason;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGrant {
    open_id: String,
    #[serde(default = "Scopes::all")]
    scopes: Scopes,
    /// What the token call must repeat; anything, if absent.
    redirect_uri: Option<String>,
    code_challenge: Option<String>,
    /// Exchanges the code at once.
    #[serde(default)]
    tokens: bool,
}

/// As if the creator had allowed the app on the page: a code, or the pair of tokens.
pub(super) async fn grant(state: Data<State>, request: HttpRequest, body: Bytes) -> Reply {
    let wanted: NewGrant = parse(&request, &body)?;
    let creator = creator(&state, &wanted.open_id)?;
    let settings = state.settings();
    let now_ms = state.clock.now_ms();
    let code = Code::new(creator.open_id.clone(), wanted.scopes, wanted.redirect_uri, wanted.code_challenge);
    let mut grants = lock(&state.grants);
    let code = grants.code(code, settings.code_lifetime, now_ms.div_euclid(1000));
    if !wanted.tokens {
        return reply(json!({"code": code, "open_id": creator.open_id, "scopes": wanted.scopes.join()}));
    }
    let pair = grants.exchange(&code, &settings, now_ms).ok_or(ControlError::NotFound("code"))?;
    reply(pair_json(&pair))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewScopes {
    scopes: Scopes,
}

/// The creator changes in the app what it allows. Tokens live on, with these scopes.
pub(super) async fn set_scopes(state: Data<State>, open_id: Path<String>, request: HttpRequest, body: Bytes) -> Reply {
    let creator = creator(&state, &open_id)?;
    let wanted: NewScopes = parse(&request, &body)?;
    lock(&state.grants).set_scopes(&creator.open_id, wanted.scopes);
    reply(json!({"open_id": creator.open_id, "scopes": wanted.scopes}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    #[serde(default)]
    reason: Reason,
}

/// All grants of the creator end, and `authorization.removed` is sent.
pub(super) async fn revoke(state: Data<State>, open_id: Path<String>, request: HttpRequest, body: Bytes) -> Reply {
    let creator = creator(&state, &open_id)?;
    let wanted: Removal = parse(&request, &body)?;
    lock(&state.grants).revoke(&creator.open_id, state.clock.now_ms());
    let webhook = state.webhooks.removed(&state, &creator.open_id, wanted.reason);
    reply(json!({"open_id": creator.open_id, "webhook": webhook}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expiry {
    #[serde(default)]
    access: bool,
    #[serde(default)]
    refresh: bool,
}

/// The tokens that the creator's grants have now are expired; new ones are not.
pub(super) async fn expire(state: Data<State>, open_id: Path<String>, request: HttpRequest, body: Bytes) -> Reply {
    let creator = creator(&state, &open_id)?;
    let wanted: Expiry = parse(&request, &body)?;
    lock(&state.grants).expire(&creator.open_id, wanted.access, wanted.refresh, state.clock.now_ms());
    reply(json!({"open_id": creator.open_id}))
}
