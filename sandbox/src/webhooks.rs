//! Webhooks: signed, delivered at least once, tried again with a growing pause for 72 hours of virtual time.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use actix_web::web::Data;
use reqwest::Client;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::grants::sign;
use crate::settings::{HeaderCase, Settings};
use crate::state::{State, lock};

/// Why an authorisation ended. Sent as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub(crate) enum Reason {
    Unknown,
    #[default]
    Disconnected,
    AccountDeleted,
    AgeChanged,
    Banned,
    Developer,
}

impl From<Reason> for i64 {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unknown => 0,
            Reason::Disconnected => 1,
            Reason::AccountDeleted => 2,
            Reason::AgeChanged => 3,
            Reason::Banned => 4,
            Reason::Developer => 5,
        }
    }
}

impl TryFrom<i64> for Reason {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        Ok(match number {
            0 => Self::Unknown,
            1 => Self::Disconnected,
            2 => Self::AccountDeleted,
            3 => Self::AgeChanged,
            4 => Self::Banned,
            5 => Self::Developer,
            _ => return Err("a reason is 0 to 5"),
        })
    }
}

/// An event to be sent, as `POST /control/webhooks` takes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Event {
    #[serde(rename = "event")]
    name: String,
    /// Left out of the body if absent.
    open_id: Option<String>,
    reason: Reason,
    /// Instead of the reason, as it is.
    content: Option<String>,
    /// `{"reason": 1 }` instead of `{"reason":1}`.
    spaced: bool,
    /// Another app's, to be refused.
    client_key: Option<String>,
    /// Seconds since 1970; now, if absent.
    create_time: Option<i64>,
    copies: u32,
    bad_signature: bool,
    /// How old the signature claims to be.
    t_age_seconds: i64,
    /// When it is first sent, from now: events change places by it.
    delay_seconds: i64,
}

impl Default for Event {
    fn default() -> Self {
        Self {
            name: "authorization.removed".to_owned(),
            open_id: None,
            reason: Reason::default(),
            content: None,
            spaced: false,
            client_key: None,
            create_time: None,
            copies: 1,
            bad_signature: false,
            t_age_seconds: 0,
            delay_seconds: 0,
        }
    }
}

/// The body, its fields in the order of TikTok's sample.
#[derive(Serialize)]
struct Payload<'a> {
    client_key: &'a str,
    event: &'a str,
    create_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_openid: Option<&'a str>,
    content: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Progress {
    Waiting,
    Delivered,
    /// Given up: after 72 hours, or because there is no `webhook_url`.
    Dropped,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delivery {
    id: u64,
    state: Progress,
    attempts: u32,
    /// Of the last attempt; absent if it did not get an answer.
    status: Option<u16>,
    body: String,
    /// Virtual time of the next attempt, milliseconds since 1970.
    due_ms: i64,
    #[serde(skip)]
    give_up_ms: i64,
    /// Of the first attempt, seconds since 1970.
    #[serde(skip)]
    first_t: Option<i64>,
    #[serde(skip)]
    t_age: i64,
    #[serde(skip)]
    bad_signature: bool,
}

const KEPT: usize = 1_000;
const GIVE_UP_AFTER_MS: i64 = 72 * 3_600 * 1_000;
const LONGEST_PAUSE_MS: i64 = 3_600 * 1_000;

#[derive(Default)]
pub(crate) struct Webhooks {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    deliveries: VecDeque<Delivery>,
    last_id: u64,
}

impl Webhooks {
    /// `authorization.removed`, if such events are sent by themselves.
    pub(crate) fn removed(&self, state: &State, open_id: &str, reason: Reason) -> Vec<u64> {
        if !state.settings().webhooks_auto {
            return Vec::new();
        }
        self.queue(state, &Event { open_id: Some(open_id.to_owned()), reason, ..Event::default() })
    }

    /// Queues an event; the ids of its deliveries.
    pub(crate) fn queue(&self, state: &State, event: &Event) -> Vec<u64> {
        let now_ms = state.clock.now_ms();
        let reason = i64::from(event.reason);
        let content = event.content.clone().unwrap_or_else(|| {
            if event.spaced { format!("{{\"reason\": {reason} }}") } else { format!("{{\"reason\":{reason}}}") }
        });
        let payload = Payload {
            client_key: event.client_key.as_deref().unwrap_or(&state.config.client_key),
            event: &event.name,
            create_time: event.create_time.unwrap_or(now_ms.div_euclid(1000)),
            user_openid: event.open_id.as_deref(),
            content: &content,
        };
        let body = serde_json::to_string(&payload).unwrap_or_default();
        let due_ms = now_ms.saturating_add(event.delay_seconds.saturating_mul(1000));
        let mut inner = lock(&self.inner);
        let mut ids = Vec::new();
        for _ in 0..event.copies.min(100) {
            inner.last_id += 1;
            let id = inner.last_id;
            ids.push(id);
            if inner.deliveries.len() == KEPT {
                inner.deliveries.pop_front();
            }
            inner.deliveries.push_back(Delivery {
                id,
                state: Progress::Waiting,
                attempts: 0,
                status: None,
                body: body.clone(),
                due_ms,
                give_up_ms: due_ms.saturating_add(GIVE_UP_AFTER_MS),
                first_t: None,
                t_age: event.t_age_seconds,
                bad_signature: event.bad_signature,
            });
        }
        drop(inner);
        self.wake();
        ids
    }

    pub(crate) fn all(&self) -> Vec<Delivery> {
        lock(&self.inner).deliveries.iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        lock(&self.inner).deliveries.clear();
    }

    /// The clock or the settings changed: look again at what is due.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    fn next(&self) -> Option<Delivery> {
        let inner = lock(&self.inner);
        let waiting = inner.deliveries.iter().filter(|delivery| delivery.state == Progress::Waiting);
        waiting.min_by_key(|delivery| delivery.due_ms).cloned()
    }

    fn keep(&self, delivery: Delivery) {
        let mut inner = lock(&self.inner);
        if let Some(kept) = inner.deliveries.iter_mut().find(|kept| kept.id == delivery.id) {
            *kept = delivery;
        }
    }
}

/// Delivers what is due, one at a time, for as long as the sandbox lives.
pub(crate) async fn deliver(state: Data<State>) {
    let mut client: Option<(HeaderCase, Client)> = None;
    loop {
        let Some(mut delivery) = state.webhooks.next() else {
            state.webhooks.changed.notified().await;
            continue;
        };
        let wait = delivery.due_ms.saturating_sub(state.clock.now_ms());
        if wait > 0 {
            // A change of the clock or an earlier delivery ends the wait.
            let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
            let _ = tokio::time::timeout(wait, state.webhooks.changed.notified()).await;
            continue;
        }
        let settings = state.settings();
        if client.as_ref().is_none_or(|(case, _)| *case != settings.webhook_header) {
            client = new_client(settings.webhook_header).map(|client| (settings.webhook_header, client));
        }
        let sent = match (&settings.webhook_url, &client) {
            (Some(url), Some((_, client))) => attempt(&state, &settings, client, url, &mut delivery).await,
            _ => Progress::Dropped,
        };
        delivery.state = sent;
        state.webhooks.keep(delivery);
    }
}

async fn attempt(state: &State, settings: &Settings, client: &Client, url: &str, delivery: &mut Delivery) -> Progress {
    let now = state.clock.now().saturating_sub(delivery.t_age);
    let first = *delivery.first_t.get_or_insert(now);
    let t = if settings.webhook_fresh_t { now } else { first };
    let mut signature = signature(&state.config.client_secret, t, &delivery.body);
    if delivery.bad_signature {
        signature = signature.chars().rev().collect();
    }
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .header("tiktok-signature", format!("t={t},s={signature}"))
        .body(delivery.body.clone());
    let answer = request.send().await;
    delivery.attempts += 1;
    delivery.status = answer.ok().map(|answer| answer.status().as_u16());
    if delivery.status == Some(200) {
        return Progress::Delivered;
    }
    let pause = 1_000_i64.checked_shl(delivery.attempts - 1).unwrap_or(i64::MAX).clamp(1_000, LONGEST_PAUSE_MS);
    delivery.due_ms = state.clock.now_ms().saturating_add(pause);
    if delivery.due_ms > delivery.give_up_ms { Progress::Dropped } else { Progress::Waiting }
}

/// `s` of the signature's header: over `t`, a dot and the raw body, in hex.
fn signature(secret: &str, t: i64, body: &str) -> String {
    hex::encode(sign(secret.as_bytes(), format!("{t}.{body}").as_bytes()))
}

fn new_client(case: HeaderCase) -> Option<Client> {
    // Somebody else may have chosen before; any provider will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder =
        Client::builder().timeout(Duration::from_secs(5)).redirect(reqwest::redirect::Policy::none()).no_proxy();
    if case == HeaderCase::Title {
        builder = builder.http1_title_case_headers();
    }
    builder.build().inspect_err(|error| tracing::error!(%error, "webhooks cannot be sent")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_holds() {
        let payload = Payload {
            client_key: "aw1demo",
            event: "authorization.removed",
            create_time: 1_764_000_000,
            user_openid: Some("demo-open-id-1"),
            content: "{\"reason\":1}",
        };
        let body = serde_json::to_string(&payload).unwrap();
        assert_eq!(body.len(), 139);
        let expected = "0cf8c2f22ba14fb87cb5308f5db8c4547e32890e7d347ae6997128b358e0a856";
        assert_eq!(signature("demo-secret", 1_764_000_005, &body), expected);
    }
}
