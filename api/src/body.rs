//! Bodies: JSON, at most 64 KiB, read only behind the key.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::{FromRequest, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;

/// The longest body (CONTRACT: 413 for one over 64 KiB).
pub const MAX_BODY: usize = 64 * 1024;
/// The longest body where a client may name 10,000 creators: their ids alone are 390 KB.
const MAX_LONG_BODY: usize = 512 * 1024;
/// How long a client may take to send one.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The JSON object that a client sent, empty if it sent none. Fields that nobody asks for are ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct JsonBody(Map<String, Value>);

impl JsonBody {
    /// A field, whatever it holds.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A field that holds text; absent and null are the same.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::field(name, "must be a string")),
        }
    }

    /// The SHA-256 of what it says, whatever spaces and order it was written in.
    pub fn hash(&self) -> [u8; 32] {
        // A map with other keys than strings could fail; this one has none.
        let text = serde_json::to_vec(&self.0).unwrap_or_default();
        Sha256::digest(text).into()
    }

    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(Value::Null) => Ok(Self::default()),
            Ok(_) => Err(ApiError::field("body", "must be a JSON object")),
            Err(error) => Err(ApiError::field("body", &format!("malformed JSON: {error}"))),
        }
    }
}

impl FromRequest for JsonBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        Box::pin(read_json(request, payload, MAX_BODY))
    }
}

/// A [`JsonBody`] that may hold a long list.
#[derive(Debug)]
pub struct LongJsonBody(pub JsonBody);

impl FromRequest for LongJsonBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = read_json(request, payload, MAX_LONG_BODY);
        Box::pin(async move { reading.await.map(Self) })
    }
}

fn read_json(
    request: &HttpRequest,
    payload: &mut Payload,
    longest: usize,
) -> impl Future<Output = Result<JsonBody, ApiError>> + 'static {
    let json = is_json(request);
    let reading = read(request, payload, longest);
    async move {
        let bytes = reading.await?;
        match (bytes.is_empty(), json) {
            (true, _) => Ok(JsonBody::default()),
            (false, true) => JsonBody::parse(&bytes),
            (false, false) => Err(ApiError::UnsupportedMediaType),
        }
    }
}

/// The bytes of a body, as they came: what a signature is made over.
#[derive(Debug)]
pub struct RawBody(pub Bytes);

impl FromRequest for RawBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = read(request, payload, MAX_BODY);
        Box::pin(async move { Ok(Self(reading.await?)) })
    }
}

/// `application/json`, or anything that ends in `+json` (RFC 6839), in UTF-8 (RFC 8259, section 8.1) and not compressed.
fn is_json(request: &HttpRequest) -> bool {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = header(CONTENT_TYPE).to_ascii_lowercase();
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).unwrap_or("utf-8").trim_matches('"');
    let coding = header(CONTENT_ENCODING);
    (essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")))
        && matches!(charset, "utf-8" | "utf8" | "us-ascii")
        && (coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
}

fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    longest: usize,
) -> impl Future<Output = Result<Bytes, ApiError>> + 'static {
    let announced = request.headers().get(actix_web::http::header::CONTENT_LENGTH);
    let too_long = announced
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .is_some_and(|length| length > longest as u64);
    let payload = payload.take();
    async move {
        if too_long {
            return Err(ApiError::PayloadTooLarge { longest });
        }
        tokio::time::timeout(READ_TIMEOUT, collect(payload, longest)).await.unwrap_or(Err(ApiError::BodyTimeout))
    }
}

async fn collect(mut payload: Payload, longest: usize) -> Result<Bytes, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| ApiError::field("body", &error.to_string()))?;
        if body.len() + chunk.len() > longest {
            return Err(ApiError::PayloadTooLarge { longest });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_object_or_nothing() {
        assert_eq!(JsonBody::parse(b"{}").unwrap(), JsonBody::default());
        assert_eq!(JsonBody::parse(b"null").unwrap(), JsonBody::default());
        for wrong in ["[]", "1", "\"text\"", "{", "{}x", "\u{feff}{}"] {
            assert!(JsonBody::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        // serde_json's own limit on depth: no stack is at risk.
        assert!(JsonBody::parse("[".repeat(MAX_BODY).as_bytes()).is_err());
    }

    #[test]
    fn a_field_of_another_type_is_named() {
        let body = JsonBody::parse(br#"{"redirectUrl": 5, "other": {}}"#).unwrap();
        assert_eq!(body.text("redirectUrl").unwrap_err().to_string(), "redirectUrl: must be a string");
        assert_eq!(body.text("absent").unwrap(), None);
    }
}
