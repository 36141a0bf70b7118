//! What the stand-in says, before it becomes bytes on a wire: so that a fault can still spoil it.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE};
use serde_json::{Value, json};

use crate::settings::{ErrorData, Settings};

/// A refusal of the API: `error.code`, and the status that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: &str) -> Self {
        Self { status, code: code.to_owned(), message: message.to_owned() }
    }

    pub(crate) fn token_invalid() -> Self {
        Self::new(401, "access_token_invalid", "The access token is invalid or not found in the request.")
    }

    pub(crate) fn not_authorized() -> Self {
        Self::new(
            401,
            "scope_not_authorized",
            "The user did not authorize the scope required for completing this request.",
        )
    }

    pub(crate) fn params(message: &str) -> Self {
        Self::new(400, "invalid_params", message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(500, "internal_error", "Something went wrong. Please try again later.")
    }
}

/// A refusal of an OAuth endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OauthError {
    pub(crate) error: String,
    pub(crate) description: String,
}

impl OauthError {
    pub(crate) fn new(error: &str, description: &str) -> Self {
        Self { error: error.to_owned(), description: description.to_owned() }
    }

    pub(crate) fn malformed() -> Self {
        Self::new("invalid_request", "The request parameters are malformed.")
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// 0: no answer, the connection is reset.
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) location: Option<String>,
    /// A `Set-Cookie`.
    pub(crate) cookie: Option<String>,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) log_id: Option<String>,
    /// The error's code, for the log of requests.
    pub(crate) error: Option<String>,
}

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

impl Answer {
    fn plain(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, content_type, body, location: None, cookie: None, retry_after: None, log_id: None, error: None }
    }

    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::plain(status, JSON, value.to_string().into_bytes())
    }

    pub(crate) fn html(status: u16, page: String) -> Self {
        Self::plain(status, HTML, page.into_bytes())
    }

    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self::plain(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
    }

    pub(crate) fn svg(image: String) -> Self {
        Self::plain(200, "image/svg+xml", image.into_bytes())
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self::plain(status, JSON, Vec::new())
    }

    pub(crate) fn redirect(to: String) -> Self {
        Self { location: Some(to), ..Self::plain(302, HTML, Vec::new()) }
    }

    /// TikTok's answer to a path or method that it does not know.
    pub(crate) fn janus() -> Self {
        Self::text(404, "Unsupported path(Janus)")
    }

    /// The connection is reset.
    pub(crate) fn reset() -> Self {
        Self::plain(0, JSON, Vec::new())
    }

    /// Success of the API.
    pub(crate) fn data(data: &Value, log_id: String) -> Self {
        let error = json!({"code": "ok", "message": "", "log_id": log_id});
        Self { log_id: Some(log_id), ..Self::json(200, &json!({"data": data, "error": error})) }
    }

    /// Failure of the API.
    pub(crate) fn api_error(error: ApiError, settings: &Settings, log_id: String) -> Self {
        let body = json!({"code": error.code, "message": error.message, "log_id": log_id});
        let body = match settings.error_data {
            ErrorData::Empty => json!({"data": {}, "error": body}),
            ErrorData::Absent => json!({"error": body}),
        };
        Self { log_id: Some(log_id), error: Some(error.code), ..Self::json(error.status, &body) }
    }

    /// Failure of an OAuth endpoint: flat.
    pub(crate) fn oauth_error(status: u16, error: OauthError, log_id: String) -> Self {
        let body = json!({"error": error.error, "error_description": error.description, "log_id": log_id});
        Self { log_id: Some(log_id), error: Some(error.error), ..Self::json(status, &body) }
    }

    pub(crate) fn into_response(self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, HeaderValue::from_static(self.content_type)));
        if let Some(log_id) = self.log_id {
            response.insert_header(("x-tt-logid", log_id));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Some(location) = self.location {
            response.insert_header((LOCATION, location));
        }
        if let Some(cookie) = self.cookie {
            response.insert_header((SET_COOKIE, cookie));
        }
        if self.content_type == HTML {
            response.insert_header((
                "content-security-policy",
                "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'",
            ));
            response.insert_header(("cache-control", "no-store"));
        }
        response.body(self.body)
    }
}

/// `YYYYMMDDhhmmss` and 20 hex digits, as TikTok writes it.
pub(crate) fn log_id(now_ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
    format!("{}{}", time.format("%Y%m%d%H%M%S"), hex::encode_upper(rand::random::<[u8; 10]>()))
}
