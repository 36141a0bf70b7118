//! Revocation: ends the authorization on the platform, then erases the creator. Never given up.

use std::time::Duration;

use shared::store::jobs::Job;
use shared::tokens::TokenError;

use super::{Context, Halt};

/// How long a revocation waits for a renewal or a connection of the same account before it gives its slot back.
const LEASE_WAIT: Duration = Duration::from_secs(3);
/// How long it waits when its lease ended before its work did.
const LEASE_LOST: Duration = Duration::from_secs(1);

/// Revokes and erases. `Ok`: the job's last word is written.
pub(super) async fn run(context: &Context, job: &Job) -> Result<(), Halt> {
    let Some(leaving) = context.store.leaving_creator(job.creator_id).await? else {
        // A new connection of the account, or an earlier start of this job, has erased it.
        return finish_empty(context, job).await;
    };
    let hold = match context.tokens.hold(leaving.credential, LEASE_WAIT).await {
        Ok(hold) => hold,
        // Erased between the two looks.
        Err(TokenError::Gone) => return finish_empty(context, job).await,
        Err(error) => return Err(error.into()),
    };
    // With the lease: nobody connects the account meanwhile, and of two projects that let go at once one is the last.
    match context.store.is_held_by_others(leaving.credential, leaving.id).await {
        Ok(true) => tracing::info!(creator = %leaving.id, "the account is only let go of: another project holds it"),
        Ok(false) => match context.tokens.revoke(&hold).await {
            Ok(revoked) => tracing::info!(creator = %leaving.id, ?revoked, "the authorization is revoked"),
            Err(error) => {
                context.tokens.release(hold).await;
                return Err(still_to_revoke(error));
            }
        },
        Err(error) => {
            context.tokens.release(hold).await;
            return Err(error.into());
        }
    }
    if context.store.finish_disconnect(job.fence(), leaving.credential, hold.owner()).await? {
        return Ok(());
    }
    // The lease or the job is another's by now. The fence tells which: if the job is, the postponement writes nothing.
    Err(Halt::NotNow(LEASE_LOST))
}

async fn finish_empty(context: &Context, job: &Job) -> Result<(), Halt> {
    if context.store.finish_empty_disconnect(job.fence()).await? { Ok(()) } else { Err(Halt::Superseded) }
}

/// A revocation is never given up: what ends a sync is here one more reason to try again.
fn still_to_revoke(error: TokenError) -> Halt {
    match Halt::from(error) {
        Halt::Fail(failure) => Halt::Retry(failure),
        halt => halt,
    }
}
