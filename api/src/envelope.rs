//! The envelope around every answer of the API.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Success<T> {
    /// Always `true`.
    #[schema(example = true)]
    pub success: bool,
    /// The answer itself.
    pub data: T,
}

/// Why it is not what was asked for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// Always `false`.
    #[schema(example = false)]
    pub success: bool,
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// For programs: one of a fixed list.
    #[schema(example = "invalid_request")]
    pub code: String,
    /// For people.
    pub message: String,
    /// Finds the request in the log; the same as the `x-request-id` header.
    pub request_id: String,
    /// What the code means, and what to do about it.
    #[schema(example = "https://metriqlab.example.com/docs/errors#invalid_request")]
    pub docs_url: String,
}

/// 200 with `data` in the envelope.
pub fn ok<T: Serialize>(data: T) -> HttpResponse {
    HttpResponse::Ok().json(Success { success: true, data })
}
