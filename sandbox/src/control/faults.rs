//! Faults, the counts of the rate limit, the log of requests.

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Data, Path, Query};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{ControlError, Reply, parse, reply};
use crate::endpoint::Endpoint;
use crate::faults::Fault;
use crate::requests::Entry;
use crate::state::{State, lock};

pub(super) async fn list(state: Data<State>) -> Reply {
    reply(json!({"faults": lock(&state.faults).all()}))
}

pub(super) async fn add(state: Data<State>, request: HttpRequest, body: Bytes) -> Reply {
    let fault: Fault = parse(&request, &body)?;
    if fault.status.is_some_and(|status| !(200..=599).contains(&status)) {
        return Err(ControlError::Invalid("status is 200 to 599".to_owned()));
    }
    reply(json!({"id": lock(&state.faults).add(fault)}))
}

pub(super) async fn clear(state: Data<State>) -> Reply {
    lock(&state.faults).clear(None);
    reply(json!({}))
}

pub(super) async fn remove(state: Data<State>, id: Path<u64>) -> Reply {
    lock(&state.faults).clear(Some(*id));
    reply(json!({}))
}

/// The counts of each limited endpoint.
pub(super) async fn limits(state: Data<State>) -> Reply {
    let limits = lock(&state.limits);
    let mut all = Map::new();
    for endpoint in Endpoint::LIMITED {
        all.insert(endpoint.as_str().to_owned(), json!(limits.counts(endpoint)));
    }
    reply(Value::Object(all))
}

pub(super) async fn clear_limits(state: Data<State>) -> Reply {
    lock(&state.limits).clear();
    reply(json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    open_id: Option<String>,
    path: Option<String>,
    grant_type: Option<String>,
    status: Option<u16>,
    error: Option<String>,
    /// Only requests after this one.
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

impl Filter {
    fn matches(&self, entry: &Entry) -> bool {
        let same = |wanted: &Option<String>, found: Option<&String>| wanted.is_none() || wanted.as_ref() == found;
        entry.seq > self.after
            && same(&self.open_id, entry.open_id.as_ref())
            && same(&self.path, Some(&entry.path))
            && same(&self.grant_type, entry.grant_type.as_ref())
            && same(&self.error, entry.error.as_ref())
            && self.status.is_none_or(|status| status == entry.status)
    }
}

/// The requests that match, oldest first; of many, the newest.
pub(super) async fn requests(state: Data<State>, filter: Query<Filter>) -> Reply {
    let log = lock(&state.requests);
    let matched = log.iter().filter(|entry| filter.matches(entry)).count();
    let skipped = matched.saturating_sub(filter.limit.unwrap_or(1_000));
    let requests: Vec<_> = log.iter().filter(|entry| filter.matches(entry)).skip(skipped).collect();
    reply(json!({"total": log.total(), "matched": matched, "requests": requests}))
}

pub(super) async fn clear_requests(state: Data<State>) -> Reply {
    lock(&state.requests).clear();
    reply(json!({}))
}
