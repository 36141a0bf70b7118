//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a client that does not know whether its POST got through
//! sends it again, and gets the first one's answer.
//!
//! The first request runs to its end, also if its client hangs up, and its answer is kept for a day; but not one of a server
//! that failed (5xx), nor that a creator has to connect again: those are to be tried again. While it runs, others are told so.
//! Its lease in Postgres is renewed meanwhile: if the process dies, the key is free again within 15 s, and the next request
//! runs anew.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::body::MessageBody as _;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::{Bytes, Data};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError as _};
use futures::future::LocalBoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shared::ids::ProjectId;
use shared::store::idempotency::{RequestClaim, RequestKey, RequestLease};
use tracing::Instrument as _;

use crate::app::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::envelope::Failure;
use crate::error::ApiError;
use crate::error_docs::ErrorDocs;
use crate::overtaken::{About, Present, present};
use crate::prefer::PREFERENCE_APPLIED;
use crate::request_id;

/// The header of a request.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// How an error names it.
const FIELD: &str = "Idempotency-Key";
/// The header of an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest key.
pub const MAX_KEY: usize = 255;
/// What a bare key looks like that no proxy changes.
pub const PATTERN: &str = "^[!#-~]+$";
/// Well below the lease's length.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long it is tried to keep an answer: the lease, renewed every 5 s, has more than that left.
const KEEP_FOR: Duration = Duration::from_secs(8);
/// Between two tries.
const KEEP_PAUSE: Duration = Duration::from_millis(250);
/// What is kept of an answer's headers; the others are of its request alone.
const KEPT_HEADERS: [HeaderName; 4] = [header::CONTENT_TYPE, header::LOCATION, header::RETRY_AFTER, PREFERENCE_APPLIED];

/// What a request does. Boxed: it holds connections to be made, and is moved.
type Work = LocalBoxFuture<'static, Result<HttpResponse, ApiError>>;

/// The SHA-256 of a request's route and key, if it has one.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency(Option<[u8; 32]>);

impl FromRequest for Idempotency {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mut sent = request.headers().get_all(HEADER);
        let key = match (sent.next(), sent.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => key_of(value).map(Some),
            (Some(_), Some(_)) => Err(ApiError::field(FIELD, "given more than once")),
        };
        // The path as it was routed, so that one resource has one name.
        let path = request.match_info().as_str();
        ready(key.map(|key| Self(key.map(|key| hash(request.method().as_str(), path, key)))))
    }
}

/// The draft's structured string (RFC 9651, in quotes), or the bare text that most clients send.
fn key_of(value: &HeaderValue) -> Result<&str, ApiError> {
    let text = value.to_str().unwrap_or_default();
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let key = quoted.unwrap_or(text);
    let good =
        (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"');
    let wrong = || ApiError::field(FIELD, "must be 1 to 255 visible ASCII characters without quotes, such as a UUID");
    good.then_some(key).ok_or_else(wrong)
}

fn hash(method: &str, path: &str, key: &str) -> [u8; 32] {
    // None of the three holds U+0000.
    Sha256::digest([method, path, key].join("\0")).into()
}

impl Idempotency {
    /// Answers with `work`'s answer, or with that of the same request before it.
    pub async fn answer_once(
        self,
        api: &Data<Api>,
        caller: Caller,
        body: &JsonBody,
        about: About,
        work: Work,
    ) -> Result<HttpResponse, ApiError> {
        let Some(hash) = self.0 else { return work.await };
        let key = RequestKey { project: caller.project(), hash };
        let body_hash = body.hash();
        loop {
            match api.within(api.store.claim_request(key, &body_hash)).await? {
                RequestClaim::New(lease) => return run(api, lease, work).await,
                RequestClaim::Running => return Err(ApiError::IdempotencyInProgress),
                RequestClaim::OtherBody => return Err(ApiError::IdempotencyMismatch),
                RequestClaim::Answered(sealed) => {
                    // Sealed under an encryption key that is not in the list any more: as good as not kept.
                    if let Some(answer) = open(api, &key, &sealed)
                        && let Some(response) = answer.replay(api, caller.project(), about).await?
                    {
                        return Ok(response);
                    }
                    api.within(api.store.forget_request(key, &sealed)).await?;
                }
            }
        }
    }
}

/// Runs a request to its end, whether its client is still there or not, and keeps its answer.
async fn run(api: &Data<Api>, lease: RequestLease, work: Work) -> Result<HttpResponse, ApiError> {
    let work_api = Data::clone(api);
    let running = async move {
        let answer = tokio::select! {
            answer = work => answer,
            never = renew(&work_api, &lease) => match never {},
        };
        settle(&work_api, &lease, answer).await
    };
    let running = request_id::scope(request_id::current(), ErrorDocs::current().scope(running));
    match actix_web::rt::spawn(running.in_current_span()).await {
        Ok(answer) => answer,
        Err(error) => {
            give_up(api, &lease).await;
            Err(ApiError::Internal(format!("a request ended early: {error}")))
        }
    }
}

/// Holds the lease. That it can't be renewed is no reason to stop: the work is under way.
async fn renew(api: &Api, lease: &RequestLease) -> Infallible {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        if let Err(error) = api.within(api.store.renew_request(lease)).await {
            tracing::warn!(%error, detail = error.detail(), "a request's idempotency key is not renewed");
        }
    }
}

/// Keeps the answer, or gives the key up if it is none to be kept. The client gets its answer either way.
async fn settle(
    api: &Api,
    lease: &RequestLease,
    answer: Result<HttpResponse, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let response = match answer {
        Err(error) if !is_lasting(&error) => {
            give_up(api, lease).await;
            return Err(error);
        }
        Err(error) => error.error_response(),
        Ok(response) => response,
    };
    let (answer, response) = Answer::of(response);
    match answer {
        Some(answer) if !response.status().is_server_error() => keep(api, lease, &answer).await?,
        _ => give_up(api, lease).await,
    }
    Ok(response)
}

/// Whether the same request is answered the same tomorrow: not by a server that failed, nor once the creator has connected
/// again.
fn is_lasting(error: &ApiError) -> bool {
    !error.status_code().is_server_error() && !matches!(error, ApiError::ReauthorizationRequired)
}

/// Keeps an answer, through a short outage of Postgres too: one that is not kept is run for again. The client waits meanwhile,
/// and has its answer either way.
async fn keep(api: &Api, lease: &RequestLease, answer: &Answer) -> Result<(), ApiError> {
    let text = serde_json::to_string(answer).map_err(|error| ApiError::Internal(error.to_string()))?;
    let sealed = api.keyring.seal(&SecretString::from(text), &identity(&lease.key));
    let mut last = None;
    let kept = tokio::time::timeout(KEEP_FOR, async {
        loop {
            match api.within(api.store.finish_request(lease, &sealed)).await {
                Err(error @ ApiError::Unavailable(_)) => last = Some(error),
                over => return over,
            }
            tokio::time::sleep(KEEP_PAUSE).await;
        }
    });
    // Over all of the tries: one that hangs at the end would outlast the lease.
    let kept = kept.await.unwrap_or_else(|_| Err(last.unwrap_or_else(|| ApiError::Unavailable("no answer".into()))));
    match kept {
        Ok(true) => {}
        Ok(false) => tracing::warn!("a request took so long that its idempotency key was given to another"),
        Err(error) => tracing::warn!(%error, detail = error.detail(), "an answer is not kept for its idempotency key"),
    }
    Ok(())
}

async fn give_up(api: &Api, lease: &RequestLease) {
    if let Err(error) = api.within(api.store.release_request(lease)).await {
        tracing::warn!(%error, detail = error.detail(), "an idempotency key is free only when its lease ends");
    }
}

/// An answer as it is kept. Sealed, since that of a consent holds its state, of which Postgres is to know the hash alone.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    /// What is to be kept of a response, and the response. `None` for a stream, or for a body that is no text.
    fn of(response: HttpResponse) -> (Option<Self>, HttpResponse) {
        let (head, body) = response.into_parts();
        let bytes: Bytes = match body.try_into_bytes() {
            Ok(bytes) => bytes,
            Err(body) => return (None, head.set_body(body)),
        };
        let value = |name: &HeaderName| Some((name.to_string(), head.headers().get(name)?.to_str().ok()?.to_owned()));
        let answer = std::str::from_utf8(&bytes).ok().map(|body| Self {
            status: head.status().as_u16(),
            headers: KEPT_HEADERS.iter().filter_map(value).collect(),
            body: body.to_owned(),
        });
        (answer, head.set_body(actix_web::body::BoxBody::new(bytes)))
    }

    /// The answer as it is to be given now; `None` if it is worth nothing any more.
    async fn replay(self, api: &Api, project: ProjectId, about: About) -> Result<Option<HttpResponse>, ApiError> {
        let status =
            StatusCode::from_u16(self.status).map_err(|error| ApiError::Internal(format!("a kept answer: {error}")))?;
        let mut response = match present(api, project, about, status, &self.body).await? {
            Present::Nothing => return Ok(None),
            Present::Newer(response) => response,
            Present::Same => {
                let mut response = HttpResponse::build(status);
                for header in self.headers {
                    response.insert_header(header);
                }
                response.body(of_this_request(self.body))
            }
        };
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(Some(response))
    }
}

/// An error names the request that it answers: not the first one, but this.
fn of_this_request(body: String) -> String {
    let Ok(mut failure) = serde_json::from_str::<Failure>(&body) else { return body };
    failure.error.request_id = request_id::current().to_string();
    serde_json::to_string(&failure).unwrap_or(body)
}

/// `None`: the key that sealed it is gone, or it was changed.
fn open(api: &Api, key: &RequestKey, sealed: &[u8]) -> Option<Answer> {
    let opened = api.keyring.open(sealed, &identity(key));
    let text = opened.inspect_err(|error| tracing::warn!(%error, "a kept answer does not open")).ok()?;
    serde_json::from_str(text.expose_secret()).ok()
}

/// What an answer is sealed to: its row.
fn identity(key: &RequestKey) -> String {
    format!("idempotency_keys\0{}\0{}\0answer", key.project, hex::encode(key.hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_drafts_string_or_bare_text() {
        let key = |text: &str| key_of(&HeaderValue::from_str(text).unwrap()).map(str::to_owned);
        assert_eq!(key("8e03978e-40d5-43de-bb93-6894a57f9324").unwrap(), "8e03978e-40d5-43de-bb93-6894a57f9324");
        assert_eq!(key("\"a b\"").unwrap(), "a b");
        assert_eq!(key(&"x".repeat(255)).unwrap().len(), 255);
        for wrong in ["", "\"\"", "a\"b", "\"", &"x".repeat(256), "a\tb"] {
            assert!(key(wrong).is_err(), "{wrong:?}");
        }
        assert!(key_of(&HeaderValue::from_bytes(b"\xff").unwrap()).is_err());
    }

    #[test]
    fn another_route_is_another_request() {
        assert_ne!(hash("POST", "/a", "k"), hash("POST", "/b", "k"));
        assert_ne!(hash("POST", "/a", "k"), hash("POST", "/a", "l"));
    }
}
