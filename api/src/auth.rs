//! Who is calling. The key is checked before anything else (CONTRACT: 401 comes before 404), and only this module makes
//! a [`Caller`], whose project every tenant's query asks for.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::HeaderName;
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest, web};
use shared::api_key::ApiKey;
use shared::ids::{ApiKeyId, ProjectId};
use shared::key_scopes::KeyScope;
use shared::store::keys::ActiveKey;

use crate::app::Api;
use crate::client;
use crate::error::ApiError;

/// The header that carries the key.
pub const HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// How old the knowledge about a key may be: below the second after which a revoked key must not work.
const CACHE_TTL: Duration = Duration::from_millis(900);
/// Keys that are remembered at a time; more than this are looked up in Postgres.
const CACHE_SIZE: usize = 10_000;

/// A caller whose key is good, and may do what the request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    key: ActiveKey,
}

impl Caller {
    /// Whose creators this caller may see.
    pub fn project(&self) -> ProjectId {
        self.key.project
    }

    /// The key, for the audit log.
    pub fn key(&self) -> ApiKeyId {
        self.key.id
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    /// Takes what [`require_key`] found, and checks its scopes: no route learns its project without having passed here. A
    /// route that was not put behind it answers 401.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request))
    }
}

fn caller(request: &HttpRequest) -> Result<Caller, ApiError> {
    let key = request.extensions().get::<ActiveKey>().copied().ok_or(ApiError::MissingApiKey)?;
    // The path as it was routed: `/%61pi` leads to `/api`.
    let (scope, others) = scopes_of(request.method(), request.match_info().as_str());
    if key.may(scope) || others.iter().any(|other| key.may(*other)) {
        Ok(Caller { key })
    } else {
        Err(ApiError::Forbidden(scope))
    }
}

/// The scope that a route needs, and those that do in its place: who may ask for a job may see what becomes of it. Here and
/// not at the routes, so that a new one can't be without.
pub fn scopes_of(method: &Method, path: &str) -> (KeyScope, &'static [KeyScope]) {
    match *method {
        Method::GET if path.starts_with("/api/v1/jobs/") => (KeyScope::Read, &[KeyScope::Sync, KeyScope::Disconnect]),
        Method::GET if path.starts_with("/api/v1/batches/") => (KeyScope::Read, &[KeyScope::Sync]),
        Method::GET => (KeyScope::Read, &[]),
        Method::DELETE => (KeyScope::Disconnect, &[]),
        _ if path.starts_with("/api/v1/connect/") => (KeyScope::Connect, &[]),
        _ => (KeyScope::Sync, &[]),
    }
}

/// Lets in who has a good key and keeps to its limit, and nobody else, whatever they ask for.
pub async fn require_key(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(api) = request.app_data::<web::Data<Api>>().cloned() else {
        return Ok(request.error_response(ApiError::Internal("the app has no state".to_owned())));
    };
    let key = match authenticate(&api, &request).await {
        Ok(key) => key,
        Err(error) => return Ok(request.error_response(error)),
    };
    let allowance = match api.limits.count_key(key.id) {
        Ok(allowance) => allowance,
        Err(refusal) => return Ok(request.error_response(ApiError::RateLimited(refusal))),
    };
    request.extensions_mut().insert(key);
    let mut response = next.call(request).await?.map_into_boxed_body();
    if let Some(allowance) = allowance {
        allowance.write(response.headers_mut());
    }
    Ok(response)
}

async fn authenticate(api: &Api, request: &ServiceRequest) -> Result<ActiveKey, ApiError> {
    let address = client::address(request.request(), &api.settings.trusted_proxies);
    let sent = request.headers().get(HEADER).filter(|value| !value.is_empty());
    // The checksum first: a mistyped key costs no look-up.
    let error = match sent.map(|value| value.to_str().ok().and_then(|text| ApiKey::parse(text).ok())) {
        Some(Some(key)) => return find(api, &key.hash(), address).await,
        Some(None) => ApiError::InvalidApiKey,
        None => ApiError::MissingApiKey,
    };
    api.limits.count_stranger(address).map_err(ApiError::RateLimited)?;
    Err(error)
}

async fn find(api: &Api, hash: &[u8; 32], address: Option<IpAddr>) -> Result<ActiveKey, ApiError> {
    if let Some(key) = api.keys.get(hash, Instant::now()) {
        return Ok(key);
    }
    let admission = api.limits.admit(address).await.map_err(ApiError::RateLimited)?;
    // The time before the query: what the answer says was true then at the earliest.
    let asked = Instant::now();
    if let Some(key) = api.keys.get(hash, asked) {
        // Somebody else has asked while this waited for its turn.
        admission.known();
        return Ok(key);
    }
    let Some(key) = api.within(api.store.active_key(hash)).await? else {
        admission.unknown().map_err(ApiError::RateLimited)?;
        return Err(ApiError::InvalidApiKey);
    };
    admission.known();
    api.keys.put(*hash, Known { key, asked });
    note_use(api, key);
    Ok(key)
}

/// Lets the key's project see when it was used last. Nobody waits for that, and nobody fails by it.
fn note_use(api: &Api, key: ActiveKey) {
    let store = api.store.clone();
    api.runtime.spawn(async move {
        if let Err(error) = store.note_key_use(key.id).await {
            tracing::debug!(%error, "the use of a key was not noted");
        }
    });
}

/// Keys that worked within the last second. Unknown ones are not kept: anybody can make them up, and they would push the
/// good ones out.
#[derive(Default)]
pub struct KeyCache {
    entries: Mutex<Entries>,
}

type Entries = HashMap<[u8; 32], Known>;

/// A key, and when Postgres was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    key: ActiveKey,
    asked: Instant,
}

impl Known {
    fn is_fresh(&self, present: Instant) -> bool {
        present.saturating_duration_since(self.asked) < CACHE_TTL
    }
}

impl KeyCache {
    fn get(&self, hash: &[u8; 32], present: Instant) -> Option<ActiveKey> {
        self.lock().get(hash).filter(|known| known.is_fresh(present)).map(|known| known.key)
    }

    fn put(&self, hash: [u8; 32], known: Known) {
        let mut entries = self.lock();
        if entries.len() >= CACHE_SIZE {
            entries.retain(|_, other| other.is_fresh(known.asked));
        }
        if entries.len() < CACHE_SIZE {
            entries.insert(hash, known);
        }
    }

    /// A panic elsewhere leaves the map whole: every change is one call.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ActiveKey {
        ActiveKey { id: ApiKeyId::new(), project: ProjectId::new(), scopes: None }
    }

    #[test]
    fn knowledge_about_a_key_lasts_less_than_a_second() {
        let (cache, asked) = (KeyCache::default(), Instant::now());
        let key = key();
        cache.put([1; 32], Known { key, asked });
        assert_eq!(cache.get(&[1; 32], asked + Duration::from_millis(899)), Some(key));
        assert_eq!(cache.get(&[1; 32], asked + Duration::from_millis(900)), None);
        assert_eq!(cache.get(&[2; 32], asked), None);
    }

    #[test]
    fn the_cache_does_not_grow_beyond_its_size() {
        let (cache, asked) = (KeyCache::default(), Instant::now());
        for number in 0..CACHE_SIZE + 500 {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            cache.put(hash, Known { key: key(), asked });
        }
        assert_eq!(cache.lock().len(), CACHE_SIZE);
        cache.put([255; 32], Known { key: key(), asked: asked + Duration::from_secs(1) });
        assert_eq!(cache.lock().len(), 1, "those that are too old make room");
    }
}
