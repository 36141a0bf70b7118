//! The schedule: due creators become jobs that wait in Postgres, from where a few at a time [go on](super::feeder) to Redis.
//!
//! Every worker calls these; none leads. Whoever makes many jobs at once holds one lock while it does, so that two such
//! statements never wait for each other's rows.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, By, Deed};
use super::creators::Creator;
use super::schema::{creators, projects};
use super::{Store, StoreError};
use crate::cadence::{Cadence, PAUSED, ResyncEvery};
use crate::ids::{CreatorId, ProjectId};

/// Held by a transaction that makes jobs by the hundred.
const MAKER_LOCK: i64 = 0x6d65_7472_6971_6d6b;
/// Seconds until the next turn of a creator whose cadence was just reset to the default: soon, and from there the cadence
/// goes on by itself.
const SOON: i32 = 15 * 60;
/// Creators of one statement that changes a project's turns.
const CHUNK: i64 = 1000;

/// What a client changes of a creator; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreatorChange {
    /// How old its data may get.
    pub every: Option<ResyncEvery>,
    /// The client's own name for it.
    pub external_ref: RefChange,
}

impl CreatorChange {
    /// What is changed, for the log; `None`: nothing.
    fn words(&self) -> Option<&'static str> {
        match (self.every.is_some(), self.external_ref != RefChange::Keep) {
            (true, true) => Some("how often it is synced, externalRef"),
            (true, false) => Some("how often it is synced"),
            (false, true) => Some("externalRef"),
            (false, false) => None,
        }
    }
}

/// What becomes of the client's own name for a creator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RefChange {
    /// It stays.
    #[default]
    Keep,
    /// It has none from now on.
    Remove,
    /// It is this one from now on.
    Set(String),
}

/// What a look at the due creators came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Claimed {
    /// Creators whose time had come.
    #[diesel(sql_type = BigInt)]
    pub looked_at: i64,
    /// Jobs made for them. The others have an open job, or are paused.
    #[diesel(sql_type = BigInt)]
    pub made: i64,
}

#[derive(QueryableByName)]
struct Locked {
    #[diesel(sql_type = Bool)]
    taken: bool,
}

/// How far a walk over a project's creators has come.
#[derive(QueryableByName)]
struct PulledIn {
    #[diesel(sql_type = BigInt)]
    looked_at: i64,
    #[diesel(sql_type = BigInt)]
    moved: i64,
    /// The last one; none, and the walk is at its start, or at its end.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    connected_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    id: Option<CreatorId>,
}

impl PulledIn {
    const START: Self = Self { looked_at: 0, moved: 0, connected_at: None, id: None };
}

/// What the creators need, by their cadence.
#[derive(Debug, Clone, Copy, PartialEq, QueryableByName)]
pub struct Forecast {
    /// Active creators that the schedule syncs.
    #[diesel(sql_type = BigInt)]
    pub creators: i64,
    /// Syncs a minute; each reads one profile.
    #[diesel(sql_type = Double)]
    pub syncs_per_minute: f64,
    /// Pages of videos a minute: the recent ones at each of these syncs, the others as often as all are read. Of a creator
    /// whose recent ones are not known yet, all at each sync.
    #[diesel(sql_type = Double)]
    pub pages_per_minute: f64,
}

impl Store {
    /// Makes jobs for at most `limit` due creators, and moves their next time, in one transaction. A creator with an open job
    /// gets no second one. `default` is how old data may get where nobody says otherwise; `None` is as old as it likes.
    ///
    /// `None` if another process is at it.
    pub async fn claim_due(&self, default: Option<Duration>, limit: i64) -> Result<Option<Claimed>, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                if !try_maker_lock(connection).await? {
                    return Ok(None);
                }
                let claimed = sql_query(include_str!("claim_due.sql"))
                    .bind::<BigInt, _>(seconds(default))
                    .bind::<BigInt, _>(limit)
                    .bind::<BigInt, _>(seconds(Some(PAUSED)))
                    .get_result(connection)
                    .await?;
                Ok(Some(claimed))
            })
            .await
    }

    /// Brings the next time of at most `limit` creators inside the default, which was longer when it was set. They are
    /// spread over it. Gives their number.
    pub async fn pull_in(&self, default: Duration, limit: i64) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sql_query(
            "UPDATE creators SET next_sync_at = now() + random() * make_interval(secs => $1) WHERE id IN ( \
             SELECT id FROM creators \
             WHERE next_sync_at > now() + make_interval(secs => $1) AND next_sync_at IS NOT NULL \
             AND disconnecting_at IS NULL AND status = 'ACTIVE' AND resync_every IS NULL \
             AND (SELECT resync_every FROM projects WHERE projects.id = creators.project_id) IS NULL \
             ORDER BY next_sync_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)",
        )
        .bind::<BigInt, _>(seconds(Some(default)))
        .bind::<BigInt, _>(limit)
        .execute(&mut connection)
        .await?)
    }

    /// Sets how old a creator's data may get. `None` if the project has no such creator.
    pub async fn set_creator_resync(
        &self,
        project: ProjectId,
        id: CreatorId,
        every: ResyncEvery,
    ) -> Result<Option<Creator>, StoreError> {
        let change = CreatorChange { every: Some(every), ..CreatorChange::default() };
        self.change_creator(By::CommandLine, project, id, &change).await
    }

    /// Changes what a client may change of a creator, with a line in the log. `None` if the project has no such creator.
    pub async fn change_creator(
        &self,
        by: By<'_>,
        project: ProjectId,
        id: CreatorId,
        change: &CreatorChange,
    ) -> Result<Option<Creator>, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                if let Some(every) = change.every {
                    set_resync(connection, project, id, every).await?;
                }
                match &change.external_ref {
                    RefChange::Keep => {}
                    RefChange::Remove => set_ref(connection, project, id, None).await?,
                    RefChange::Set(name) => set_ref(connection, project, id, Some(name)).await?,
                }
                let changed: Option<Creator> = creators::table
                    .find(id)
                    .filter(creators::project_id.eq(project))
                    .filter(creators::disconnecting_at.is_null())
                    .select(Creator::as_select())
                    .first(connection)
                    .await
                    .optional()?;
                if let (Some(creator), Some(what)) = (&changed, change.words()) {
                    let name = creator.username.as_deref().unwrap_or(&creator.external_id);
                    let (action, subject) = (Action::CreatorChanged, format!("{name}: {what}"));
                    audit::write(connection, &Deed { project, actor: by, action, subject: &subject }).await?;
                }
                Ok(changed)
            })
            .await
    }

    /// Sets how old the data of a project's creators may get, where a creator does not say otherwise, and brings inside it
    /// the turns that lie further off. Gives the number of those; `None`: no such project.
    ///
    /// What it is broken off from doing, the same once more does.
    pub async fn set_project_resync(&self, project: ProjectId, every: ResyncEvery) -> Result<Option<i64>, StoreError> {
        let within = match every {
            ResyncEvery::Off => None,
            ResyncEvery::Every(every) => Some(every),
            // As the workers have it. Who is on no schedule is looked at again all the same.
            ResyncEvery::Default => {
                let pace = self.paces().await?.into_iter().next();
                Some(pace.and_then(|pace| pace.cadence.every).unwrap_or(PAUSED))
            }
        };
        let mut connection = self.connection().await?;
        let updated = diesel::update(projects::table.find(project))
            .set(projects::resync_every.eq(every.stored()))
            .execute(&mut connection)
            .await?;
        if updated == 0 {
            return Ok(None);
        }
        let Some(within) = within else { return Ok(Some(0)) };
        let (mut after, mut moved) = (PulledIn::START, 0);
        loop {
            after = pull_in_some(&mut connection, project, within, &after).await?;
            moved += after.moved;
            if after.looked_at < CHUNK {
                return Ok(Some(moved));
            }
        }
    }

    /// What the schedule will ask of the platform, at the present cadence. Reads all creators: for people, not for programs.
    pub async fn forecast(&self, cadence: Cadence) -> Result<Forecast, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sql_query(include_str!("forecast.sql"))
            .bind::<BigInt, _>(seconds(cadence.every))
            .bind::<BigInt, _>(seconds(Some(cadence.deep)))
            .get_result(&mut connection)
            .await?)
    }
}

/// Brings the next turns of a project's next [`CHUNK`] creators inside `within`, spread over it. It waits for a sync that is at
/// its last write, for that may have read the project's word before it was changed.
async fn pull_in_some(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    within: Duration,
    after: &PulledIn,
) -> QueryResult<PulledIn> {
    connection
        .transaction(async |connection| {
            maker_lock(connection).await?;
            sql_query(include_str!("pull_in_project.sql"))
                .bind::<SqlUuid, _>(project)
                .bind::<BigInt, _>(seconds(Some(within)))
                .bind::<Nullable<Timestamptz>, _>(after.connected_at)
                .bind::<Nullable<SqlUuid>, _>(after.id)
                .bind::<BigInt, _>(CHUNK)
                .get_result(connection)
                .await
        })
        .await
}

/// Sets the client's own name for a creator; what is the same already is not written.
async fn set_ref(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    id: CreatorId,
    name: Option<&str>,
) -> QueryResult<()> {
    let other = creators::table
        .find(id)
        .filter(creators::project_id.eq(project))
        .filter(creators::disconnecting_at.is_null())
        .filter(creators::external_ref.is_distinct_from(name));
    diesel::update(other).set(creators::external_ref.eq(name)).execute(connection).await?;
    Ok(())
}

/// Sets a creator's cadence, and when its next turn comes by it.
async fn set_resync(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    id: CreatorId,
    every: ResyncEvery,
) -> QueryResult<()> {
    sql_query(
        "UPDATE creators SET resync_every = $1, resync_gap = LEAST(resync_gap, NULLIF($1, 0)), \
         next_sync_at = LEAST(next_sync_at, now() + make_interval(secs => COALESCE(NULLIF($1, 0), $2))) \
         WHERE id = $3 AND project_id = $4 AND disconnecting_at IS NULL AND resync_every IS DISTINCT FROM $1",
    )
    .bind::<Nullable<BigInt>, _>(every.stored())
    .bind::<diesel::sql_types::Integer, _>(SOON)
    .bind::<SqlUuid, _>(id)
    .bind::<SqlUuid, _>(project)
    .execute(connection)
    .await?;
    Ok(())
}

/// As it is stored: 0 is never.
pub(super) fn seconds(span: Option<Duration>) -> i64 {
    span.map_or(0, |span| i64::try_from(span.as_secs()).unwrap_or(i64::MAX))
}

/// `false`: another process makes jobs at the moment, and will have made these too.
pub(super) async fn try_maker_lock(connection: &mut AsyncPgConnection) -> QueryResult<bool> {
    try_lock(connection, MAKER_LOCK).await
}

/// Takes one of the locks that stand for a kind of work, until the transaction ends. `false`: another process has it.
pub(super) async fn try_lock(connection: &mut AsyncPgConnection, lock: i64) -> QueryResult<bool> {
    let lock = sql_query("SELECT pg_try_advisory_xact_lock($1) AS taken").bind::<BigInt, _>(lock);
    lock.get_result::<Locked>(connection).await.map(|lock| lock.taken)
}

/// Waits for its turn to make jobs.
pub(super) async fn maker_lock(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(MAKER_LOCK).execute(connection).await.map(|_| ())
}
