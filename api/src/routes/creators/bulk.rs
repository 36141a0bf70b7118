//! `POST /api/v1/creators/sync`: many creators at once. One row, whatever their number; workers do the rest.

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use serde::Serialize;
use serde_json::Value;
use shared::ids::{BatchId, CreatorId};
use shared::store::audit::By;
use shared::store::batches::{BatchFilter, ChosenBatch, NewBatch};
use utoipa::ToSchema;

use crate::app::Api;
use crate::auth::Caller;
use crate::body::{JsonBody, LongJsonBody};
use crate::envelope::Success;
use crate::error::ApiError;
use crate::idempotency::Idempotency;
use crate::openapi::BulkErrors;
use crate::overtaken::About;
use crate::params;
use crate::path;
use crate::trace::TraceContext;
use crate::words::PlatformWord;

/// The most creators that can be named (CONTRACT).
const MOST_IDS: usize = 10_000;

/// Which creators to sync; without a body, all of the project.
#[derive(Debug, ToSchema)]
#[schema(as = BulkSync, rename_all = "camelCase")]
#[expect(dead_code, reason = "the document's; a body is read field by field, so that each error names its own")]
pub struct BulkSyncBody {
    /// These creators, at most 10,000. An unknown one refuses the whole.
    #[schema(max_items = 10_000)]
    ids: Option<Vec<String>>,
    /// Those of this platform.
    #[schema(inline)]
    platform: Option<PlatformWord>,
    /// Those that were last synced so long ago, or never.
    #[schema(example = "24h")]
    older_than: Option<String>,
}

/// A bulk resync that was accepted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BulkSyncResult {
    /// Ask for it at `/api/v1/batches/{batchId}`.
    pub batch_id: String,
    /// Creators that it is about.
    #[schema(example = 12345)]
    pub total: i64,
}

/// Syncs many creators, when the quota has room for them.
///
/// Answers at once, whatever their number. A creator with an open sync is counted by that one.
#[utoipa::path(
    tag = "Creators",
    security(("apiKey" = [])),
    request_body(content = Option<BulkSyncBody>, content_type = "application/json"),
    responses(
        (status = 202, description = "The batch is accepted", body = Success<BulkSyncResult>, headers(
            ("Location" = String, description = "Where to ask for the batch"),
        )),
        BulkErrors,
    )
)]
#[post("/creators/sync")]
pub async fn sync_creators(
    caller: Caller,
    idempotency: Idempotency,
    trace: TraceContext,
    LongJsonBody(body): LongJsonBody,
    api: Data<Api>,
) -> Result<HttpResponse, ApiError> {
    let work = open_batch(Data::clone(&api), caller, filter(&body)?, named(&body)?, trace);
    idempotency.answer_once(&api, caller, &body, About::Batch, Box::pin(work)).await
}

async fn open_batch(
    api: Data<Api>,
    caller: Caller,
    filter: BatchFilter,
    named: Option<Named>,
    trace: TraceContext,
) -> Result<HttpResponse, ApiError> {
    let work = Data::clone(&api);
    // Goes on if the client hangs up: half a batch is none, and the client may ask which there are.
    let NewBatch { id, total } = api
        .detached(async move {
            let (project, by, trace) = (caller.project(), By::Key(caller.key()), Some(trace.as_str()));
            let Some(Named { ids, malformed }) = named else {
                return work.within(work.store.open_batch_as(project, by, &filter, trace)).await;
            };
            if let Some(malformed) = malformed {
                let before = work.within(work.store.first_unknown_creator(project, &ids)).await?;
                return Err(before.map_or_else(|| unknown(&malformed), |id| unknown(&id.to_string())));
            }
            match work.within(work.store.open_batch_of(project, by, &ids, &filter, trace)).await? {
                ChosenBatch::New(batch) => Ok(batch),
                ChosenBatch::Unknown(id) => Err(unknown(&id.to_string())),
            }
        })
        .await?;
    Ok(accepted(id, total))
}

fn accepted(id: BatchId, total: i64) -> HttpResponse {
    HttpResponse::Accepted()
        .insert_header((actix_web::http::header::LOCATION, format!("/api/v1/batches/{id}")))
        .json(Success { success: true, data: BulkSyncResult { batch_id: id.to_string(), total } })
}

fn filter(body: &JsonBody) -> Result<BatchFilter, ApiError> {
    let platform = body.text("platform")?.map(params::platform).transpose()?;
    let older_than = match body.text("olderThan")? {
        None => None,
        Some(text) => {
            let age = humantime::parse_duration(text).ok().filter(|age| *age <= shared::cadence::LONGEST);
            Some(age.ok_or_else(|| ApiError::field("olderThan", "must be a time span up to a year, such as `24h`"))?)
        }
    };
    Ok(BatchFilter { platform, older_than })
}

/// The creators that a request names.
struct Named {
    /// Each once, up to the first that is no id at all.
    ids: Vec<CreatorId>,
    /// That one: no creator has it.
    malformed: Option<String>,
}

fn named(body: &JsonBody) -> Result<Option<Named>, ApiError> {
    let list = match body.field("ids") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(ApiError::field("ids", "must be a list of creators' ids")),
    };
    if list.len() > MOST_IDS {
        return Err(ApiError::field("ids", &format!("holds {} ids; at most {MOST_IDS}", list.len())));
    }
    let texts = list.iter().map(|value| value.as_str()).collect::<Option<Vec<&str>>>();
    let texts = texts.ok_or_else(|| ApiError::field("ids", "must be a list of creators' ids"))?;
    let mut seen = std::collections::HashSet::new();
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let Some(id) = path::parse_id::<CreatorId>(text) else {
            return Ok(Some(Named { ids, malformed: Some(text.to_owned()) }));
        };
        if seen.insert(id) {
            ids.push(id);
        }
    }
    Ok(Some(Named { ids, malformed: None }))
}

fn unknown(id: &str) -> ApiError {
    // It comes from outside: shown in one line, and not without end.
    let shown: String = id.chars().filter(|c| !c.is_control()).take(80).collect();
    ApiError::field("ids", &format!("there is no creator `{shown}`"))
}
