//! What the workers go by, as they say it again and again, for those who look at the fleet with other settings than theirs.

use std::time::Duration;

use diesel::dsl::{IntervalDsl as _, now};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use diesel_async::RunQueryDsl;

use super::schedule::seconds;
use super::schema::worker_paces;
use super::{Store, StoreError};
use crate::budget::Quota;
use crate::cadence::{Cadence, DEEP, RECENT};
use crate::ids::WorkerId;

/// The most workers that are read.
const MOST: i64 = 1000;

/// A worker's cadence and quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Its schedule.
    pub cadence: Cadence,
    /// What each of TikTok's endpoints allows.
    pub quota: Quota,
}

/// How old data may get, how far back each turn reads, and how old the rest may get, as stored.
type Reads = (i64, Option<i64>, Option<i64>);

/// A worker of the version before has no setting for how far back it reads.
fn cadence((every, recent, deep): Reads) -> Cadence {
    let span = |seconds: i64| Duration::from_secs(positive(seconds));
    Cadence {
        every: Some(span(every)).filter(|every| !every.is_zero()),
        recent: recent.map_or(RECENT, span),
        deep: deep.map_or(DEEP, span),
    }
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Store {
    /// Notes what a worker goes by, and that it lives.
    pub async fn note_pace(&self, worker: WorkerId, pace: Pace) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        let window = i64::try_from(pace.quota.window.as_millis()).unwrap_or(i64::MAX);
        let said = (
            worker_paces::resync_every.eq(seconds(pace.cadence.every)),
            worker_paces::resync_recent.eq(seconds(Some(pace.cadence.recent))),
            worker_paces::resync_deep.eq(seconds(Some(pace.cadence.deep))),
            worker_paces::quota.eq(i64::from(pace.quota.requests)),
            worker_paces::window_ms.eq(window),
            worker_paces::seen_at.eq(now),
        );
        diesel::insert_into(worker_paces::table)
            .values((worker_paces::worker.eq(worker), said))
            .on_conflict(worker_paces::worker)
            .do_update()
            .set(said)
            .execute(&mut connection)
            .await?;
        Ok(())
    }

    /// What the workers go by that were heard of within a minute, each pace once, that of the worker that was started last
    /// first: one, if they agree. If none lives, what the last one went by; nothing, if there was none for a day.
    pub async fn paces(&self) -> Result<Vec<Pace>, StoreError> {
        let is_alive = worker_paces::seen_at.gt(now.into_sql::<Timestamptz>() - 1.minute());
        let reads = (worker_paces::resync_every, worker_paces::resync_recent, worker_paces::resync_deep);
        let mut connection = self.connection().await?;
        let rows: Vec<(bool, Reads, i64, i64)> = worker_paces::table
            .order((is_alive.desc(), worker_paces::worker.desc()))
            .select((is_alive, reads, worker_paces::quota, worker_paces::window_ms))
            .limit(MOST)
            .load(&mut connection)
            .await?;
        let mut paces = Vec::new();
        for (is_alive, reads, quota, window) in rows {
            let pace = Pace {
                cadence: cadence(reads),
                quota: Quota {
                    requests: u32::try_from(quota).unwrap_or(u32::MAX),
                    window: Duration::from_millis(positive(window)),
                },
            };
            if (is_alive || paces.is_empty()) && !paces.contains(&pace) {
                paces.push(pace);
            }
        }
        Ok(paces)
    }

    /// Forgets workers that were not heard of for a day.
    pub async fn prune_paces(&self) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        let day_ago = now.into_sql::<Timestamptz>() - 1.day();
        Ok(diesel::delete(worker_paces::table.filter(worker_paces::seen_at.lt(day_ago)))
            .execute(&mut connection)
            .await?)
    }
}
