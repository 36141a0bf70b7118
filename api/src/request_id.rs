//! The id that ties an answer to its lines in the log.

use std::fmt;
use std::rc::Rc;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use shared::trace::is_request_id;
use uuid::Uuid;

/// The header that carries it, both ways.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: RequestId;
}

/// A request's id: the client's own if it is sane, or a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Rc<str>);

impl RequestId {
    /// The id that the client sent, if it is 1 to 128 characters of `[A-Za-z0-9._-]`; else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(HEADER).and_then(|value| value.to_str().ok()).filter(|id| is_request_id(id));
        sent.map_or_else(Self::new, |id| Self(id.into()))
    }

    fn new() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a header's value.
    pub fn to_header(&self) -> HeaderValue {
        // Both kinds of id are visible ASCII; the fallback only spares a panic.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs a request with its id at hand for whoever makes an error's body.
pub async fn scope<F: Future>(id: RequestId, request: F) -> F::Output {
    CURRENT.scope(id, request).await
}

/// The id of the request that this task is busy with; a new one outside of any.
pub fn current() -> RequestId {
    CURRENT.try_with(Clone::clone).unwrap_or_else(|_| RequestId::new())
}
