//! `POST /v2/oauth/revoke/`: ends the authorisation that an access token stands for.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::form::Form;
use super::{authenticate, refusal};
use crate::answer::{Answer, OauthError};
use crate::endpoint::Endpoint;
use crate::state::{About, Context, State, lock};
use crate::webhooks::Reason;

const FIELDS: [&str; 3] = ["client_key", "client_secret", "token"];

pub(crate) async fn revoke(state: Data<State>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let form = Form::read(&request, &body, &FIELDS);
    let about = About {
        endpoint: Endpoint::Revoke,
        open_id: form.as_ref().ok().and_then(|form| lock(&state.grants).owner(form.get("token")?)),
        granted_at_ms: None,
        grant_type: None,
        limit_key: None,
    };
    let work = |context: &Context<'_>| match form.and_then(|form| end(&state, &form, context)) {
        Ok(()) if context.settings.revoke_answers_object => Answer::json(200, &json!({})),
        Ok(()) => Answer::empty(200),
        Err(error) => refusal(error, context),
    };
    state.respond(&request, about, work).await
}

fn end(state: &State, form: &Form, context: &Context<'_>) -> Result<(), OauthError> {
    authenticate(state, form)?;
    let token = form.required("token")?;
    // An expired token is as unknown as a made-up one: the grant stays alive.
    let caller = lock(&state.grants).caller(token, context.now()).ok_or_else(OauthError::malformed)?;
    lock(&state.grants).revoke(&caller.open_id, context.now_ms);
    state.webhooks.removed(state, &caller.open_id, Reason::Developer);
    Ok(())
}
