//! `GET /api/v1/creators`: a page, or all of them as a stream.

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use bytes::Bytes;
use futures::stream::{self, Stream};
use serde::Serialize;
use shared::ids::ProjectId;
use shared::store::creators::{Creator, CreatorFilter, CreatorPosition};
use utoipa::ToSchema;

use crate::app::Api;
use crate::auth::Caller;
use crate::cursor;
use crate::error::ApiError;
use crate::openapi::ListErrors;
use crate::params::Params;
use crate::views::CreatorView;
use crate::words::{InstantWord, PlatformWord, StatusWord};

const MAX_LIMIT: i64 = 500;
/// Creators in memory at a time for each client that reads the whole list.
const CHUNK: i64 = 500;

/// Creators, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatorList {
    /// Always `true`.
    success: bool,
    /// The creators.
    data: Vec<CreatorView>,
    /// Where the next page starts, null on the last one. Absent without `limit`: then `data` holds all of them.
    next_cursor: Option<String>,
}

/// All creators of the key's project, oldest first.
///
/// Without `limit`, all of them in one answer, however many; with it, a page and a `nextCursor`.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    params(
        ("externalId" = Option<String>, Query, pattern = r"^[^\u0000\uFFFD]*$", description = "Only the account with this id (TikTok: open_id)"),
        ("platform" = inline(Option<PlatformWord>), Query, description = "Only this platform: TIKTOK, INSTAGRAM or YOUTUBE"),
        ("externalRef" = Option<String>, Query, pattern = r"^[^\u0000\uFFFD]*$", description = "Only those with your own name for them"),
        ("status" = inline(Option<StatusWord>), Query, description = "Only those with this status: ACTIVE or REAUTHORIZATION_REQUIRED"),
        ("updatedSince" = inline(Option<InstantWord>), Query, description = "Only those of which something changed at this time or later, \
            a sync that found nothing new included: RFC 3339, or a date"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 500, description = "Creators in a page"),
        ("cursor" = Option<String>, Query, description = "The page before's nextCursor; empty for the first page"),
    ),
    responses((status = 200, description = "The creators", body = CreatorList), ListErrors)
)]
#[get("/creators")]
pub async fn list_creators(caller: Caller, params: Params, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let filter = CreatorFilter {
        external_id: params.text("externalId")?.map(str::to_owned),
        platform: params.platform()?,
        external_ref: params.text("externalRef")?.map(str::to_owned),
        status: params.word("status")?,
        updated_since: params.instant("updatedSince")?,
    };
    let after = cursor::creator_position(caller.project(), params.text("cursor")?.unwrap_or_default())?;
    let limit = params.limit(1..=MAX_LIMIT)?;
    let list = List { api, project: caller.project(), filter };
    match limit {
        Some(limit) => list.page(after, limit).await,
        None => list.all(after).await,
    }
}

/// Whose creators, and which of them.
struct List {
    api: Data<Api>,
    project: ProjectId,
    filter: CreatorFilter,
}

impl List {
    async fn read(&self, after: Option<CreatorPosition>, limit: i64) -> Result<Vec<Creator>, ApiError> {
        self.api.within(self.api.store.creators(self.project, &self.filter, after, limit)).await
    }

    async fn page(self, after: Option<CreatorPosition>, limit: i64) -> Result<HttpResponse, ApiError> {
        let (creators, more) = cursor::page(self.read(after, limit + 1).await?, limit);
        let last = creators.last().filter(|_| more).map(Creator::position);
        let next_cursor = last.map(|position| cursor::after_creator(self.project, position));
        let data = creators.into_iter().map(CreatorView::from).collect();
        Ok(HttpResponse::Ok().json(CreatorList { success: true, data, next_cursor }))
    }

    /// The first chunk is read before the answer begins, so that a Postgres out of reach is a 503. A failure later on
    /// breaks the connection off: a list that was cut short must not look whole.
    async fn all(self, after: Option<CreatorPosition>) -> Result<HttpResponse, ApiError> {
        let first = self.read(after, CHUNK).await?;
        Ok(HttpResponse::Ok().content_type("application/json").streaming(self.chunks(first)))
    }

    /// The list's text, chunk by chunk; the next one is read when the client has taken the one before.
    fn chunks(self, first: Vec<Creator>) -> impl Stream<Item = Result<Bytes, ApiError>> {
        let start = Progress::First(first);
        stream::try_unfold((self, start), |(list, progress)| async move {
            let (opening, creators) = match progress {
                Progress::First(creators) => (true, creators),
                Progress::After(position) => (false, list.read(Some(position), CHUNK).await.inspect_err(log)?),
                Progress::Closed => return Ok(None),
            };
            let full = i64::try_from(creators.len()).is_ok_and(|read| read >= CHUNK);
            let next =
                creators.last().filter(|_| full).map(Creator::position).map_or(Progress::Closed, Progress::After);
            let text = text(opening, creators, matches!(next, Progress::Closed))?;
            Ok(Some((text, (list, next))))
        })
    }
}

/// How far a stream has come.
enum Progress {
    First(Vec<Creator>),
    After(CreatorPosition),
    Closed,
}

fn text(opening: bool, creators: Vec<Creator>, closing: bool) -> Result<Bytes, ApiError> {
    let mut text = if opening { br#"{"success":true,"data":["#.to_vec() } else { Vec::new() };
    for (position, creator) in creators.into_iter().enumerate() {
        if position > 0 || !opening {
            text.push(b',');
        }
        let written = serde_json::to_writer(&mut text, &CreatorView::from(creator));
        written.map_err(|error| ApiError::Internal(error.to_string()))?;
    }
    if closing {
        text.extend_from_slice(b"]}");
    }
    Ok(text.into())
}

fn log(error: &ApiError) {
    tracing::warn!(%error, detail = error.detail(), "a list of creators was broken off");
}
