//! A bulk resync.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::budget::Quota;
use shared::store::batches::{Ahead, Batch};
use utoipa::ToSchema;

use super::{instant, instant_or_null};

/// How far a bulk resync has come. `queued`, `running`, `done`, `failed` and `skipped` add up to `total`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Batch)]
pub struct BatchView {
    /// The batch's id.
    pub id: String,
    /// Creators that it is about.
    #[schema(example = 12345)]
    pub total: i64,
    /// Creators whose turn has not come.
    pub queued: i64,
    /// Creators that are being synced.
    pub running: i64,
    /// Creators whose sync is done.
    pub done: i64,
    /// Creators whose sync was given up, and those that must connect again.
    pub failed: i64,
    /// Creators that were disconnected meanwhile, or were no longer old enough when their turn came.
    pub skipped: i64,
    /// When it was asked for.
    #[serde(serialize_with = "instant")]
    pub created_at: DateTime<Utc>,
    /// When its last creator was settled.
    #[serde(serialize_with = "instant_or_null")]
    #[schema(required)]
    pub finished_at: Option<DateTime<Utc>>,
    /// When that may be, by the platform's quota and by what is ahead; null once it has finished.
    #[serde(serialize_with = "instant_or_null")]
    #[schema(required)]
    pub estimated_finish_at: Option<DateTime<Utc>>,
}

impl BatchView {
    /// `ahead` is what lies before its end; `None` once it has ended.
    pub fn new(batch: &Batch, ahead: Option<Ahead>, quota: Quota) -> Self {
        let estimate = ahead.map(|ahead| time_left(batch.open(), &ahead, quota));
        Self {
            queued: batch.queued(),
            running: batch.running,
            done: batch.done,
            failed: batch.failed,
            skipped: batch.skipped,
            total: batch.total,
            created_at: batch.created_at,
            finished_at: batch.finished_at,
            estimated_finish_at: estimate
                .and_then(|left| Utc::now().checked_add_signed(chrono::Duration::from_std(left).ok()?)),
            id: batch.id.to_string(),
        }
    }
}

/// The time that the quota takes for what is ahead, this batch's own syncs among it, on the endpoint that needs most: a page
/// of videos or more for each sync. While this project has its own requests, each of the others has as many at most.
pub fn time_left(open: i64, ahead: &Ahead, quota: Quota) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let own = ahead.syncs.max(open) as f64 * ahead.pages.max(1.0);
    let others: f64 = ahead.others.iter().map(|theirs| theirs.min(own)).sum();
    Duration::try_from_secs_f64((own + others) / f64::from(quota.requests.max(1)) * quota.window.as_secs_f64())
        .unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_what_the_quota_takes_for_its_own_and_as_much_of_each_other_project() {
        let quota = Quota { requests: 600, window: Duration::from_secs(60) };
        let left = |open, syncs, pages, others: &[f64]| {
            time_left(open, &Ahead { syncs, pages, others: others.to_vec() }, quota)
        };
        assert_eq!(left(10, 6000, 1.0, &[]), Duration::from_secs(600));
        assert_eq!(left(10, 6000, 2.5, &[]), Duration::from_secs(1500));
        assert_eq!(left(600, 0, 0.0, &[]), Duration::from_secs(60));
        assert_eq!(left(5, 5, 1.0, &[1e6]), Duration::from_secs(1), "a large project is ahead with five");
        assert_eq!(left(600, 600, 1.0, &[10.0, 20.0, 1e6]), Duration::from_secs(123));
        let _ = left(i64::MAX, i64::MAX, f64::MAX, &[f64::MAX, f64::MAX]);
    }
}
