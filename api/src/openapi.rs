//! The API's description of itself, made from the handlers; and what is read back from it: which methods a path has.

use std::collections::BTreeMap;

use bytes::Bytes;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi as _};

use crate::auth;
use crate::envelope::{ErrorBody, Failure};
use crate::routes::oauth::tiktok_callback;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "MetriqLab",
        description = "Connect creators, and read their profiles, counters and videos. A path with a method that it does not \
            have is answered 405 `method_not_allowed`, with `Allow`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(Failure, ErrorBody)),
    modifiers(&Security)
)]
struct Base;

/// How the document calls a key.
pub const SCHEME: &str = "apiKey";

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut OpenApi) {
        let key = ApiKeyValue::with_description(auth::HEADER.as_str(), "A project's key, `mlk_…`");
        document
            .components
            .get_or_insert_default()
            .add_security_scheme(SCHEME, SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
}

/// The document without its routes, which add themselves.
pub fn base() -> OpenApi {
    Base::openapi()
}

/// The finished document.
pub struct Document {
    json: Bytes,
    /// Each path's pattern, in segments, with its methods.
    routes: Vec<(Vec<String>, String)>,
}

impl Document {
    /// Reads the document that the routes have made.
    pub fn new(openapi: &OpenApi) -> Self {
        let routes = openapi.paths.paths.iter().map(|(path, item)| (segments(path), methods(path, item))).collect();
        // A map with other keys than strings could fail; the document has none.
        let json = serde_json::to_vec(openapi).unwrap_or_else(|_| b"{}".to_vec()).into();
        Self { json, routes }
    }

    /// The document's text.
    pub fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// The methods of the route that `path` leads to, as `Allow` lists them; `None` if there is no such route.
    pub fn methods_of(&self, path: &str) -> Option<&str> {
        let asked = segments(path);
        let matches = |pattern: &[String]| {
            pattern.len() == asked.len()
                && pattern
                    .iter()
                    .zip(&asked)
                    .all(|(pattern, segment)| pattern == segment || (pattern.starts_with('{') && !segment.is_empty()))
        };
        self.routes.iter().find(|(pattern, _)| matches(pattern)).map(|(_, methods)| methods.as_str())
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').map(str::to_owned).collect()
}

fn methods(path: &str, item: &PathItem) -> String {
    let methods = [
        ("GET", item.get.is_some()),
        // The one GET that is not safe: it ends a consent.
        ("HEAD", item.get.is_some() && path != tiktok_callback::PATH),
        ("POST", item.post.is_some()),
        ("PUT", item.put.is_some()),
        ("PATCH", item.patch.is_some()),
        ("DELETE", item.delete.is_some()),
    ];
    methods.iter().filter(|(_, exists)| *exists).map(|(method, _)| *method).collect::<Vec<_>>().join(", ")
}

/// What else a route says that reads one thing by its id.
pub struct ReadErrors;
/// Errors of a route that also has query parameters.
pub struct QueryErrors;
/// Errors of the list of creators, which always exists.
pub struct ListErrors;
/// Errors of beginning a consent.
pub struct ConnectErrors;
/// Errors of a bulk resync.
pub struct BulkErrors;
/// Errors of a change.
pub struct ChangeErrors;
/// Errors of a sync.
pub struct SyncErrors;
/// Errors of a disconnect.
pub struct DisconnectErrors;
/// Errors of a webhook.
pub struct WebhookErrors;

type Responses = BTreeMap<String, RefOr<Response>>;

impl IntoResponses for ReadErrors {
    fn responses() -> Responses {
        let unchanged = ResponseBuilder::new().description("The answer that you have is the newest").build();
        let mut responses = errors(&[401, 403, 404, 429, 500, 503]);
        responses.insert("304".to_owned(), RefOr::T(unchanged));
        responses
    }
}

impl IntoResponses for QueryErrors {
    fn responses() -> Responses {
        errors(&[400, 401, 403, 404, 429, 500, 503])
    }
}

impl IntoResponses for ListErrors {
    fn responses() -> Responses {
        errors(&[400, 401, 403, 429, 500, 503])
    }
}

impl IntoResponses for ConnectErrors {
    fn responses() -> Responses {
        errors(&[400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503])
    }
}

impl IntoResponses for BulkErrors {
    fn responses() -> Responses {
        errors(&[400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503])
    }
}

impl IntoResponses for ChangeErrors {
    fn responses() -> Responses {
        errors(&[400, 401, 403, 404, 408, 413, 415, 429, 500, 503])
    }
}

impl IntoResponses for SyncErrors {
    fn responses() -> Responses {
        errors(&[400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503])
    }
}

impl IntoResponses for DisconnectErrors {
    fn responses() -> Responses {
        errors(&[400, 401, 403, 404, 408, 413, 415, 429, 500, 503])
    }
}

impl IntoResponses for WebhookErrors {
    fn responses() -> Responses {
        errors(&[400, 408, 413, 429, 500, 503])
    }
}

fn errors(statuses: &[u16]) -> Responses {
    let failure = ContentBuilder::new().schema(Some(Ref::from_schema_name("Failure"))).build();
    let response = |status: u16| {
        ResponseBuilder::new().description(meaning(status)).content("application/json", failure.clone()).build()
    };
    statuses.iter().map(|status| (status.to_string(), RefOr::T(response(*status)))).collect()
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "`invalid_request`: malformed; the message names the field",
        401 => "`missing_api_key`, `invalid_api_key`",
        403 => "`forbidden`: the key lacks the scope that this needs; the message names it",
        404 => "`not_found`: no such id, or another project's",
        408 => "`invalid_request`: the body did not arrive in time",
        409 => {
            "`idempotency_in_progress`: the first request with this key is not done; `reauthorization_required`: the creator must connect again"
        }
        413 => "`payload_too_large`: a body over 64 KiB (a list of creators: 512 KiB)",
        415 => "`unsupported_media_type`: a body that is not JSON",
        422 => "`idempotency_mismatch`: this key came with another body",
        429 => {
            "`rate_limited`: the limit of the key, or of an address without one, with `Retry-After` and `RateLimit` headers"
        }
        502 => "`platform_error`: the platform failed",
        503 => "`unavailable`: try again after `Retry-After`; nothing is half done",
        _ => "`internal`: a bug; the request id finds it in the log",
    }
}
