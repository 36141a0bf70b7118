//! `/metrics`, `/healthz` and `/readyz` of a worker process.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::header;
use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;
use shared::queue::{Liveness, Queue};
use shared::store::Store;
use shared::telemetry::Metrics;

/// A worker that has fetched nothing for so long, not even an empty answer, hangs.
const STALE: Duration = Duration::from_secs(60);
const UPKEEP: Duration = Duration::from_secs(5);

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct State {
    store: Store,
    queue: Queue,
    liveness: Liveness,
    metrics: Option<Metrics>,
}

impl State {
    pub(crate) fn new(store: Store, queue: Queue, liveness: Liveness, metrics: Option<Metrics>) -> Self {
        Self { store, queue, liveness, metrics }
    }
}

/// The server of one worker.
pub(crate) struct Server {
    addr: SocketAddr,
    handle: ServerHandle,
    upkeep: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) async fn stop(self) {
        self.upkeep.abort();
        self.handle.stop(true).await;
    }
}

/// Serves `state` on `address`.
pub(crate) fn serve(address: SocketAddr, state: State) -> std::io::Result<Server> {
    let metrics = state.metrics.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(state.clone()))
            .route("/metrics", web::get().to(render))
            .route("/healthz", web::get().to(healthz))
            .route("/readyz", web::get().to(readyz))
    })
    .workers(1)
    .shutdown_timeout(1)
    .disable_signals()
    .bind(address)?;
    let addr = server.addrs().first().copied().unwrap_or(address);
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    let upkeep = tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            if let Some(metrics) = &metrics {
                metrics.run_upkeep();
            }
        }
    });
    Ok(Server { addr, handle, upkeep })
}

async fn render(state: web::Data<State>) -> HttpResponse {
    let Some(metrics) = &state.metrics else { return HttpResponse::NotFound().finish() };
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(metrics.render())
}

/// Alive is who fetches. With Redis away nobody can, and a restart would not help.
async fn healthz(state: web::Data<State>) -> HttpResponse {
    let age = state.liveness.last_fetch_age();
    let body = json!({ "status": if age < STALE { "ok" } else { "stale" }, "lastFetchSeconds": age.as_secs_f64() });
    if age < STALE || state.queue.ping().await.is_err() {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

async fn readyz(state: web::Data<State>) -> HttpResponse {
    let version = match state.store.schema_version().await {
        Ok(version) => version,
        Err(error) => return unready("postgres", &error.to_string()),
    };
    if !version.is_sufficient() {
        let found = version.found.as_deref().unwrap_or("none");
        return unready("schema", &format!("found {found}, needed {}: run `metriqlab migrate`", version.expected));
    }
    if state.queue.ping().await.is_err() {
        return HttpResponse::Ok().json(json!({ "status": "degraded", "redis": "down" }));
    }
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

fn unready(what: &str, why: &str) -> HttpResponse {
    HttpResponse::ServiceUnavailable().json(json!({ "status": "unavailable", what: why }))
}
