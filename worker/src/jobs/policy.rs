//! When a job that failed is tried again.
//!
//! CONTRACT: an interactive sync tries 4 times within 15 s, a bulk sync 8 times within an hour, a revocation for ever, at
//! most hourly. Waits double from try to try, with full jitter: evenly spread between nothing and the most, so that jobs
//! that failed together do not come back together. Where somebody waits, between half and the most: those tries are few, and
//! are to outlast an outage of a few seconds.

use std::time::Duration;

use chrono::Utc;
use rand::Rng as _;
use shared::queue::Lane;
use shared::store::jobs::{Failure, Job, JobKind};

/// The longest waits after each failed try of a sync that somebody waits for, for 4 tries.
const INTERACTIVE: &[Duration] = &[Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// At most so long after its start comes the next try. With the last try's answer, 15 s in all.
const STEPS: &[Duration] = &[Duration::from_millis(5_500), Duration::from_secs(4), Duration::from_millis(3_500)];
/// How long each of these tries waits for its answers, all together. The first gives a slow platform a chance; the others have to fit.
const ANSWERS: &[Duration] =
    &[Duration::from_secs(5), Duration::from_secs(3), Duration::from_secs(2), Duration::from_millis(1_500)];
/// What is left for an answer at least, where those before it took all the time: after tokens and profile, for two answers.
const LEAST: Duration = Duration::from_millis(250);
/// The same for one that nobody waits for: 53 min in all, for 8 tries.
const BULK: &[Duration] = &[
    Duration::from_secs(25),
    Duration::from_secs(50),
    Duration::from_secs(100),
    Duration::from_secs(200),
    Duration::from_secs(400),
    Duration::from_secs(800),
    Duration::from_secs(1600),
];
/// A revocation's first wait, and its longest.
const REVOKE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3600));
/// A revocation that failed this often needs somebody to look.
const STUCK: i32 = 5;
/// So does one that is this old and can't be tried, because the platform is out of order.
const STUCK_AGE: Duration = Duration::from_secs(15 * 60);
/// How soon, and how late at most, a revocation asks again whether the platform is back.
const HELD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long to wait after the failed try number `attempts`, which took so long; `None`: it was the last one.
pub(super) fn next_try(kind: JobKind, lane: Lane, attempts: i32, took: Duration) -> Option<Duration> {
    let part = least_part(kind, lane)..=1.0;
    longest_wait(kind, lane, attempts, took).map(|longest| longest.mul_f64(rand::rng().random_range(part)))
}

/// Which part of the longest wait is waited at least.
fn least_part(kind: JobKind, lane: Lane) -> f64 {
    match (kind, lane) {
        (JobKind::Revoke, _) | (JobKind::Sync, Lane::Bulk) => 0.0,
        (JobKind::Sync, Lane::Sync | Lane::Revoke) => 0.5,
    }
}

fn longest_wait(kind: JobKind, lane: Lane, attempts: i32, took: Duration) -> Option<Duration> {
    let failed_before = failed_before(attempts);
    match (kind, lane) {
        (JobKind::Revoke, _) => {
            let (first, longest) = REVOKE;
            // 2 s doubled eleven times is more than an hour.
            let doublings = u32::try_from(failed_before.min(11)).unwrap_or(11);
            Some((first * 2_u32.pow(doublings)).min(longest))
        }
        (JobKind::Sync, Lane::Bulk) => BULK.get(failed_before).copied(),
        (JobKind::Sync, Lane::Sync | Lane::Revoke) => {
            let (longest, step) = (INTERACTIVE.get(failed_before)?, STEPS.get(failed_before)?);
            Some((*longest).min(step.saturating_sub(took)))
        }
    }
}

/// How long try number `attempts` of a sync that somebody waits for waits for its next answer, after it has waited for
/// others for so long.
pub(super) fn answer_limit(attempts: i32, waited: Duration) -> Duration {
    let all = ANSWERS.get(failed_before(attempts)).or(ANSWERS.last()).copied().unwrap_or_default();
    all.saturating_sub(waited).max(LEAST)
}

fn failed_before(attempts: i32) -> usize {
    usize::try_from(attempts.saturating_sub(1)).unwrap_or(0)
}

/// How long a job waits for Postgres: a second or two, never a tight loop.
pub(super) fn store_pause() -> Duration {
    Duration::from_millis(rand::rng().random_range(500..=2000))
}

/// The alarm of a revocation that does not get through: it is never given up, so nobody else says so.
pub(super) fn warn_if_stuck(job: &Job, attempts: i32, failure: &Failure, delay: Duration) {
    if job.kind == JobKind::Revoke && attempts >= STUCK {
        crate::measure::revocation_is_stuck();
        tracing::warn!(
            job = %job.id, creator = %job.creator_id, attempts, error = failure.message, ?delay,
            "an authorization can't be revoked yet"
        );
    } else {
        tracing::info!(attempts, code = failure.code, error = failure.message, ?delay, "the job will be tried again");
    }
}

/// How long a revocation waits that the platform's outage holds, and the alarm if it has for too long: no try of it fails,
/// so no other alarm would sound.
pub(super) fn held_revocation(job: &Job) -> Duration {
    let age = (Utc::now() - job.created_at).to_std().unwrap_or_default();
    if age > STUCK_AGE {
        crate::measure::revocation_is_stuck();
        tracing::warn!(job = %job.id, creator = %job.creator_id, ?age, "an authorization can't be revoked: the platform is out of order");
    }
    held_pause(age).mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// A new one has a client that waits. Of the old ones there may be many, and an outage may last for days.
fn held_pause(age: Duration) -> Duration {
    (age / 10).clamp(HELD.0, HELD.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The number of all tries, and the longest that they and their waits can take if none gets an answer before `answer`.
    fn tries(kind: JobKind, lane: Lane, answer: impl Fn(i32) -> Duration) -> (i32, Duration) {
        let wait = |attempts| longest_wait(kind, lane, attempts, answer(attempts));
        let waits: Vec<Duration> = (1..100).map_while(wait).collect();
        let tries = i32::try_from(waits.len() + 1).unwrap();
        (tries, waits.iter().sum::<Duration>() + (1..=tries).map(answer).sum::<Duration>())
    }

    #[test]
    fn an_interactive_sync_tries_four_times_within_fifteen_seconds_whether_the_platform_fails_or_hangs() {
        // Tokens, profile and the first page: the first answer takes a part of the time, the others all that they are given.
        let slow = |part: f64| {
            move |attempts| {
                let first = answer_limit(attempts, Duration::ZERO).mul_f64(part);
                let second = answer_limit(attempts, first);
                first + second + answer_limit(attempts, first + second)
            }
        };
        let mut answers: Vec<Box<dyn Fn(i32) -> Duration>> = vec![Box::new(|_| Duration::ZERO)];
        answers.extend([0.0, 0.5, 0.98, 1.0].map(|part| Box::new(slow(part)) as Box<dyn Fn(i32) -> Duration>));
        for answer in answers {
            let (tries, longest) = tries(JobKind::Sync, Lane::Sync, answer);
            assert_eq!(tries, 4);
            assert!(longest <= Duration::from_secs(15), "{longest:?}");
        }
    }

    #[test]
    fn a_bulk_sync_tries_eight_times_within_an_hour() {
        let (tries, longest) = tries(JobKind::Sync, Lane::Bulk, |_| Duration::from_secs(10));
        assert_eq!(tries, 8);
        assert!(longest <= Duration::from_secs(3600), "{longest:?}");
    }

    proptest! {
        #[test]
        fn a_revocation_is_never_given_up_and_tries_at_least_hourly(attempts in any::<i32>()) {
            let wait = next_try(JobKind::Revoke, Lane::Revoke, attempts, Duration::ZERO).expect("there is always another try");
            prop_assert!(wait <= Duration::from_secs(3600));
        }

        #[test]
        fn no_wait_is_longer_than_its_step(attempts in any::<i32>(), bulk in any::<bool>(), took in 0_u64..20) {
            let (lane, took) = (if bulk { Lane::Bulk } else { Lane::Sync }, Duration::from_secs(took));
            let longest = longest_wait(JobKind::Sync, lane, attempts, took);
            let wait = next_try(JobKind::Sync, lane, attempts, took);
            prop_assert_eq!(wait.is_some(), longest.is_some());
            prop_assert!(wait <= longest);
        }
    }

    #[test]
    fn a_held_revocation_asks_soon_while_a_client_may_wait_and_never_too_often() {
        let pauses = [0, 5, 60, 600, 86_400].map(|age| held_pause(Duration::from_secs(age)).as_secs());
        assert_eq!(pauses, [1, 1, 6, 60, 60]);
    }

    #[test]
    fn a_sync_that_somebody_waits_for_outlasts_an_outage_of_four_seconds() {
        for _ in 0..10_000 {
            // A platform that refuses at once leaves all the time to the waits.
            let wait = |attempts| next_try(JobKind::Sync, Lane::Sync, attempts, Duration::ZERO);
            let waits: Vec<Duration> = (1..100).map_while(wait).collect();
            assert_eq!(waits.len(), 3);
            assert!(waits.iter().sum::<Duration>() >= Duration::from_millis(4_500), "{waits:?}");
        }
    }

    #[test]
    fn jitter_uses_the_whole_range() {
        let waits: Vec<Duration> =
            (0..400).filter_map(|_| next_try(JobKind::Sync, Lane::Bulk, 7, Duration::ZERO)).collect();
        let longest = longest_wait(JobKind::Sync, Lane::Bulk, 7, Duration::ZERO).unwrap();
        assert!(waits.iter().any(|wait| *wait < longest / 4));
        assert!(waits.iter().any(|wait| *wait > longest * 3 / 4));
    }
}
