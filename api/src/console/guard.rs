//! Before every page: whose browser this is, and whether a form may be believed. Around every page: the headers that keep
//! what is on it to itself.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage as _};
use shared::secret_token::SecretToken;

use super::cookie::Jar;
use super::csrf;
use super::error::ConsoleError;
use super::form::Form;
use super::who::Visitor;
use crate::app::Api;
use crate::body::RawBody;
use crate::client;

/// Everything that a page needs comes from here; no script and no style stands in a page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The layer.
pub async fn guard(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(api) = request.app_data::<Data<Api>>().cloned() else {
        return Ok(request.error_response(ConsoleError::Internal("the app has no state".into())));
    };
    let jar = Jar::of(&api.settings.public_url);
    let mut new = None;
    let admitted = match *request.method() {
        Method::GET | Method::POST => admit(&api, jar, &mut request).await.map(Some),
        // No page has another method, and says so. To a handler that had one, whoever asks would be nobody.
        _ => Ok(None),
    };
    let mut response = match admitted {
        Ok(visitor) => {
            if let Some(visitor) = visitor {
                new = visitor.is_new.then(|| visitor.token.clone());
                request.extensions_mut().insert(visitor);
            }
            let response = next.call(request).await?.map_into_boxed_body();
            if response.status() == StatusCode::METHOD_NOT_ALLOWED { no_such_method(response) } else { response }
        }
        Err(error) => request.error_response(error),
    };
    complete(response.headers_mut(), jar, new.as_ref());
    Ok(response)
}

/// Whose browser this is. A form has been read and checked when this is known.
async fn admit(api: &Api, jar: Jar, request: &mut ServiceRequest) -> Result<Visitor, ConsoleError> {
    let sent = jar.read(request.headers());
    let is_form = *request.method() == Method::POST;
    if is_form {
        let token = sent.as_ref().ok_or(ConsoleError::ForeignForm)?;
        let form = read_form(api, request, token).await?;
        request.extensions_mut().insert(form);
    }
    let Some(token) = sent else {
        return Ok(Visitor { token: SecretToken::generate(), is_new: true, session: None });
    };
    // Anybody can make a token up, and each costs a query: so they are counted.
    let address = client::address(request.request(), &api.settings.trusted_proxies);
    let admission = api.limits.admit(address).await.map_err(|refusal| ConsoleError::TooMany(refusal.retry_after()))?;
    let session = api.within(api.store.session_by_hash(&token.hash())).await?;
    match &session {
        Some(session) => {
            admission.known();
            if is_form {
                api.console.forms.count(session.id).map_err(ConsoleError::TooManyForms)?;
            }
        }
        None => admission.unknown().map_err(|refusal| ConsoleError::TooMany(refusal.retry_after()))?,
    }
    Ok(Visitor { token, is_new: false, session })
}

async fn read_form(api: &Api, request: &mut ServiceRequest, token: &SecretToken) -> Result<Form, ConsoleError> {
    if !csrf::is_ours(request.request(), &api.settings.public_url) {
        return Err(ConsoleError::ForeignForm);
    }
    let body = request.extract::<RawBody>().await?;
    let form = Form::parse(&body.0)?;
    if csrf::is_token(token, form.text(csrf::FIELD)) { Ok(form) } else { Err(ConsoleError::ForeignForm) }
}

/// A page instead of the router's bare answer, with the methods that it names, and HEAD, which is asked as the GET that it is about.
fn no_such_method(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let allow = response.headers().get(header::ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
    let allow = allow.replace("GET", "GET, HEAD");
    let (request, _) = response.into_parts();
    ServiceResponse::from_err(ConsoleError::NoSuchMethod { allow }, request)
}

fn complete(headers: &mut HeaderMap, jar: Jar, new: Option<&SecretToken>) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Links with a secret in them are told to nobody else; with `no-referrer` a browser would say of its own forms that
    // they come from `null`.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    let cookie = new.filter(|_| !headers.contains_key(header::SET_COOKIE)).map(|token| jar.write(token));
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        headers.insert(header::SET_COOKIE, cookie);
    }
}
