//! Connecting an account: one row and one id however often it is connected, always with the newest tokens.
#![allow(clippy::ref_option_ref, reason = "diesel's derive borrows the fields of a changeset")]

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::audit::{self, Action, By, Deed};
use super::creators::Status;
use super::credentials::{Account, SealedPair, heal, next_version};
use super::history::has_long_past;
use super::jobs::{JobKind, JobState};
use super::schema::{creators, credentials, jobs};
use super::single_flight::insert_sync;
use super::time::from_now;
use super::{Store, StoreError};
use crate::ids::{CreatorId, CredentialId, JobId, ProjectId};
use crate::platforms::Profile;

/// A consent that the platform turned into tokens.
#[derive(Clone)]
pub struct NewConnection {
    /// Whose creator it becomes.
    pub project: ProjectId,
    /// The account.
    pub account: Account,
    /// Its tokens.
    pub pair: SealedPair,
    /// When the platform gave them: of two consents at once, the later one's tokens stay.
    pub granted_at: DateTime<Utc>,
    /// The scopes that were asked for and not granted, separated by commas.
    pub missing_scopes: String,
    /// The client's own name for the creator; `None`: the one that it has, if it has one.
    pub external_ref: Option<String>,
    /// Who began the consent, as the log calls them; `None`: an older version has not noted it.
    pub begun_by: Option<String>,
    /// Who holds the lease of the account's tokens, where there were any.
    pub lease_owner: Uuid,
}

/// What a connection left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The creator.
    pub creator: CreatorId,
    /// The first full sync; `None` if a sync of that creator was open already.
    pub sync: Option<JobId>,
    /// Disconnects of the same account that this connection completed: their waiters are to be told.
    pub completed_disconnects: Vec<JobId>,
}

impl Store {
    /// Stores a connection and its first sync in one transaction. A disconnect of the same account under this project
    /// that is still under way ends here: the old data goes, and nothing revokes the new grant. One with a long past goes on:
    /// its job finds the account held, and only erases.
    ///
    /// The caller holds the lease of the account's tokens, or has seen that there are none. The lease ends here. Who began the
    /// consent has a line in the log.
    pub async fn connect(&self, new: &NewConnection, trace: Option<&str>) -> Result<Connected, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let pair = store_pair(connection, new).await?;
                let completed_disconnects = complete_disconnects(connection, new, pair.credential).await?;
                let creator = store_creator(connection, new, &pair).await?;
                if pair.dead_reason.is_none() {
                    heal(connection, pair.credential).await?;
                }
                let sync = insert_sync(connection, new.project, creator, trace).await?;
                note(connection, new, creator).await?;
                Ok(Connected { creator, sync, completed_disconnects })
            })
            .await
    }

    /// The creators of that account under this project that are on their way out.
    pub async fn leaving_creators(&self, project: ProjectId, account: &Account) -> Result<Vec<CreatorId>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(creators::table
            .inner_join(credentials::table)
            .filter(credentials::platform.eq(account.platform))
            .filter(credentials::app.eq(&account.app))
            .filter(credentials::external_id.eq(&account.external_id))
            .filter(creators::project_id.eq(project).and(creators::disconnecting_at.is_not_null()))
            .select(creators::id)
            .load(&mut connection)
            .await?)
    }

    /// Writes the profile that was read right after the consent, unless a sync has written a newer one.
    pub async fn save_first_profile(&self, creator: CreatorId, profile: &Profile) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        let row = creators::table
            .find(creator)
            .filter(creators::disconnecting_at.is_null())
            .filter(creators::last_synced_at.is_null());
        diesel::update(row).set(ProfileColumns::from(profile)).execute(&mut connection).await?;
        Ok(())
    }
}

async fn note(connection: &mut AsyncPgConnection, new: &NewConnection, creator: CreatorId) -> QueryResult<()> {
    let (actor, action) = (By::Noted(new.begun_by.as_deref()), Action::CreatorConnected);
    let subject = audit::creator_name(connection, creator).await?;
    audit::write(connection, &Deed { project: new.project, actor, action, subject: &subject }).await
}

/// The profile as columns; `None` is written as null: the platform did not say.
#[derive(AsChangeset)]
#[diesel(table_name = creators, treat_none_as_null = true)]
pub(super) struct ProfileColumns<'a> {
    username: Option<&'a str>,
    display_name: Option<&'a str>,
    bio: Option<&'a str>,
    avatar_url: Option<&'a str>,
    profile_url: Option<&'a str>,
    verified: Option<bool>,
    followers: Option<i64>,
    following: Option<i64>,
    likes: Option<i64>,
    video_count: Option<i64>,
}

impl<'a> From<&'a Profile> for ProfileColumns<'a> {
    fn from(profile: &'a Profile) -> Self {
        Self {
            username: profile.username.as_deref(),
            display_name: profile.display_name.as_deref(),
            bio: profile.bio.as_deref(),
            avatar_url: profile.avatar_url.as_deref(),
            profile_url: profile.profile_url.as_deref(),
            verified: profile.verified,
            followers: profile.followers,
            following: profile.following,
            likes: profile.likes,
            video_count: profile.video_count,
        }
    }
}

/// The pair that an account has after a connection.
struct StoredPair {
    credential: CredentialId,
    /// Why the platform refuses it, if it is a newer one than the connection's, and does.
    dead_reason: Option<String>,
}

/// Inserts or replaces the account's tokens; older ones than the stored are dropped. Locks the row either way.
async fn store_pair(connection: &mut AsyncPgConnection, new: &NewConnection) -> QueryResult<StoredPair> {
    let pair = &new.pair;
    let refresh_expires_at: Option<DateTime<Utc>> = pair
        .refresh_expires_in
        .and_then(|term| new.granted_at.checked_add_signed(chrono::Duration::from_std(term).ok()?));
    let columns = || {
        (
            credentials::access_token.eq(&pair.access_token),
            credentials::refresh_token.eq(&pair.refresh_token),
            credentials::scopes.eq(&pair.scopes),
            credentials::version.eq(next_version()),
            credentials::issued_at.eq(now),
            credentials::access_expires_at.eq(from_now(pair.access_expires_in)),
            credentials::refresh_expires_at.eq(refresh_expires_at),
            credentials::granted_at.eq(new.granted_at),
            credentials::dead_reason.eq(None::<String>),
            credentials::lease_owner.eq(None::<Uuid>),
            credentials::lease_expires_at.eq(None::<DateTime<Utc>>),
        )
    };
    let account = (
        credentials::platform.eq(new.account.platform),
        credentials::app.eq(&new.account.app),
        credentials::external_id.eq(&new.account.external_id),
    );
    // The row that an INSERT ran into may be deleted before it can be locked: then there is room for the INSERT.
    let (id, granted_at, dead_reason) = loop {
        let stored: Option<CredentialId> = diesel::insert_into(credentials::table)
            .values((credentials::id.eq(CredentialId::new()), account, columns()))
            .on_conflict((credentials::platform, credentials::app, credentials::external_id))
            .do_nothing()
            .returning(credentials::id)
            .get_result(connection)
            .await
            .optional()?;
        if let Some(id) = stored {
            return Ok(StoredPair { credential: id, dead_reason: None });
        }
        let known: Option<(CredentialId, DateTime<Utc>, Option<String>)> = credentials::table
            .filter(credentials::platform.eq(new.account.platform))
            .filter(credentials::app.eq(&new.account.app))
            .filter(credentials::external_id.eq(&new.account.external_id))
            .select((credentials::id, credentials::granted_at, credentials::dead_reason))
            .for_update()
            .first(connection)
            .await
            .optional()?;
        if let Some(known) = known {
            break known;
        }
    };
    if granted_at <= new.granted_at {
        diesel::update(credentials::table.find(id)).set(columns()).execute(connection).await?;
        return Ok(StoredPair { credential: id, dead_reason: None });
    }
    diesel::update(credentials::table.find(id).filter(credentials::lease_owner.eq(new.lease_owner)))
        .set((credentials::lease_owner.eq(None::<Uuid>), credentials::lease_expires_at.eq(None::<DateTime<Utc>>)))
        .execute(connection)
        .await?;
    Ok(StoredPair { credential: id, dead_reason })
}

/// Ends disconnects of the same account under this project: deletes the old creators and sets their jobs done. Those with a
/// long past are left to their jobs: whoever connects does not wait for it.
async fn complete_disconnects(
    connection: &mut AsyncPgConnection,
    new: &NewConnection,
    credential: CredentialId,
) -> QueryResult<Vec<JobId>> {
    let leaving: Vec<CreatorId> = account_of(new)
        .filter(creators::disconnecting_at.is_not_null())
        // The index of the account's creators holds those alone that stay.
        .filter(creators::credential_id.eq(credential))
        .select(creators::id)
        .for_update()
        .load(connection)
        .await?;
    let mut ending = Vec::new();
    for creator in leaving {
        if !has_long_past(connection, creator).await? {
            ending.push(creator);
        }
    }
    if ending.is_empty() {
        return Ok(Vec::new());
    }
    let completed = diesel::update(
        jobs::table
            .filter(jobs::creator_id.eq_any(&ending))
            .filter(jobs::kind.eq(JobKind::Revoke))
            .filter(jobs::state.eq_any(JobState::OPEN)),
    )
    .set((jobs::state.eq(JobState::Done), jobs::finished_at.eq(now)))
    .returning(jobs::id)
    .load(connection)
    .await?;
    diesel::delete(creators::table.filter(creators::id.eq_any(&ending))).execute(connection).await?;
    Ok(completed)
}

#[diesel::dsl::auto_type(no_type_alias)]
fn account_of<'a>(new: &'a NewConnection) -> _ {
    let project: ProjectId = new.project;
    let platform: crate::platforms::Platform = new.account.platform;
    let external_id: &'a str = new.account.external_id.as_str();
    creators::table
        .filter(creators::project_id.eq(project))
        .filter(creators::platform.eq(platform))
        .filter(creators::external_id.eq(external_id))
}

async fn store_creator(
    connection: &mut AsyncPgConnection,
    new: &NewConnection,
    pair: &StoredPair,
) -> QueryResult<CreatorId> {
    let status = if pair.dead_reason.is_none() { Status::Active } else { Status::ReauthorizationRequired };
    let known: Option<CreatorId> = diesel::update(account_of(new).filter(creators::disconnecting_at.is_null()))
        .set((
            creators::credential_id.eq(pair.credential),
            creators::status.eq(status),
            creators::status_reason.eq(&pair.dead_reason),
            creators::missing_scopes.eq(&new.missing_scopes),
            new.external_ref.as_ref().map(|external_ref| creators::external_ref.eq(external_ref)),
        ))
        .returning(creators::id)
        .get_result(connection)
        .await
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    // Two connections of one account can come here at once only without a stored credential, and then the second one
    // has waited at the first one's credential row; it finds the creator above.
    diesel::insert_into(creators::table)
        .values((
            creators::id.eq(CreatorId::new()),
            creators::project_id.eq(new.project),
            creators::credential_id.eq(pair.credential),
            creators::status.eq(status),
            creators::status_reason.eq(&pair.dead_reason),
            creators::platform.eq(new.account.platform),
            creators::external_id.eq(&new.account.external_id),
            creators::missing_scopes.eq(&new.missing_scopes),
            creators::external_ref.eq(&new.external_ref),
        ))
        .returning(creators::id)
        .get_result(connection)
        .await
}
