//! The Display API: profile, list of videos, query of videos.

mod fields;
mod list;
mod media;
mod query;
mod user;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value};

use crate::answer::{Answer, ApiError};
use crate::endpoint::Endpoint;
use crate::grants::Caller;
use crate::state::{About, Context, State};

pub(crate) use media::{avatar, avatar_url, cover};

pub(crate) async fn user_info(state: Data<State>, request: HttpRequest) -> HttpResponse {
    serve(&state, &request, Endpoint::UserInfo, |caller, context| user::answer(&state, &request, caller, context)).await
}

pub(crate) async fn video_list(state: Data<State>, request: HttpRequest, body: Bytes) -> HttpResponse {
    serve(&state, &request, Endpoint::VideoList, |caller, context| {
        list::answer(&state, &request, &body, caller, context)
    })
    .await
}

pub(crate) async fn video_query(state: Data<State>, request: HttpRequest, body: Bytes) -> HttpResponse {
    serve(&state, &request, Endpoint::VideoQuery, |caller, context| {
        query::answer(&state, &request, &body, caller, context)
    })
    .await
}

/// Token first, then the limit, then scopes and parameters.
async fn serve(
    state: &State,
    request: &HttpRequest,
    endpoint: Endpoint,
    work: impl FnOnce(&Caller, &Context<'_>) -> Result<Value, ApiError>,
) -> HttpResponse {
    let caller = state.caller(request);
    let known = caller.as_ref().ok();
    let about = About {
        endpoint,
        open_id: known.map(|(caller, _)| caller.open_id.clone()),
        granted_at_ms: known.map(|(caller, _)| caller.granted_at_ms),
        grant_type: None,
        limit_key: known.map(|(_, token)| token.clone()),
    };
    let respond = |context: &Context<'_>| {
        let data = caller.and_then(|(caller, _)| work(&caller, context));
        match data {
            Ok(data) => Answer::data(&data, context.log_id.to_owned()),
            Err(error) => Answer::api_error(error, context.settings, context.log_id.to_owned()),
        }
    };
    state.respond(request, about, respond).await
}

/// A JSON body, said to be one.
fn json_body<T: serde::de::DeserializeOwned>(request: &HttpRequest, body: &[u8]) -> Result<T, ApiError> {
    let sent = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !sent.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiError::params("Content-Type must be application/json."));
    }
    // Through a map, since an array would do for a struct too.
    let invalid = |error: serde_json::Error| ApiError::params(&format!("The request body is invalid: {error}."));
    let object: Map<String, Value> = serde_json::from_slice(body).map_err(invalid)?;
    serde_json::from_value(Value::Object(object)).map_err(invalid)
}
