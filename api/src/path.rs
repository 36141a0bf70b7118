//! Ids in a path. A malformed one is an id that does not exist: 404.

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use shared::ids::{BatchId, CreatorId, JobId, VideoId};
use tracing::Span;

use crate::error::ApiError;

/// The creator that a path names.
#[derive(Debug, Clone, Copy)]
pub struct CreatorPath(pub CreatorId);

/// The creator that a path names, and its video.
#[derive(Debug, Clone, Copy)]
pub struct VideoPath(pub CreatorId, pub VideoId);

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
        ready(creator(request).map(Self))
    }
}

impl FromRequest for VideoPath {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let video = request.match_info().get("videoId").and_then(parse_id);
        ready(creator(request).and_then(|creator| Ok(Self(creator, video.ok_or(ApiError::NotFound("video"))?))))
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

fn creator(request: &HttpRequest) -> Result<CreatorId, ApiError> {
    let id = id::<CreatorId>(request).ok_or(ApiError::NotFound("creator"))?;
    Span::current().record("creator_id", tracing::field::display(id));
    Ok(id)
}

fn id<T: FromStr + ToString>(request: &HttpRequest) -> Option<T> {
    parse_id(request.match_info().get("id")?)
}

/// Only the spelling that we give out: UUIDs have several.
pub fn parse_id<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|id| id.to_string() == text)
}
