//! All that the handlers share, and the way of a request through it.

use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;

use crate::answer::{Answer, ApiError, log_id};
use crate::clock::Clock;
use crate::config::{Latency, SandboxConfig};
use crate::endpoint::Endpoint;
use crate::faults::{Fault, Faults};
use crate::grants::{Caller, Grants};
use crate::limits::{Limits, Verdict};
use crate::requests::{Entry, RequestLog};
use crate::settings::{RateKey, Settings};
use crate::webhooks::Webhooks;
use crate::world::World;

pub(crate) struct State {
    pub(crate) config: SandboxConfig,
    /// Without a trailing slash.
    pub(crate) base_url: String,
    pub(crate) clock: Clock,
    settings: Mutex<Settings>,
    pub(crate) world: Mutex<World>,
    pub(crate) grants: Mutex<Grants>,
    pub(crate) limits: Mutex<Limits>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) requests: Mutex<RequestLog>,
    pub(crate) webhooks: Webhooks,
}

/// Locks. A panic of another holder does not matter: every change under these locks is complete at any step that could
/// panic, and a stand-in that went on is more useful than one that stopped.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of a request before it is answered.
pub(crate) struct About {
    pub(crate) endpoint: Endpoint,
    pub(crate) open_id: Option<String>,
    /// Of the access token, milliseconds since 1970.
    pub(crate) granted_at_ms: Option<i64>,
    pub(crate) grant_type: Option<String>,
    /// Whom the rate limit counts; `None` for what is not limited.
    pub(crate) limit_key: Option<String>,
}

/// What the work may look at.
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a Settings,
    /// Virtual time, milliseconds since 1970.
    pub(crate) now_ms: i64,
    pub(crate) log_id: &'a str,
    pub(crate) fault: Option<&'a Fault>,
}

impl Context<'_> {
    /// Virtual time, seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.now_ms.div_euclid(1000)
    }
}

/// A handle of the connection, kept beside it, so that a fault can reset it.
pub(crate) struct Connection(pub(crate) Option<TcpStream>);

impl State {
    pub(crate) fn new(config: SandboxConfig, base_url: String) -> Self {
        Self {
            base_url,
            clock: Clock::default(),
            settings: Mutex::new(Settings::new(&config)),
            world: Mutex::new(World::new(config.seed, config.demo_creators)),
            grants: Mutex::new(Grants::new(&config.client_secret)),
            limits: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            webhooks: Webhooks::default(),
            config,
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    pub(crate) fn set_settings(&self, settings: Settings) {
        *lock(&self.settings) = settings;
    }

    /// Whom the bearer token of a request stands for.
    pub(crate) fn caller(&self, request: &HttpRequest) -> Result<(Caller, String), ApiError> {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(ApiError::token_invalid)?;
        let caller = lock(&self.grants).caller(token, self.clock.now()).ok_or_else(ApiError::token_invalid)?;
        let world = lock(&self.world);
        if world.creator(&caller.open_id).is_none() || world.is_banned(&caller.open_id) {
            return Err(ApiError::token_invalid());
        }
        Ok((caller, token.to_owned()))
    }

    /// Answers a request: part of the delay, the limit, the faults, the work, the log, the rest of the delay. The work is
    /// done before the waiting, so that it stands also if the client hangs up.
    pub(crate) async fn respond(
        &self,
        request: &HttpRequest,
        about: About,
        work: impl FnOnce(&Context<'_>) -> Answer,
    ) -> HttpResponse {
        let settings = self.settings();
        let (before, after) = split_delay(settings.latency);
        pause(before).await;
        let now_ms = self.clock.now_ms();
        let log_id = log_id(now_ms);
        let refused = self.limit(&about, &settings, &log_id);
        let mut delay = after;
        let answer = refused.unwrap_or_else(|| {
            let age = about.granted_at_ms.map(|at| now_ms.saturating_sub(at));
            let fault = lock(&self.faults).take(about.endpoint, about.open_id.as_deref(), age);
            let context = Context { settings: &settings, now_ms, log_id: &log_id, fault: fault.as_ref() };
            let Some(fault) = &fault else { return work(&context) };
            delay += fault.delay();
            fault.instead(&settings, &log_id).unwrap_or_else(|| fault.spoil(work(&context)))
        });
        lock(&self.requests).push(Entry {
            seq: 0,
            at_ms: now_ms,
            method: request.method().to_string(),
            path: request.path().to_owned(),
            error: answer.error.clone(),
            open_id: about.open_id,
            grant_type: about.grant_type,
            status: answer.status,
        });
        pause(delay).await;
        if answer.status == 0 { reset(request) } else { answer.into_response() }
    }

    fn limit(&self, about: &About, settings: &Settings, log_id: &str) -> Option<Answer> {
        let key = about.limit_key.as_deref()?;
        let key = match settings.rate_key {
            RateKey::Client => self.config.client_key.as_str(),
            RateKey::Token => key,
        };
        let window = Duration::from_millis(settings.rate_window_ms);
        let verdict = lock(&self.limits).arrive(about.endpoint, key, settings.rate_limit, window, Instant::now());
        let Verdict::Refused(wait) = verdict else { return None };
        let error =
            ApiError::new(429, "rate_limit_exceeded", "The API rate limit was exceeded. Please try again later.");
        let mut answer = Answer::api_error(error, settings, log_id.to_owned());
        // Rounded up: after it there is a free place.
        answer.retry_after = settings.retry_after.then(|| wait.as_secs().saturating_add(1));
        Some(answer)
    }
}

async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// The delay of one request: the part before it counts as arrived, and the part after.
fn split_delay(latency: Latency) -> (Duration, Duration) {
    let between = |min: u64, max: u64| rand::random_range(min..=max.max(min));
    let micros = match latency {
        Latency::None => return (Duration::ZERO, Duration::ZERO),
        Latency::Between { min_ms, max_ms } => between(min_ms.saturating_mul(1000), max_ms.saturating_mul(1000)),
        Latency::Tail if rand::random_ratio(1, 100) => between(60_000, 2_000_000),
        Latency::Tail => between(10_000, 60_000),
    };
    let before = between(0, micros);
    (Duration::from_micros(before), Duration::from_micros(micros - before))
}

/// A response whose body fails before its first byte: the server then drops the connection without a word, and with the
/// lingering off the peer gets a reset.
fn reset(request: &HttpRequest) -> HttpResponse {
    if let Some(Connection(Some(stream))) = request.conn_data::<Connection>()
        && let Ok(stream) = stream.try_clone().and_then(tokio::net::TcpStream::from_std)
        && let Err(error) = stream.set_zero_linger()
    {
        tracing::debug!(%error, "the connection ends without a reset");
    }
    HttpResponse::Ok().body(NoBody)
}

struct NoBody;

impl MessageBody for NoBody {
    type Error = std::io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(1)
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, Self::Error>>> {
        std::task::Poll::Ready(Some(Err(std::io::Error::other("told to reset the connection"))))
    }
}
