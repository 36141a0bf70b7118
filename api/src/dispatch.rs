//! From a promise in Postgres to a message in Redis. The row is committed first; a push that fails leaves it to the
//! sweeper (DESIGN, "the row and the push").

use std::time::Duration;

use actix_web::web::Data;
use futures::future::{join, join_all, join3};
use shared::ids::{ApiKeyId, CreatorId, JobId, ProjectId};
use shared::people::Email;
use shared::queue::{Final, Lane, Message, QueueError, Watching};
use shared::store::audit::By;
use shared::store::disconnects::Disconnect;
use shared::store::jobs::JobKind;
use shared::store::single_flight::OpenSync;
use tracing::{Instrument as _, Span, debug_span};

use crate::app::Api;
use crate::error::ApiError;
use crate::trace::TraceContext;

/// How long a caller is held up by a Redis that does not answer.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// Who asks, for the audit log.
pub enum Asker {
    /// A member of the project, by hand.
    Member(Email),
    /// A program, by its key.
    Key(ApiKeyId),
}

impl Asker {
    fn by(&self) -> By<'_> {
        match self {
            Self::Member(email) => By::User(email),
            Self::Key(id) => By::Key(*id),
        }
    }
}

/// An open job that somebody is about to wait for.
pub struct Queued {
    /// The job.
    pub id: JobId,
    /// Tells its last word.
    pub watching: Watching,
    /// Its last word, if it was said before anybody watched.
    pub ended: Option<Final>,
}

impl Queued {
    /// From here on the request's lines in the log name the job.
    fn new(id: JobId, watching: Watching, ended: Option<Final>) -> Self {
        Span::current().record("job_id", tracing::field::display(id));
        Self { id, watching, ended }
    }
}

/// Queues a sync of a creator, or joins the one that is open. Goes on if the client hangs up. Has a line in the log if `by` says
/// by whom: a program's syncs are too many for that.
pub async fn sync(
    api: &Data<Api>,
    project: ProjectId,
    creator: CreatorId,
    trace: TraceContext,
    by: Option<Asker>,
) -> Result<Queued, ApiError> {
    let work = Data::clone(api);
    api.detached(async move {
        let (store, as_text) = (&work.store, Some(trace.as_str()));
        let opened = match &by {
            Some(by) => work.within(store.open_sync_by(by.by(), project, creator, as_text)).await?,
            None => work.within(store.open_sync(project, creator, as_text)).await?,
        };
        match opened {
            OpenSync::New(id) => {
                let watching = work.waiter.watch(id);
                push(&work, Lane::Sync, &message(id, JobKind::Sync, project, &trace)).await;
                Ok(Queued::new(id, watching, None))
            }
            OpenSync::Shared { id, promoted } => {
                let watching = work.waiter.watch(id);
                if promoted {
                    tell(work.queue.promote(Lane::Bulk, &message(id, JobKind::Sync, project, &trace))).await;
                }
                // It may have ended between the two statements, before this watch began.
                let ended = watching.check_now().await;
                Ok(Queued::new(id, watching, ended))
            }
            OpenSync::ReauthorizationRequired => Err(ApiError::ReauthorizationRequired),
            OpenSync::NotFound => Err(ApiError::NotFound("creator")),
        }
    })
    .await
}

/// Hides a creator and queues its revocation, or joins the one that is open. Goes on if the client hangs up.
pub async fn disconnect(
    api: &Data<Api>,
    project: ProjectId,
    creator: CreatorId,
    trace: TraceContext,
    by: Asker,
) -> Result<Queued, ApiError> {
    let work = Data::clone(api);
    api.detached(async move {
        let hiding = work.store.disconnect_by(by.by(), project, creator, Some(trace.as_str()));
        match work.within(hiding).await? {
            Disconnect::New { id, cancelled } => {
                let watching = work.waiter.watch(id);
                let message = message(id, JobKind::Revoke, project, &trace);
                let cancelling = join_all(cancelled.into_iter().map(|sync| cancel(&work, sync)));
                join(push(&work, Lane::Revoke, &message), cancelling).await;
                Ok(Queued::new(id, watching, None))
            }
            Disconnect::Shared(id) => {
                let watching = work.waiter.watch(id);
                let ended = watching.check_now().await;
                Ok(Queued::new(id, watching, ended))
            }
            Disconnect::NotFound => Err(ApiError::NotFound("creator")),
        }
    })
    .await
}

/// Tells the workers that a lane was paused or let go; without Redis they read it within a second.
pub async fn announce_lanes(api: &Api) {
    tell(api.queue.announce_lanes()).await;
}

/// Sends the first sync of a new connection on its way, and tells who waits for the disconnects that it completed.
pub async fn after_connect(
    api: &Api,
    project: ProjectId,
    sync: Option<JobId>,
    completed: &[JobId],
    trace: &TraceContext,
) {
    for job in completed {
        tell(api.queue.notify(*job, &Final::Done)).await;
        tell(api.queue.forget(Lane::Revoke, *job)).await;
    }
    if let Some(id) = sync {
        Span::current().record("job_id", tracing::field::display(id));
        push(api, Lane::Sync, &message(id, JobKind::Sync, project, trace)).await;
    }
}

/// Tells who waits for a sync that will not be done, and takes it out of whichever lane it is in.
async fn cancel(api: &Api, sync: JobId) {
    // Boxed: they are large, each with a connection to be made.
    Box::pin(join3(
        tell(api.queue.notify(sync, &Final::Cancelled)),
        tell(api.queue.forget(Lane::Sync, sync)),
        tell(api.queue.forget(Lane::Bulk, sync)),
    ))
    .await;
}

/// The projects take turns, in the lanes and at the budget.
fn message(id: JobId, kind: JobKind, project: ProjectId, trace: &TraceContext) -> Message {
    Message { id, kind: kind.to_string(), trace: Some(trace.as_str().to_owned()), group: Some(project.into()) }
}

/// Sends an open job on its way.
pub async fn push(api: &Api, lane: Lane, message: &Message) {
    let span = debug_span!("push", otel.kind = "producer", lane = lane.as_str());
    tell(api.queue.push(lane, message, None)).instrument(span).await;
}

/// Says something to Redis. That it did not get through is no failure: the rows stand, and the sweeper reads them.
async fn tell<T>(call: impl Future<Output = Result<T, QueueError>>) {
    match tokio::time::timeout(REDIS_TIMEOUT, call).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "Redis was not told; the sweeper will do it"),
        Err(_) => tracing::warn!("Redis does not answer; the sweeper will do it"),
    }
}
