//! Sync: token, profile, all pages of videos, and one last write that makes the result visible and the job done.

use shared::platforms::{Profile, Scopes};
use shared::queue::Delivery;
use shared::store::jobs::{Failure, Job};
use shared::store::syncs::{SyncResult, SyncTarget};

use super::calls::Calls;
use super::{Context, Halt, listing};

/// Reads everything that the creator granted and writes it. `Ok`: the job's last word is written.
pub(super) async fn run(context: &Context, delivery: &Delivery, job: &Job) -> Result<(), Halt> {
    let target = context.store.sync_target(job.creator_id).await?.ok_or(Halt::Disconnected)?;
    let token = context.tokens.usable(target.credential).await?;
    let mut calls = Calls::new(context, delivery, target.credential, token);
    let (profile, refused) = read_profile(&mut calls).await?;
    if let Some(profile) = &profile {
        check_account(profile, &target)?;
    }
    let listing = listing::read(&mut calls, job.fence()).await?;
    let not_granted = context.tiktok.scopes().missing_from(calls.granted());
    let missing = join(&[&not_granted, &refused, &listing.refused]);
    let listed: Option<Vec<String>> = listing.complete.then(|| listing.seen.into_iter().collect());
    let result = SyncResult {
        profile: profile.as_ref(),
        videos: &listing.unwritten,
        listing: listed.as_deref(),
        missing_scopes: &missing,
    };
    Ok(context.store.finish_sync(job.fence(), &result).await?)
}

/// The profile as far as it was granted, and the scopes that the platform refuses although they were: the creator has
/// withdrawn them since the last renewal. The platform refuses a request as a whole, so it is asked for less until it
/// accepts.
async fn read_profile(calls: &mut Calls<'_>) -> Result<(Option<Profile>, Scopes), Halt> {
    let granted = calls.granted().clone();
    let mut asked = granted.clone();
    loop {
        match calls.profile(&asked).await? {
            Ok(profile) => return Ok((Some(profile), granted.missing_from(&asked))),
            Err(refused) => {
                let fewer = asked.missing_from(&refused);
                if fewer == asked {
                    // Nothing of the profile is left to ask for.
                    return Ok((None, granted.missing_from(&asked)));
                }
                asked = fewer;
            }
        }
    }
}

/// All of them, each once.
fn join(scopes: &[&Scopes]) -> String {
    scopes.iter().flat_map(|scopes| scopes.iter()).collect::<Scopes>().to_string()
}

/// Another account's data is never written, whatever the platform answers.
fn check_account(profile: &Profile, target: &SyncTarget) -> Result<(), Halt> {
    if profile.external_id.as_ref().is_some_and(|id| *id != target.external_id) {
        tracing::error!("the platform answered with another account's profile");
        return Err(Halt::Retry(Failure {
            code: "platform_error",
            message: "the platform answered with another account's profile".to_owned(),
            log_id: None,
        }));
    }
    Ok(())
}
