//! Login Kit: the consent page, the token endpoint, the revocation.

pub(crate) mod authorize;
mod form;
pub(crate) mod pkce;
pub(crate) mod revoke;
pub(crate) mod token;

use subtle::ConstantTimeEq as _;

use crate::answer::{Answer, OauthError};
use crate::state::{Context, State};
use form::Form;

/// Checks `client_key` and `client_secret` of a form.
fn authenticate(state: &State, form: &Form) -> Result<(), OauthError> {
    let key = form.required("client_key")?;
    let Some(secret) = form.get("client_secret").filter(|secret| !secret.is_empty()) else {
        return Err(OauthError::new("invalid_request", "Client secret is missed in request."));
    };
    let same_secret = bool::from(secret.as_bytes().ct_eq(state.config.client_secret.as_bytes()));
    if key != state.config.client_key || !same_secret {
        return Err(OauthError::new("invalid_client", "Client key or secret is incorrect."));
    }
    Ok(())
}

fn refusal(error: OauthError, context: &Context<'_>) -> Answer {
    Answer::oauth_error(context.settings.oauth_error_status, error, context.log_id.to_owned())
}
