//! Webhooks on demand, and what became of all.

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Data};
use serde_json::json;

use super::{Reply, parse, reply};
use crate::state::State;
use crate::webhooks::Event;

pub(super) async fn list(state: Data<State>) -> Reply {
    reply(json!({"deliveries": state.webhooks.all()}))
}

/// Queues one event, as often as its `copies` say.
pub(super) async fn send(state: Data<State>, request: HttpRequest, body: Bytes) -> Reply {
    let event: Event = parse(&request, &body)?;
    reply(json!({"ids": state.webhooks.queue(&state, &event)}))
}

/// Forgets all deliveries, the waiting ones too.
pub(super) async fn clear(state: Data<State>) -> Reply {
    state.webhooks.clear();
    reply(json!({}))
}
