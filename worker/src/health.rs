//! `/metrics`, `/healthz` and `/readyz` of a worker process.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::header;
use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;
use shared::platforms::tiktok::TikTok;
use shared::queue::{Liveness, Queue};
use shared::store::Store;
use shared::telemetry::{self, Metrics};
use tokio_util::task::AbortOnDropHandle;

/// A worker that has fetched nothing for so long, not even an empty answer, hangs.
const STALE: Duration = Duration::from_secs(60);

/// What the answers are made of.
#[derive(Clone)]
pub(crate) struct State {
    store: Store,
    queue: Queue,
    liveness: Liveness,
    metrics: Option<Metrics>,
    slots: usize,
}

impl State {
    /// A worker with so many `slots` for jobs.
    pub(crate) fn new(store: Store, queue: Queue, liveness: Liveness, metrics: Option<Metrics>, slots: usize) -> Self {
        Self { store, queue, liveness, metrics, slots }
    }
}

/// The server of one worker.
pub(crate) struct Server {
    addr: SocketAddr,
    handle: ServerHandle,
    watching: Option<AbortOnDropHandle<()>>,
}

impl Server {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) async fn stop(self) {
        drop(self.watching);
        self.handle.stop(true).await;
    }
}

/// Serves `state` on `address`, and what is to be measured of the calls to `tiktok`.
pub(crate) fn serve(address: SocketAddr, state: State, tiktok: TikTok) -> std::io::Result<Server> {
    let watching = state.metrics.clone().map(|metrics| {
        let (store, queue) = (state.store.clone(), state.queue.clone());
        AbortOnDropHandle::new(tokio::spawn(telemetry::watch(metrics, store, queue, tiktok)))
    });
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
    Ok(Server { addr, handle, watching })
}

async fn render(state: web::Data<State>) -> HttpResponse {
    let Some(metrics) = &state.metrics else { return HttpResponse::NotFound().finish() };
    crate::measure::worker(state.slots, state.liveness.running(), state.liveness.last_fetch_age());
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(metrics.render())
}

async fn healthz(state: web::Data<State>) -> HttpResponse {
    health(&state, STALE).await
}

/// Alive is who fetches. With a Redis that is away or refuses nobody can, and a restart would not help.
async fn health(state: &State, limit: Duration) -> HttpResponse {
    let age = state.liveness.last_fetch_age();
    let body = json!({ "status": if age < limit { "ok" } else { "stale" }, "lastFetchSeconds": age.as_secs_f64() });
    if state.liveness.last_word_age() < limit || state.queue.ping().await.is_err() {
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
    if let Some(problem) = version.problem() {
        return unready("schema", &format!("{problem}; run `metriqlab migrate`"));
    }
    if state.queue.ping().await.is_err() {
        return HttpResponse::Ok().json(json!({ "status": "degraded", "redis": "down" }));
    }
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

fn unready(what: &str, why: &str) -> HttpResponse {
    HttpResponse::ServiceUnavailable().json(json!({ "status": "unavailable", what: why }))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use actix_web::http::StatusCode;
    use secrecy::SecretString;
    use shared::ids::JobId;
    use shared::queue::{Final, Outcome, WorkerPool, WorkerSettings};

    use super::*;

    fn queue(url: &str) -> Queue {
        Queue::connect(url, &format!("test-{}", JobId::new())).expect("a queue")
    }

    fn worker(queue: &Queue) -> WorkerPool {
        let settings = WorkerSettings { safety_poll: Duration::from_millis(100), ..WorkerSettings::default() };
        WorkerPool::start(queue, settings, async |_| Outcome::Final(Final::Done))
    }

    #[tokio::test]
    async fn a_deaf_worker_is_not_alive_unless_redis_is_away() {
        const STALE: Duration = Duration::from_secs(3);
        let redis = std::env::var("METRIQLAB_TEST_REDIS_URL").expect("run the tests with `make test`");
        let store = Store::open(&SecretString::from("postgres://nobody@127.0.0.1:1/none"), 1).expect("a store");
        let (here, away) = (queue(&redis), queue("redis://127.0.0.1:1"));
        let state = |queue: &Queue, liveness| State::new(store.clone(), queue.clone(), liveness, None, 1);
        let hearing = worker(&here);
        // A pool that is dropped fetches no more: these are deaf, and the second has no Redis.
        let (deaf, cut_off) = (state(&here, worker(&here).liveness()), state(&away, worker(&away).liveness()));
        let began = Instant::now();
        while health(&deaf, STALE).await.status() == StatusCode::OK {
            assert!(began.elapsed() < Duration::from_secs(60), "a deaf worker is taken for alive");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(began.elapsed() > STALE / 2, "too soon");
        assert_eq!(health(&state(&here, hearing.liveness()), STALE).await.status(), StatusCode::OK);
        assert!(cut_off.liveness.last_fetch_age() > STALE / 2);
        assert_eq!(health(&cut_off, Duration::ZERO).await.status(), StatusCode::OK);
        hearing.stop(Duration::ZERO).await;
    }
}
