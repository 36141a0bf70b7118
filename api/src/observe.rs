//! What happens to every request, whatever it is for: an id, a line in the log, figures, security headers, and an answer
//! even if the handler panics.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use actix_web::body::{self, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use futures::FutureExt as _;
use shared::trace;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use crate::app::Api;
use crate::error::ApiError;
use crate::error_docs::ErrorDocs;
use crate::request_id::{self, RequestId};
use crate::routes::oauth::tiktok_callback;
use crate::trace::TraceContext;

/// The headers that every answer carries, unless its handler has set its own.
const SECURITY: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// Says what the figures mean, once a process.
pub fn describe_metrics() {
    metrics::describe_counter!("metriqlab_http_requests_total", "Requests answered, by method, route and status");
    metrics::describe_histogram!(
        "metriqlab_http_request_duration_seconds",
        metrics::Unit::Seconds,
        "From a request's head to its answer's head, the wait for a job included"
    );
}

/// The outermost layer of the app.
///
/// A HEAD is routed as the GET that it asks about (RFC 9110, section 9.3.2), except where a GET is not safe. Its body goes
/// here: the server leaves it out by itself only if no other request is behind it already, and would read all of it first.
pub async fn observe(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let id = RequestId::of(request.headers());
    // The path as it is routed: `/%61pi` leads to `/api`.
    let path = request.match_info().as_str();
    let (is_api, is_safe) = (is_api(path), path != tiktok_callback::PATH);
    let seen = Seen { method: request.method().clone(), is_api, id: id.clone(), started };
    let is_head = request.method() == Method::HEAD;
    if is_head && is_safe {
        request.head_mut().method = Method::GET;
    }
    let span = info_span!(parent: None, "request", otel.kind = "server", request_id = %id, trace_id = Empty,
        creator_id = Empty, job_id = Empty);
    let trace = TraceContext::of(request.headers(), &span, &id);
    let docs = request.app_data::<web::Data<Api>>().map_or_else(ErrorDocs::current, |api| api.error_docs.clone());
    let observed = async {
        use actix_web::HttpMessage as _;
        request.extensions_mut().insert(trace);
        let handled = AssertUnwindSafe(next.call(request)).catch_unwind().await;
        let error = match handled {
            Ok(Ok(response)) => {
                let mut response = response.map_into_boxed_body();
                let route = response.request().match_pattern();
                let detail = response.response().error().and_then(detail);
                let status = response.status();
                seen.finish(route.as_deref(), status, detail, response.headers_mut());
                return Ok(if is_head { response.map_body(|_, _| BoxBody::new(body::None::new())) } else { response });
            }
            Ok(Err(error)) => error,
            Err(panic) => ApiError::Internal(format!("panic: {}", message(panic.as_ref()))).into(),
        };
        let mut response = error.error_response();
        let (status, detail) = (response.status(), detail(&error));
        seen.finish(None, status, detail, response.headers_mut());
        let response = if is_head { response.set_body(BoxBody::new(body::None::new())) } else { response };
        Err(InternalError::from_response(error, response).into())
    };
    request_id::scope(id, docs.scope(observed.instrument(span))).await
}

/// What is known of a request before it is routed.
struct Seen {
    method: Method,
    is_api: bool,
    id: RequestId,
    started: Instant,
}

impl Seen {
    /// Completes the answer's headers, counts it, and writes its one line.
    fn finish(&self, route: Option<&str>, status: StatusCode, detail: Option<String>, headers: &mut HeaderMap) {
        headers.insert(request_id::HEADER, self.id.to_header());
        for (name, value) in SECURITY {
            if !headers.contains_key(&name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        if self.is_api && !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let took = self.started.elapsed();
        let route = route.unwrap_or("none").to_owned();
        let (method, code) = (label(&self.method), status.as_u16());
        // Microseconds, as many as a line of log needs.
        let ms = (took.as_secs_f64() * 1e6).round() / 1e3;
        self.trace(&route, status);
        match detail {
            Some(detail) if status.is_server_error() => {
                tracing::error!(method, route, status = code, ms, detail, "request failed");
            }
            _ => tracing::info!(method, route, status = code, ms, "request"),
        }
        metrics::counter!("metriqlab_http_requests_total",
            "method" => method, "route" => route.clone(), "status" => code.to_string())
        .increment(1);
        metrics::histogram!("metriqlab_http_request_duration_seconds", "method" => method, "route" => route)
            .record(took.as_secs_f64());
    }
}

impl Seen {
    /// Completes the request's span: names by OpenTelemetry's conventions for HTTP servers.
    fn trace(&self, route: &str, status: StatusCode) {
        let span = Span::current();
        if !trace::is_exported(&span) {
            return;
        }
        trace::rename(&span, format_args!("{} {route}", label(&self.method)));
        trace::attribute(&span, "http.request.method", label(&self.method));
        trace::attribute(&span, "http.route", route.to_owned());
        trace::attribute(&span, "http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            trace::failed(&span, status.canonical_reason().unwrap_or_default());
        }
    }
}

/// A method by name; the ones that nobody serves share one, so that a client can't fill the log's or the metrics' labels.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

fn is_api(path: &str) -> bool {
    path.strip_prefix("/api").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What only the log may hear of an error.
fn detail(error: &Error) -> Option<String> {
    match error.as_error::<ApiError>() {
        Some(error) => error.detail().map(str::to_owned),
        None => Some(error.to_string()),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, init_service, try_call_service};
    use actix_web::{App, HttpResponse, web};

    async fn panics() -> HttpResponse {
        panic!("a secret of ours")
    }

    #[actix_web::test]
    async fn a_panic_is_a_500_with_the_requests_id_and_no_details() {
        let app = init_service(App::new().route("/", web::get().to(panics)).wrap(from_fn(observe))).await;
        let request = TestRequest::get().uri("/").insert_header(("x-request-id", "find-me")).to_request();
        let error = try_call_service(&app, request).await.expect_err("a panic is an error");
        let response = error.error_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers().get("x-request-id").expect("an id"), "find-me");
        assert_eq!(response.headers().get("x-content-type-options").expect("a header"), "nosniff");
        let body = to_bytes(response.into_body()).await.expect("a body");
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains(r#""code":"internal""#) && text.contains(r#""requestId":"find-me""#), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
