//! Ids in a path. A malformed one is an id that does not exist: 404.

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use shared::ids::{BatchId, CreatorId, JobId};
use tracing::Span;

use crate::error::ApiError;

/// The creator that a path names.
#[derive(Debug, Clone, Copy)]
pub struct CreatorPath(pub CreatorId);

/// The batch that a path names.
#[derive(Debug, Clone, Copy)]
pub struct BatchPath(pub BatchId);

/// The job that a path names.
#[derive(Debug, Clone, Copy)]
pub struct JobPath(pub JobId);

impl FromRequest for CreatorPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = id::<CreatorId>(request);
        if let Some(id) = id {
            Span::current().record("creator_id", tracing::field::display(id));
        }
        ready(id.map(Self).ok_or(ApiError::NotFound("creator")))
    }
}

impl FromRequest for JobPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(id(request).map(Self).ok_or(ApiError::NotFound("job")))
    }
}

impl FromRequest for BatchPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(id(request).map(Self).ok_or(ApiError::NotFound("batch")))
    }
}

fn id<T: FromStr + ToString>(request: &HttpRequest) -> Option<T> {
    parse_id(request.match_info().get("id")?)
}

/// Only the spelling that we give out: UUIDs have several.
pub fn parse_id<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|id| id.to_string() == text)
}
