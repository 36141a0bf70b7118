//! What is set of a creator, and how old a project's data may get.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, By, Deed};
use super::creators::Creator;
use super::schedule::{maker_lock, seconds};
use super::schema::{creators, projects};
use super::{Store, StoreError};
use crate::cadence::{PAUSED, ResyncEvery};
use crate::ids::{CreatorId, ProjectId};
use crate::settings::resync_every_text;

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
    /// What it changes of such a creator, for the log; `None`: nothing.
    fn words(&self, before: &Creator) -> Option<&'static str> {
        let every = self.every.is_some_and(|every| every.stored() != before.resync_every);
        let own = match &self.external_ref {
            RefChange::Keep => false,
            RefChange::Remove => before.external_ref.is_some(),
            RefChange::Set(name) => before.external_ref.as_ref() != Some(name),
        };
        match (every, own) {
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

impl Store {
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

    /// Changes what a client may change of a creator, with a line in the log if it is not so already. `None` if the project has
    /// no such creator.
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
                let found = creators::table
                    .find(id)
                    .filter(creators::project_id.eq(project))
                    .filter(creators::disconnecting_at.is_null())
                    .select(Creator::as_select());
                // Held, so that of two who say the same one has changed it.
                let before: Option<Creator> = found.for_no_key_update().first(connection).await.optional()?;
                let Some(before) = before else { return Ok(None) };
                let Some(what) = change.words(&before) else { return Ok(Some(before)) };
                if let Some(every) = change.every {
                    set_resync(connection, project, id, every).await?;
                }
                match &change.external_ref {
                    RefChange::Keep => {}
                    RefChange::Remove => set_ref(connection, project, id, None).await?,
                    RefChange::Set(name) => set_ref(connection, project, id, Some(name)).await?,
                }
                let (action, subject) = (Action::CreatorChanged, format!("{}: {what}", before.name()));
                audit::write(connection, &Deed { project, actor: by, action, subject: &subject }).await?;
                Ok(found.first(connection).await.optional()?)
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
        if !set_project_word(&mut connection, project, every).await? {
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
}

/// Sets a project's word, with a line in the log if it had another. `false`: no such project.
async fn set_project_word(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    every: ResyncEvery,
) -> QueryResult<bool> {
    connection
        .transaction(async |connection| {
            let of_it = projects::table.find(project);
            let held = of_it.select(projects::resync_every).for_no_key_update();
            let before: Option<Option<i64>> = held.first(connection).await.optional()?;
            let Some(before) = before else { return Ok(false) };
            if before != every.stored() {
                diesel::update(of_it).set(projects::resync_every.eq(every.stored())).execute(connection).await?;
                let subject = match every.stored() {
                    Some(seconds) => resync_every_text(seconds),
                    None => "the default".to_owned(),
                };
                let (actor, action) = (By::CommandLine, Action::ProjectResyncChanged);
                audit::write(connection, &Deed { project, actor, action, subject: &subject }).await?;
            }
            Ok(true)
        })
        .await
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
