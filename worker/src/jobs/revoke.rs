//! Revocation: ends the authorization on the platform, then erases the creator. Never given up.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::ids::{JobId, ProjectId};
use shared::queue::{Delivery, Lane, Message};
use shared::store::StoreError;
use shared::store::disconnects::Leaving;
use shared::store::jobs::{Job, JobKind};
use shared::store::single_flight::OpenSync;
use shared::tokens::{Hold, TokenError};
use tokio_util::sync::CancellationToken;

use super::{Context, Halt};

/// How long a revocation waits for a renewal or a connection of the same account before it gives its slot back.
const LEASE_WAIT: Duration = Duration::from_secs(3);
/// How long it waits when its lease ended before its work did.
const LEASE_LOST: Duration = Duration::from_secs(1);

/// Revokes and erases. `Ok`: the job's last word is written.
pub(super) async fn run(context: &Arc<Context>, delivery: &Delivery, job: &Job) -> Result<(), Halt> {
    let Some(leaving) = context.store.leaving_creator(job.creator_id).await? else {
        // A new connection of the account, or an earlier start of this job, has erased it.
        return finish_empty(context, job).await;
    };
    let departure = Departure { context: Arc::clone(context), job: job.clone(), leaving };
    // Also when this job is stopped: a pair that was renewed must be saved, and what a call has done be seen to.
    context.tokens.to_the_end(departure.end(delivery.stop.clone())).await?
}

async fn finish_empty(context: &Context, job: &Job) -> Result<(), Halt> {
    if context.store.finish_empty_disconnect(job.fence()).await? { Ok(()) } else { Err(Halt::Superseded) }
}

/// A creator's end. The authorization and the row end under the lease of the account's tokens: nobody connects the account
/// meanwhile, and of two projects that let go at once one is the last.
struct Departure {
    context: Arc<Context>,
    job: Job,
    leaving: Leaving,
}

impl Departure {
    async fn end(self, stop: CancellationToken) -> Result<(), Halt> {
        let Self { context, job, .. } = &self;
        let Some(hold) = self.hold().await? else { return finish_empty(context, job).await };
        let ended = self.end_authorization(&hold, &stop).await;
        context.tokens.release(hold).await;
        let ended = ended?;
        // Without the lease, which is far shorter than this may take: who connects the account again does not wait for it.
        self.erase(&stop).await?;
        let Some(hold) = self.hold().await? else { return finish_empty(context, job).await };
        let finished = self.finish(&hold, ended, &stop).await;
        context.tokens.release(hold).await;
        finished
    }

    /// The lease; `None`: the account was erased since this job looked for it.
    async fn hold(&self) -> Result<Option<Hold>, Halt> {
        match self.context.tokens.hold(self.leaving.credential, LEASE_WAIT).await {
            Ok(hold) => Ok(Some(hold)),
            Err(TokenError::Gone) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Revokes the authorization, unless others hold the account. Gives which consent's has ended, if one has.
    async fn end_authorization(&self, hold: &Hold, stop: &CancellationToken) -> Result<Option<DateTime<Utc>>, Halt> {
        let Self { context, leaving, .. } = self;
        if context.store.is_held_by_others(leaving.credential, leaving.id).await? {
            tracing::info!(creator = %leaving.id, "the account is only let go of: another project holds it");
            return Ok(None);
        }
        let revoked = context.tokens.revoke(hold, stop).await;
        if matches!(revoked, Ok(_) | Err(TokenError::Platform(_))) && !context.tokens.still_holds(hold).await? {
            self.ask_for_a_verdict(hold).await;
        }
        let revoked = revoked.map_err(still_to_revoke)?;
        tracing::info!(creator = %leaving.id, ?revoked, "the authorization is revoked");
        Ok(Some(hold.granted_at()))
    }

    async fn erase(&self, stop: &CancellationToken) -> Result<(), Halt> {
        let mut after = None;
        loop {
            after = self.context.store.erase_video_history(self.leaving.id, after.as_deref()).await?;
            if after.is_none() {
                return Ok(());
            }
            // A long past takes minutes: the next start goes on from here, and finds the tokens revoked.
            if stop.is_cancelled() {
                return Err(TokenError::Interrupted.into());
            }
        }
    }

    async fn finish(&self, hold: &Hold, ended: Option<DateTime<Utc>>, stop: &CancellationToken) -> Result<(), Halt> {
        // The last one ends the authorization. Meanwhile others may have let go, or connected the account and let go.
        if ended != Some(hold.granted_at()) {
            self.end_authorization(hold, stop).await?;
        }
        let Self { context, job, leaving } = self;
        if context.store.finish_disconnect(job.fence(), leaving.credential, hold.owner()).await? {
            return Ok(());
        }
        // The lease or the job is another's by now. The fence tells which: if the job is, the postponement writes nothing.
        Err(Halt::NotNow(LEASE_LOST))
    }

    /// The lease was lost under a call to the platform. Whoever connected the account meanwhile may have got a grant that
    /// this call has ended: a sync finds out. docs/internals.md: never silently dead.
    async fn ask_for_a_verdict(&self, hold: &Hold) {
        if let Err(error) = self.sync_who_is_connected(hold).await {
            tracing::error!(%error, "a connection may be dead, and no sync of it could be asked for");
        }
    }

    async fn sync_who_is_connected(&self, hold: &Hold) -> Result<(), StoreError> {
        let Context { store, queue, .. } = &*self.context;
        for (project, creator) in store.connected_creators(&hold.account()).await? {
            tracing::warn!(%creator, "an authorization was revoked late: a sync will tell whether the new one lives");
            let told = match store.open_sync(project, creator, None).await? {
                OpenSync::New(id) => queue.push(Lane::Sync, &sync(id, project), None).await.map(|_| ()),
                OpenSync::Shared { id, promoted: true } => queue.promote(Lane::Bulk, &sync(id, project)).await,
                OpenSync::Shared { .. } | OpenSync::ReauthorizationRequired | OpenSync::NotFound => Ok(()),
            };
            if let Err(error) = told {
                tracing::debug!(%error, "the sweeper will push it");
            }
        }
        Ok(())
    }
}

fn sync(id: JobId, project: ProjectId) -> Message {
    Message { id, kind: JobKind::Sync.to_string(), trace: None, group: Some(project.into()) }
}

/// A revocation is never given up: what ends a sync is here one more reason to try again.
fn still_to_revoke(error: TokenError) -> Halt {
    match Halt::from(error) {
        Halt::Fail(failure) | Halt::Refused(failure) => Halt::Retry(failure),
        // The account was erased: by a new connection, or a later start of this job. Either has written its last word.
        Halt::Disconnected => Halt::Superseded,
        halt => halt,
    }
}
