//! The control API: JSON over HTTP, for loopback callers only. The table is in the crate's documentation.

mod faults;
mod grants;
mod settings;
mod users;
mod videos;
mod webhooks;

use actix_web::dev::HttpServiceFactory;
use actix_web::guard::fn_guard;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::state::{State, lock};
use crate::world::Creator;

/// What a caller of the control API did wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("{0}")]
    Invalid(String),
    #[error("there is no such {0}")]
    NotFound(&'static str),
}

impl ResponseError for ControlError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
        }
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code()).json(json!({"error": self.to_string()}))
    }
}

type Reply = Result<web::Json<Value>, ControlError>;

#[expect(clippy::unnecessary_wraps, reason = "every handler of the control API ends with it")]
fn reply(value: Value) -> Reply {
    Ok(web::Json(value))
}

pub(crate) fn routes() -> impl HttpServiceFactory {
    let user = "/users/{open_id}";
    let video = "/users/{open_id}/videos/{id}";
    web::scope("/control")
        .guard(fn_guard(|context| context.head().peer_addr.is_some_and(|peer| peer.ip().is_loopback())))
        .route("/settings", web::get().to(settings::show))
        .route("/settings", web::patch().to(settings::change))
        .route("/clock", web::get().to(settings::clock))
        .route("/clock", web::post().to(settings::set_clock))
        .route("/users", web::get().to(users::list))
        .route("/users", web::post().to(users::make))
        .route(user, web::get().to(users::show))
        .route(user, web::patch().to(users::change))
        .route(&format!("{user}/changes"), web::delete().to(users::reset))
        .route(&format!("{user}/scopes"), web::put().to(grants::set_scopes))
        .route(&format!("{user}/revoke"), web::post().to(grants::revoke))
        .route(&format!("{user}/expire"), web::post().to(grants::expire))
        .route(&format!("{user}/videos"), web::get().to(videos::list))
        .route(&format!("{user}/videos"), web::post().to(videos::add))
        .route(video, web::patch().to(videos::change))
        .route(video, web::delete().to(videos::delete))
        .route("/grants", web::post().to(grants::grant))
        .route("/faults", web::get().to(faults::list))
        .route("/faults", web::post().to(faults::add))
        .route("/faults", web::delete().to(faults::clear))
        .route("/faults/{id}", web::delete().to(faults::remove))
        .route("/limits", web::get().to(faults::limits))
        .route("/limits", web::delete().to(faults::clear_limits))
        .route("/requests", web::get().to(faults::requests))
        .route("/requests", web::delete().to(faults::clear_requests))
        .route("/webhooks", web::get().to(webhooks::list))
        .route("/webhooks", web::post().to(webhooks::send))
        .route("/webhooks", web::delete().to(webhooks::clear))
        .default_service(web::route().to(async || ControlError::NotFound("route").error_response()))
}

/// A JSON body. It must say that it is one: a web page in a browser cannot send that here unasked.
fn parse<T: DeserializeOwned>(request: &HttpRequest, body: &[u8]) -> Result<T, ControlError> {
    let sent = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !sent.starts_with("application/json") {
        return Err(ControlError::Invalid("Content-Type must be application/json".to_owned()));
    }
    // Through a map, since an array would do for a struct too.
    let invalid = |error: serde_json::Error| ControlError::Invalid(error.to_string());
    let object: Map<String, Value> = serde_json::from_slice(body).map_err(invalid)?;
    serde_json::from_value(Value::Object(object)).map_err(invalid)
}

fn creator(state: &State, open_id: &str) -> Result<Creator, ControlError> {
    lock(&state.world).creator(open_id).ok_or(ControlError::NotFound("creator"))
}
