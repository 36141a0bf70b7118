//! Sync: token, profile, all pages of videos, and one last write that makes the result visible and the job done.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use shared::cadence::{self, Cadence};
use shared::platforms::{Profile, Scopes};
use shared::queue::{Delivery, Step};
use shared::store::jobs::{Failure, Job};
use shared::store::syncs::{Listed, SyncResult, SyncTarget, WriteError};

use super::calls::Calls;
use super::listing::Reached;
use super::progress::{Progress, Walked};
use super::{Context, Halt};

/// Reads what the creator granted and writes it: everything, if somebody asked for it; the recent videos, if the schedule
/// did and all of them were read not long ago. Goes on where an earlier start has left off. `Ok`: the job's last word is
/// written.
pub(super) async fn run(context: &Context, delivery: &Delivery, job: &Job) -> Result<(), Halt> {
    let (target, tokens) = context.store.sync_target(job.creator_id).await?.ok_or(Halt::Disconnected)?;
    let mut calls = Calls::new(context, delivery, job, &target, tokens).await?;
    let mut progress = Progress::resume(context, job, &calls, &target).await?;
    loop {
        let mut now = match progress.take() {
            Some(resumed) => resumed,
            None => Progress::begin(&mut calls, &target).await?,
        };
        match go_on(&mut now, &mut calls, job, &target).await {
            Ok(Walked::Through) => return Ok(()),
            Ok(Walked::Useless) => {}
            Err(halt) => {
                if halt.comes_back() {
                    now.park(context, job.fence()).await;
                }
                return Err(halt);
            }
        }
    }
}

/// Reads what is left and writes the last word.
async fn go_on(progress: &mut Progress, calls: &mut Calls<'_>, job: &Job, target: &SyncTarget) -> Result<Walked, Halt> {
    let mut until = if job.is_scheduled() { recent_enough(target, calls.context().cadence) } else { None };
    loop {
        calls.telling().update(|now| now.step = Step::Reading);
        if progress.walk(calls, job.fence(), until).await? == Walked::Useless {
            return Ok(Walked::Useless);
        }
        calls.telling().update(|now| now.step = Step::Writing);
        match finish(progress, calls, job).await {
            Err(WriteError::MoreWanted) if matches!(progress.listing.reached, Reached::Page(_)) => until = None,
            // It was all there, but too old for somebody who waits by now.
            Err(WriteError::MoreWanted) => return Ok(Walked::Useless),
            written => return Ok(written.map(|()| Walked::Through)?),
        }
    }
}

/// The age of a video beyond which this turn need not read; `None` if it is to read all.
fn recent_enough(target: &SyncTarget, set: Cadence) -> Option<DateTime<Utc>> {
    let now = Utc::now();
    let since_deep = target.deep_synced_at.map(|then| (now - then).to_std().unwrap_or_default());
    if cadence::is_deep_due(since_deep, set.deep) { None } else { Some(now - set.recent) }
}

/// The last write.
async fn finish(progress: &Progress, calls: &Calls<'_>, job: &Job) -> Result<(), WriteError> {
    let (context, listing) = (calls.context(), &progress.listing);
    let not_granted = context.tiktok.scopes().missing_from(calls.granted());
    let missing = join(&[&not_granted, &progress.refused, &listing.refused]);
    let ids: Vec<String> = listing.unwritten.iter().map(|video| video.external_id.clone()).collect();
    let listed = match listing.reached {
        Reached::End => Some(Listed { ids: &ids, down_to: None }),
        // Out of order it says nothing about what was not seen, but the walk stopped early all the same.
        Reached::Page(_) => {
            Some(Listed { ids: &ids, down_to: Some(listing.down_to().unwrap_or(DateTime::<Utc>::MAX_UTC)) })
        }
        Reached::Start | Reached::Stopped => None,
    };
    let result = SyncResult {
        profile: progress.profile.as_ref(),
        videos: &listing.unwritten,
        listing: listed,
        missing_scopes: &missing,
        checkpoints: progress.checkpoints,
        changed: progress.changed,
        stale: progress.is_stale(),
        resync_every: context.cadence.every,
        recent: context.cadence.recent,
    };
    context.store.finish_sync(job.fence(), &result).await
}

/// The profile as far as it was granted, and the scopes that the platform refuses although they were: the creator has
/// withdrawn them since the last renewal. The platform refuses a request as a whole, so it is asked for less until it
/// accepts.
pub(super) async fn read_profile(
    calls: &mut Calls<'_>,
    target: &SyncTarget,
) -> Result<(Option<Profile>, Scopes), Halt> {
    let granted = calls.granted().clone();
    let mut sets = VecDeque::from([granted.clone()]);
    let mut least = granted.clone();
    while let Some(asked) = sets.pop_front() {
        match calls.profile(&asked).await? {
            Ok(profile) => {
                check_account(&profile, target)?;
                return Ok((Some(profile), granted.missing_from(&asked)));
            }
            Err(suspects) if sets.is_empty() => sets.extend(fewer(&asked, &suspects)),
            Err(_) => {}
        }
        least = asked;
    }
    // Nothing of the profile was left to ask for.
    Ok((None, granted.missing_from(&least)))
}

/// What to ask for instead: all but one of the suspects, so that one withdrawn scope does not take the others with it; then
/// none of them.
fn fewer(asked: &Scopes, suspects: &Scopes) -> Vec<Scopes> {
    let without = |scopes: &Scopes| asked.missing_from(scopes);
    let suspects = asked.intersection(suspects);
    let mut sets: Vec<Scopes> = suspects.iter().map(|suspect| without(&Scopes::parse(suspect))).collect();
    if sets.len() > 1 {
        sets.push(without(&suspects));
    }
    sets
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

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_instead(asked: &str, suspects: &str) -> Vec<String> {
        fewer(&Scopes::parse(asked), &Scopes::parse(suspects)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn of_several_suspects_one_at_a_time_is_left_out_before_all_are() {
        assert_eq!(asked_instead("a,b,c", "b,c"), ["a,c", "a,b", "a"]);
        assert_eq!(asked_instead("a,b", "b"), ["a"]);
    }

    #[test]
    fn without_a_suspect_among_them_there_is_nothing_less_to_ask_for() {
        assert!(asked_instead("a", "b,c").is_empty());
        assert!(asked_instead("", "b").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn it_is_always_less(asked in "[a-f,]{0,12}", suspects in "[a-f,]{0,12}") {
            let asked = Scopes::parse(&asked);
            for set in fewer(&asked, &Scopes::parse(&suspects)) {
                proptest::prop_assert!(set.iter().count() < asked.iter().count());
            }
        }
    }
}
