//! What operators have said of the lanes: kept here and not in Redis, so that it outlives a flush.

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use strum::{AsRefStr, Display, EnumString};

use super::audit::{self, Action, By};
use super::jobs::JobState;
use super::schema::{jobs, lanes};
use super::{Store, StoreError};
use crate::queue::Lane;

/// Whether a lane's jobs run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, AsRefStr, Display, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum LaneState {
    /// As ever.
    #[default]
    Open,
    /// Nothing is fetched and nothing fed; what runs goes on to its end.
    Paused,
    /// No scheduled or bulk job is made or fed; what is in Redis runs on.
    Draining,
    /// A later version's state, which this one does not know. The lane is held: waiting loses nothing.
    Unknown,
}

impl LaneState {
    /// Whether workers may fetch from the lane.
    pub fn is_fetched(self) -> bool {
        matches!(self, Self::Open | Self::Draining)
    }

    /// Whether jobs that wait in Postgres may go on to the lane.
    pub fn is_fed(self) -> bool {
        self == Self::Open
    }

    /// Whether the schedule and the batches may make jobs for the lane. For one that is paused they do: the jobs wait in
    /// Postgres.
    pub fn takes_new(self) -> bool {
        matches!(self, Self::Open | Self::Paused)
    }
}

/// A lane's state, and since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneSetting {
    /// The state.
    pub state: LaneState,
    /// When an operator last changed it; `None` if nobody ever did.
    pub changed_at: Option<DateTime<Utc>>,
}

/// What operators have said of all lanes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneSettings {
    revoke: LaneSetting,
    sync: LaneSetting,
    bulk: LaneSetting,
}

impl LaneSettings {
    /// What was said of `lane`.
    pub fn of(&self, lane: Lane) -> LaneSetting {
        match lane {
            Lane::Revoke => self.revoke,
            Lane::Sync => self.sync,
            Lane::Bulk => self.bulk,
        }
    }

    fn note(&mut self, lane: Lane, setting: LaneSetting) {
        match lane {
            Lane::Revoke => self.revoke = setting,
            Lane::Sync => self.sync = setting,
            Lane::Bulk => self.bulk = setting,
        }
    }
}

impl Store {
    /// What operators have said of the lanes. A few rows: workers ask every second.
    pub async fn lane_settings(&self) -> Result<LaneSettings, StoreError> {
        let mut connection = self.connection().await?;
        let rows: Vec<(String, String, DateTime<Utc>)> =
            lanes::table.select((lanes::lane, lanes::state, lanes::changed_at)).load(&mut connection).await?;
        let mut settings = LaneSettings::default();
        for (lane, state, changed_at) in rows {
            // A lane that this version does not know has no jobs here.
            let Ok(lane) = lane.parse::<Lane>() else { continue };
            let state = state.parse().unwrap_or(LaneState::Unknown);
            settings.note(lane, LaneSetting { state, changed_at: Some(changed_at) });
        }
        Ok(settings)
    }

    /// Sets a lane's state for the whole fleet, with a line in the log of the installation, and gives the one before. Workers
    /// read it within a second. A state that nobody can ask for changes nothing.
    pub async fn set_lane(&self, by: By<'_>, lane: Lane, state: LaneState) -> Result<LaneState, StoreError> {
        let before = self.lane_settings().await?.of(lane).state;
        let action = match state {
            LaneState::Open => Action::LaneResumed,
            LaneState::Paused => Action::LanePaused,
            LaneState::Draining => Action::LaneDrained,
            LaneState::Unknown => return Ok(before),
        };
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                write(connection, lane, state).await?;
                audit::write_of_all(connection, by, action, lane.as_str()).await
            })
            .await?;
        Ok(before)
    }

    /// How many open jobs of `lane` were handed to Redis: none, and the lane is empty, whatever Redis has forgotten.
    pub async fn open_in_redis(&self, lane: Lane) -> Result<i64, StoreError> {
        let mut connection = self.connection().await?;
        Ok(jobs::table
            .filter(jobs::state.eq_any(JobState::IN_REDIS))
            .filter(jobs::lane.eq(lane))
            .count()
            .get_result(&mut connection)
            .await?)
    }
}

async fn write(connection: &mut AsyncPgConnection, lane: Lane, state: LaneState) -> QueryResult<()> {
    diesel::insert_into(lanes::table)
        .values((lanes::lane.eq(lane.as_str()), lanes::state.eq(state.as_ref())))
        .on_conflict(lanes::lane)
        .do_update()
        .set((lanes::state.eq(excluded(lanes::state)), lanes::changed_at.eq(now)))
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_a_later_version_holds_the_lane() {
        let state: LaneState = "throttled".parse().unwrap_or(LaneState::Unknown);
        assert!(!state.is_fetched() && !state.is_fed() && !state.takes_new());
    }

    #[test]
    fn a_lane_that_drains_is_fetched_and_gets_nothing_new() {
        let draining = LaneState::Draining;
        assert!(draining.is_fetched() && !draining.is_fed() && !draining.takes_new());
        assert!(LaneState::Paused.takes_new() && !LaneState::Paused.is_fetched() && !LaneState::Paused.is_fed());
        assert_eq!("draining".parse(), Ok(draining));
    }
}
