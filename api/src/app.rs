//! What the handlers share, and the app that is built around it.

use std::sync::Arc;
use std::time::Duration;

use actix_cors::{Cors, CorsError};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::{Condition, Next, from_fn};
use actix_web::web::{self, Data};
use actix_web::{App, Error, HttpRequest, HttpResponse};
use shared::crypto::KeyRing;
use shared::overview::Looker;
use shared::platforms::tiktok::TikTok;
use shared::queue::{ProgressEar, Queue, Waiter};
use shared::settings::ApiSettings;
use shared::store::{Store, StoreError};
use shared::telemetry::Metrics;
use shared::tokens::Tokens;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use utoipa_actix_web::AppExt as _;
use utoipa_actix_web::scope::scope;

use crate::assets;
use crate::auth::{self, KeyCache, require_key};
use crate::console::{self, Console};
use crate::conventions;
use crate::docs::{self, Site};
use crate::error::ApiError;
use crate::error_docs::ErrorDocs;
use crate::idempotency;
use crate::limits::Limits;
use crate::links;
use crate::observe::observe;
use crate::openapi::{self, Document};
use crate::prefer;
use crate::request_id;
use crate::routes::{batches, connect, creators, health, jobs, oauth, webhooks};
use crate::trace;
use crate::unread;

/// How long Postgres may take over one call before the client is told that it is unavailable. Above the store's own limit
/// for a connection (3 s), so that the better words win.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that a handler needs.
pub struct Api {
    /// The API's section of the settings.
    pub settings: ApiSettings,
    /// Postgres.
    pub store: Store,
    /// Redis's lanes.
    pub queue: Queue,
    /// Who is told of a job's last word.
    pub waiter: Waiter,
    /// Who is told how far a job is.
    pub progress: ProgressEar,
    /// TikTok's client.
    pub tiktok: TikTok,
    /// Tokens at rest.
    pub tokens: Tokens,
    /// Seals what is stored and holds a secret.
    pub keyring: Arc<KeyRing>,
    /// Where errors are explained.
    pub error_docs: ErrorDocs,
    /// The process's metrics.
    pub metrics: Metrics,
    /// The limits at the front door.
    pub limits: Limits,
    /// What is known about keys.
    pub keys: KeyCache,
    /// What the dashboard keeps in memory.
    pub console: Console,
    /// Looks at the fleet, for operators.
    pub looker: Looker,
    /// What `readyz` has found out.
    pub readiness: health::Probe,
    /// Set when the server stops: who waits for a job is answered 202.
    pub stopping: CancellationToken,
    /// The runtime that the server was started on. What must go on when a client hangs up runs there.
    pub runtime: Handle,
}

impl Api {
    /// What the store says, or `unavailable` if it takes too long.
    pub async fn within<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, ApiError> {
        match tokio::time::timeout(STORE_TIMEOUT, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ApiError::Unavailable(format!("Postgres did not answer within {STORE_TIMEOUT:?}"))),
        }
    }

    /// Runs `work` to its end, whether the client is still there or not.
    pub async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        match self.runtime.spawn(work.in_current_span()).await {
            Ok(result) => result,
            Err(error) => Err(ApiError::Internal(format!("a task ended early: {error}"))),
        }
    }
}

/// The app: every route, behind the layers that all requests or all API requests pass.
pub fn build(
    api: Data<Api>,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>,
> {
    let v1 = scope("/v1")
        .service(connect::tiktok::connect_tiktok)
        .service(creators::list::list_creators)
        .service(creators::bulk::sync_creators)
        // Before `/creators/{id}`, which would take it for a creator.
        .route("/creators/sync", web::to(no_route))
        .service(creators::profile::show_profile)
        .service(creators::videos::list_videos)
        .service(creators::history::show_creator_history)
        .service(creators::history::show_video_history)
        .service(creators::sync::sync_creator)
        .service(creators::one::show_creator)
        .service(creators::change::change_creator)
        .service(creators::disconnect::disconnect_creator)
        .service(batches::show_batch)
        .service(jobs::show_job);
    let origins = api.settings.cors_origins.clone();
    let public_url = api.settings.public_url.clone();
    let (app, mut document) = App::new()
        .app_data(api)
        .into_utoipa_app()
        .openapi(openapi::base())
        // The key stands before the whole of /api, the unknown routes included.
        .service(scope("/api").service(v1).default_service(web::to(no_route)).wrap(from_fn(require_key)))
        .service(oauth::tiktok_callback::tiktok_callback)
        .service(webhooks::tiktok::tiktok_webhook)
        .service(health::healthz)
        .service(health::readyz)
        .service(health::show_metrics)
        .service(health::show_openapi)
        .split_for_parts();
    conventions::apply(&mut document);
    links::apply(&mut document);
    app.app_data(Data::new(Document::new(&document)))
        .app_data(Data::new(Site::new(&document, &public_url)))
        .service(assets::resource())
        .service(console::scope())
        .route("/", web::get().to(console::front_door))
        .route("/", web::to(not_at_the_front_door))
        .configure(docs::configure)
        .default_service(web::to(no_route))
        .wrap(Condition::new(!origins.is_empty(), cors(&origins)))
        .wrap(from_fn(enveloped_cors))
        .wrap(from_fn(observe))
        .wrap(from_fn(unread::hold))
}

/// A path that no route has, or not with this method.
async fn no_route(request: HttpRequest, document: Data<Document>) -> Result<HttpResponse, ApiError> {
    match document.methods_of(request.match_info().as_str()) {
        Some(allow) => Err(ApiError::MethodNotAllowed { allow: allow.to_owned() }),
        None => Err(ApiError::NotFound("route")),
    }
}

/// The bare address has no other method.
async fn not_at_the_front_door() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed { allow: "GET, HEAD".to_owned() })
}

/// Puts the refusal of a preflight into the envelope, where people who try it by hand read it.
async fn enveloped_cors(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    let refusal = response.response().error().and_then(|error| error.as_error::<CorsError>()).map(ToString::to_string);
    match refusal {
        None => Ok(response),
        Some(refusal) => {
            let (request, _) = response.into_parts();
            Ok(ServiceResponse::from_err(ApiError::InvalidRequest(format!("CORS: {refusal}")), request))
        }
    }
}

/// What browsers on the given origins may send and see.
fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allowed_headers([
            auth::HEADER,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            idempotency::HEADER,
            prefer::PREFER,
            request_id::HEADER,
            trace::HEADER,
        ])
        .expose_headers([
            request_id::HEADER,
            header::ETAG,
            idempotency::REPLAYED,
            header::LOCATION,
            header::RETRY_AFTER,
            prefer::PREFERENCE_APPLIED,
            header::HeaderName::from_static("ratelimit"),
            header::HeaderName::from_static("ratelimit-policy"),
            header::HeaderName::from_static("ratelimit-limit"),
            header::HeaderName::from_static("ratelimit-remaining"),
            header::HeaderName::from_static("ratelimit-reset"),
        ])
        .max_age(600);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
