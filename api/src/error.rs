//! What can go wrong, as the contract's table of errors says it: status, code, message; never a detail of ours.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use shared::key_scopes::KeyScope;
use shared::store::StoreError;

use crate::envelope::{ErrorBody, Failure};
use crate::error_docs::ErrorDocs;
use crate::limits::Refusal;
use crate::request_id;

/// How long a client is asked to wait when Postgres is out of reach, since pools heal within seconds, and for the answer of a
/// request that runs.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An answer that is not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request is malformed; the message names the field.
    #[error("{0}")]
    InvalidRequest(String),
    /// No `x-api-key`.
    #[error("send your API key in the x-api-key header")]
    MissingApiKey,
    /// An `x-api-key` that is unknown, mistyped, revoked or expired.
    #[error("the API key is unknown, malformed, revoked or expired")]
    InvalidApiKey,
    /// A good key that may do other things.
    #[error("this API key lacks the scope `{0}`")]
    Forbidden(KeyScope),
    /// No such route, or an id that does not exist or is another project's: from outside they look alike.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The route exists, for other methods.
    #[error("this route allows {allow}")]
    MethodNotAllowed {
        /// The methods, for the `Allow` header.
        allow: String,
    },
    /// The platform refused the creator's tokens for good.
    #[error("the creator must connect again: the platform no longer accepts its authorization")]
    ReauthorizationRequired,
    /// A request with the same `Idempotency-Key` is not answered yet.
    #[error("the first request with this Idempotency-Key is not done yet; ask again for its answer")]
    IdempotencyInProgress,
    /// The same `Idempotency-Key` with another body.
    #[error("this Idempotency-Key came with another body before: take a new key for a new request")]
    IdempotencyMismatch,
    /// A body that is longer than the route reads.
    #[error("the body is larger than {} KiB", .longest / 1024)]
    PayloadTooLarge {
        /// The most bytes that it reads.
        longest: usize,
    },
    /// A body that does not come to its end.
    #[error("body: did not arrive in time")]
    BodyTimeout,
    /// A body that is not JSON.
    #[error("the body must be plain JSON in UTF-8: send it with content-type: application/json")]
    UnsupportedMediaType,
    /// A limit of ours: the key's, or the one for floods without a good key.
    #[error("too many requests")]
    RateLimited(Refusal),
    /// A bug; the detail is for the log.
    #[error("something went wrong on our side; the request id finds it in the log")]
    Internal(String),
    /// The platform failed, for longer than the retries.
    #[error("the platform failed; try again later")]
    Platform,
    /// Postgres is out of reach, and nothing is half done; the detail is for the log.
    #[error("temporarily unavailable; nothing is half done: send the request again")]
    Unavailable(String),
}

impl ApiError {
    /// An `invalid_request` whose message names the field.
    pub fn field(name: &str, what: &str) -> Self {
        Self::InvalidRequest(format!("{name}: {what}"))
    }

    /// The answer for a job that was given up with this code.
    pub fn from_job(code: &str) -> Self {
        match code {
            "reauthorization_required" => Self::ReauthorizationRequired,
            "platform_error" => Self::Platform,
            "not_found" => Self::NotFound("creator"),
            other => Self::Internal(format!("the job failed: {other}")),
        }
    }

    /// The contract's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) | Self::BodyTimeout => "invalid_request",
            Self::MissingApiKey => "missing_api_key",
            Self::InvalidApiKey => "invalid_api_key",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound(_) => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::ReauthorizationRequired => "reauthorization_required",
            Self::IdempotencyInProgress => "idempotency_in_progress",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RateLimited(_) => "rate_limited",
            Self::Internal(_) => "internal",
            Self::Platform => "platform_error",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// What only the log may hear.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Internal(detail) | Self::Unavailable(detail) => Some(detail),
            _ => None,
        }
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        match self {
            Self::MethodNotAllowed { allow } => {
                HeaderValue::from_str(allow).map(|allow| (header::ALLOW, allow)).into_iter().collect()
            }
            // RFC 9110, section 15.5.2. No registered scheme: a browser asks its user for none.
            Self::MissingApiKey | Self::InvalidApiKey => {
                vec![(header::WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey header=\"x-api-key\""))]
            }
            Self::RateLimited(refusal) => refusal.headers(),
            // What still comes of the body is no request (RFC 9110, section 15.5.9).
            Self::BodyTimeout => vec![(header::CONNECTION, HeaderValue::from_static("close"))],
            Self::Unavailable(_) | Self::IdempotencyInProgress => {
                vec![(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER.as_secs()))]
            }
            _ => Vec::new(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() { Self::Unavailable(error.to_string()) } else { Self::Internal(error.to_string()) }
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::MissingApiKey | Self::InvalidApiKey => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::ReauthorizationRequired | Self::IdempotencyInProgress => StatusCode::CONFLICT,
            Self::IdempotencyMismatch => StatusCode::UNPROCESSABLE_ENTITY,
            Self::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Platform => StatusCode::BAD_GATEWAY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        for header in self.headers() {
            response.insert_header(header);
        }
        let error = ErrorBody {
            code: self.code().to_owned(),
            message: self.to_string(),
            request_id: request_id::current().to_string(),
            docs_url: ErrorDocs::current().of(self.code()),
        };
        response.json(Failure { success: false, error })
    }
}
