//! Settings and the clock.

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Data};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{ControlError, Reply, parse, reply};
use crate::settings::{LIFETIMES_2026_11, LIFETIMES_CLASSIC, Settings};
use crate::state::State;

pub(super) async fn show(state: Data<State>) -> Reply {
    as_json(&state.settings())
}

/// Any of the settings; `lifetimes` sets two by the name of a preset.
pub(super) async fn change(state: Data<State>, request: HttpRequest, body: Bytes) -> Reply {
    let mut sent: Map<String, Value> = parse(&request, &body)?;
    let invalid = |error: String| ControlError::Invalid(error);
    let current = serde_json::to_value(state.settings()).map_err(|error| invalid(error.to_string()))?;
    let Value::Object(mut all) = current else { return Err(invalid("settings are no object".to_owned())) };
    if let Some(preset) = sent.remove("lifetimes") {
        let (access, refresh) = match preset.as_str() {
            Some("2026-11") => LIFETIMES_2026_11,
            Some("classic") => LIFETIMES_CLASSIC,
            _ => return Err(invalid("lifetimes is 2026-11 or classic".to_owned())),
        };
        all.insert("access_lifetime".to_owned(), json!(access));
        all.insert("refresh_lifetime".to_owned(), json!(refresh));
    }
    all.extend(sent);
    let settings: Settings = serde_json::from_value(Value::Object(all)).map_err(|error| invalid(error.to_string()))?;
    settings.validate().map_err(|error| invalid(error.to_string()))?;
    state.set_settings(settings);
    state.webhooks.wake();
    as_json(&state.settings())
}

fn as_json(settings: &Settings) -> Reply {
    reply(serde_json::to_value(settings).map_err(|error| ControlError::Invalid(error.to_string()))?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetClock {
    advance_seconds: Option<i64>,
    set_ms: Option<i64>,
    frozen: Option<bool>,
}

pub(super) async fn clock(state: Data<State>) -> Reply {
    reply(json!({"now_ms": state.clock.now_ms(), "frozen": state.clock.is_frozen()}))
}

pub(super) async fn set_clock(state: Data<State>, request: HttpRequest, body: Bytes) -> Reply {
    let wanted: SetClock = parse(&request, &body)?;
    if let Some(frozen) = wanted.frozen {
        state.clock.freeze(frozen);
    }
    if let Some(now_ms) = wanted.set_ms {
        state.clock.set(now_ms);
    }
    if let Some(seconds) = wanted.advance_seconds {
        state.clock.advance(seconds);
    }
    state.webhooks.wake();
    clock(state).await
}
