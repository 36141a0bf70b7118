//! What operators ask: does it live, can it work, what has it done, what does it offer.

use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Api;
use crate::openapi::Document;

/// How long a dependency may take to show that it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long what was found out holds: anybody may ask, and no flood of them becomes one of queries.
const PROBE_TTL: Duration = Duration::from_secs(1);

/// The last look at the dependencies, and when it began. Who asks while one is under way waits for it.
pub type Probe = tokio::sync::Mutex<Option<(Instant, Readiness)>>;

/// Whether the process can do its work.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Readiness {
    /// `ok`, `degraded` (everything but Redis) or `unavailable`.
    #[schema(example = "ok")]
    status: &'static str,
    /// `down` if Redis is out of reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    redis: Option<&'static str>,
    /// `down` if Postgres is out of reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    postgres: Option<&'static str>,
    /// What is wrong with the schema: which version was found, which is expected, and which migrations are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    schema: Option<String>,
}

/// The process lives.
#[utoipa::path(tag = "Operations",
    responses((status = 200, description = "It lives", content_type = "text/plain", body = String)))]
#[get("/healthz")]
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// Whether requests can be served. Without Redis they can: what is promised waits in Postgres.
#[utoipa::path(tag = "Operations",
    responses((status = 200, description = "They can", body = Readiness),
        (status = 503, description = "They can't", body = Readiness)))]
#[get("/readyz")]
pub async fn readyz(api: Data<Api>) -> HttpResponse {
    let mut probe = api.readiness.lock().await;
    let known = probe.as_ref().filter(|(began, _)| began.elapsed() < PROBE_TTL).map(|(_, known)| known.clone());
    let readiness = if let Some(known) = known {
        known
    } else {
        let began = Instant::now();
        let found = look(&api).await;
        *probe = Some((began, found.clone()));
        found
    };
    drop(probe);
    let ready = readiness.status != "unavailable";
    HttpResponse::build(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }).json(readiness)
}

async fn look(api: &Api) -> Readiness {
    let (schema, redis) = tokio::join!(
        tokio::time::timeout(PROBE_TIMEOUT, api.store.schema_version()),
        tokio::time::timeout(PROBE_TIMEOUT, api.queue.ping()),
    );
    let redis = if matches!(redis, Ok(Ok(()))) { None } else { Some("down") };
    let Ok(Ok(version)) = schema else {
        return Readiness { status: "unavailable", redis, postgres: Some("down"), schema: None };
    };
    match version.problem() {
        None => Readiness { status: if redis.is_none() { "ok" } else { "degraded" }, redis, ..Readiness::default() },
        Some(problem) => {
            let schema = Some(format!("{problem}; run `metriqlab migrate`"));
            Readiness { status: "unavailable", redis, schema, ..Readiness::default() }
        }
    }
}

/// The process's metrics, for Prometheus.
#[utoipa::path(tag = "Operations",
    responses((status = 200, description = "Text format 0.0.4", content_type = "text/plain", body = String)))]
#[get("/metrics")]
pub async fn show_metrics(api: Data<Api>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(api.metrics.render())
}

/// This document.
#[utoipa::path(tag = "Operations",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = Object)))]
#[get("/openapi.json")]
pub async fn show_openapi(document: Data<Document>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document.json())
}
