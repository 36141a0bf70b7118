//! Conditional reads (RFC 9110, section 13): a client that has the newest answer already is told so, and spared the rest.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{CACHE_CONTROL, ETAG, EntityTag, Header as _, IfNoneMatch, VARY};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::auth;
use crate::envelope::ok;
use crate::error::ApiError;

/// What the client has already. A header that can't be read is none, as the RFC wants of one that does not match.
#[derive(Debug, Clone)]
pub struct Known(Option<IfNoneMatch>);

impl FromRequest for Known {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(IfNoneMatch::parse(request).ok())))
    }
}

impl Known {
    /// 200 with `data` and its tag, or 304 if that is what the client has.
    pub fn answer<T: Serialize>(&self, data: T) -> Result<HttpResponse, ApiError> {
        let tag = tag_of(&data)?;
        Ok(self.answer_tagged(tag, data))
    }

    /// The same, where part of `data` differs at every look: the tag is that of `settled`.
    pub fn answer_as<T: Serialize>(&self, settled: &impl Serialize, data: T) -> Result<HttpResponse, ApiError> {
        let tag = tag_of(settled)?;
        Ok(self.answer_tagged(tag, data))
    }

    fn answer_tagged<T: Serialize>(&self, tag: EntityTag, data: T) -> HttpResponse {
        let mut response = if self.holds(&tag) { HttpResponse::NotModified().finish() } else { ok(data) };
        let headers = response.headers_mut();
        if let Ok(tag) = actix_web::http::header::TryIntoHeaderValue::try_into_value(tag) {
            headers.insert(ETAG, tag);
        }
        // To be kept by the client itself, for this key alone, and used only after it has asked again.
        headers.insert(CACHE_CONTROL, actix_web::http::header::HeaderValue::from_static("private, no-cache"));
        headers.append(VARY, auth::HEADER.into());
        response
    }

    fn holds(&self, tag: &EntityTag) -> bool {
        match &self.0 {
            None => false,
            Some(IfNoneMatch::Any) => true,
            Some(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(tag)),
        }
    }
}

/// A weak one: what is between us and the client may compress the answer.
fn tag_of(data: &impl Serialize) -> Result<EntityTag, ApiError> {
    let json = serde_json::to_vec(data).map_err(|error| ApiError::Internal(error.to_string()))?;
    let digest: [u8; 32] = Sha256::digest(json).into();
    let (start, _) = digest.split_at(16);
    Ok(EntityTag::new_weak(URL_SAFE_NO_PAD.encode(start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::StatusCode;
    use actix_web::http::header::IF_NONE_MATCH;
    use actix_web::test::TestRequest;

    fn known(values: &[&str]) -> Known {
        let request =
            values.iter().fold(TestRequest::get(), |request, value| request.append_header((IF_NONE_MATCH, *value)));
        Known(IfNoneMatch::parse(&request.to_http_request()).ok())
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let first = known(&[]).answer("text").unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers().get(ETAG).unwrap().to_str().unwrap().to_owned();
        assert!(tag.starts_with("W/\""), "{tag}");
        let strong = tag.trim_start_matches("W/").to_owned();
        for has in [&[tag.as_str()][..], &["*"], &["\"x\", W/\"y\"", &tag], &[&strong], &[&format!("\"x\",{tag}")]] {
            let again = known(has).answer("text").unwrap();
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{has:?}");
            assert_eq!(again.headers().get(ETAG), first.headers().get(ETAG));
            assert_eq!(again.headers().get(CACHE_CONTROL), first.headers().get(CACHE_CONTROL));
        }
        for has in [&["\"x\""][..], &["nonsense"], &[""], &["W/"]] {
            assert_eq!(known(has).answer("text").unwrap().status(), StatusCode::OK, "{has:?}");
        }
        assert_eq!(known(&[&tag]).answer("other").unwrap().status(), StatusCode::OK);
    }
}
