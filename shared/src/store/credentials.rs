//! Tokens at rest: one row per account of a platform, one lease for whoever renews, revokes or replaces them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::creators::Status;
use super::schema::{creators, credentials};
use super::time::{Now, from_now, present};
use super::{Store, StoreError};
use crate::ids::{CreatorId, CredentialId};
use crate::platforms::Platform;

/// An account of a platform, as one app knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The platform.
    pub platform: Platform,
    /// The app's public id there (TikTok: the client key); account ids differ from app to app.
    pub app: String,
    /// The account's id.
    pub external_id: String,
}

/// A pair of tokens, sealed. No `Debug`: it holds what the tokens are made of.
#[derive(Clone, Queryable, Selectable)]
#[diesel(table_name = credentials)]
#[allow(missing_docs, reason = "the columns are described in the migrations")]
pub struct Credential {
    pub id: CredentialId,
    pub platform: Platform,
    pub app: String,
    pub external_id: String,
    pub access_token: Vec<u8>,
    pub refresh_token: Option<Vec<u8>>,
    pub scopes: String,
    /// Rises with every new pair.
    pub version: i64,
    pub issued_at: DateTime<Utc>,
    pub access_expires_at: DateTime<Utc>,
    pub refresh_expires_at: Option<DateTime<Utc>>,
    pub granted_at: DateTime<Utc>,
    pub dead_reason: Option<String>,
    /// When this was read, by the clock that the other times are by.
    #[diesel(select_expression = present())]
    #[diesel(select_expression_type = Now)]
    pub read_at: DateTime<Utc>,
}

impl Credential {
    /// The account that the tokens are of.
    pub fn account(&self) -> Account {
        Account { platform: self.platform, app: self.app.clone(), external_id: self.external_id.clone() }
    }
}

/// A new pair, sealed, with the lifetimes that the platform gave.
#[derive(Clone)]
pub struct SealedPair {
    /// The access token.
    pub access_token: Vec<u8>,
    /// The refresh token; `None` keeps the stored one (an empty answer never overwrites it).
    pub refresh_token: Option<Vec<u8>>,
    /// Separated by commas.
    pub scopes: String,
    /// From now.
    pub access_expires_in: Duration,
    /// From now; `None` keeps what is stored.
    pub refresh_expires_in: Option<Duration>,
}

/// What came of asking for the lease of an account's tokens.
pub enum Lease {
    /// It is the caller's until it expires.
    Taken(Box<Credential>),
    /// Somebody else renews, revokes or replaces them right now.
    Held,
    /// There are no such tokens.
    NoCredential,
}

impl Store {
    /// The tokens of an account.
    pub async fn credential(&self, id: CredentialId) -> Result<Option<Credential>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(credentials::table.find(id).select(Credential::as_select()).first(&mut connection).await.optional()?)
    }

    /// Takes the lease of a credential for `owner`, who must be done, or gone, within `term`.
    pub async fn lease_credential(&self, id: CredentialId, owner: Uuid, term: Duration) -> Result<Lease, StoreError> {
        let mut connection = self.connection().await?;
        let free = credentials::lease_expires_at
            .is_null()
            .or(credentials::lease_expires_at.lt(now))
            .or(credentials::lease_owner.eq(owner));
        let taken: Option<Credential> = diesel::update(credentials::table.find(id).filter(free))
            .set((credentials::lease_owner.eq(owner), credentials::lease_expires_at.eq(from_now(term).nullable())))
            .returning(Credential::as_returning())
            .get_result(&mut connection)
            .await
            .optional()?;
        if let Some(credential) = taken {
            return Ok(Lease::Taken(Box::new(credential)));
        }
        let exists = diesel::select(diesel::dsl::exists(credentials::table.find(id))).get_result(&mut connection);
        Ok(if exists.await? { Lease::Held } else { Lease::NoCredential })
    }

    /// The same, by account: for a connection, which does not know whether there is a row.
    pub async fn lease_account(&self, account: &Account, owner: Uuid, term: Duration) -> Result<Lease, StoreError> {
        let mut connection = self.connection().await?;
        let id: Option<CredentialId> = credentials::table
            .filter(credentials::platform.eq(account.platform))
            .filter(credentials::app.eq(&account.app))
            .filter(credentials::external_id.eq(&account.external_id))
            .select(credentials::id)
            .first(&mut connection)
            .await
            .optional()?;
        drop(connection);
        match id {
            Some(id) => self.lease_credential(id, owner, term).await,
            None => Ok(Lease::NoCredential),
        }
    }

    /// Begins the term of `owner`'s lease anew. `false`: it is not `owner`'s any more. One that has ended, and that nobody
    /// took since, still is; one that somebody took and gave back is not, though it is free.
    pub async fn extend_lease(&self, id: CredentialId, owner: Uuid, term: Duration) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let extended = diesel::update(credentials::table.find(id).filter(credentials::lease_owner.eq(owner)))
            .set(credentials::lease_expires_at.eq(from_now(term).nullable()))
            .execute(&mut connection)
            .await?;
        Ok(extended == 1)
    }

    /// Gives the lease back, if it still is `owner`'s.
    pub async fn release_lease(&self, id: CredentialId, owner: Uuid) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        diesel::update(credentials::table.find(id).filter(credentials::lease_owner.eq(owner)))
            .set((credentials::lease_owner.eq(None::<Uuid>), credentials::lease_expires_at.eq(None::<DateTime<Utc>>)))
            .execute(&mut connection)
            .await?;
        Ok(())
    }

    /// Saves a renewed pair if the pair that it renews is still the stored one, and gives its version. It also heals
    /// creators that were marked because of an older pair, whatever became of the job that fetched it.
    pub async fn save_pair(&self, id: CredentialId, renews: i64, pair: &SealedPair) -> Result<Option<i64>, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let version: Option<i64> =
                    diesel::update(credentials::table.find(id).filter(credentials::version.eq(renews)))
                        .set((
                            credentials::access_token.eq(&pair.access_token),
                            pair.refresh_token.as_ref().map(|token| credentials::refresh_token.eq(token)),
                            credentials::scopes.eq(&pair.scopes),
                            credentials::version.eq(next_version()),
                            credentials::issued_at.eq(now),
                            credentials::access_expires_at.eq(from_now(pair.access_expires_in)),
                            pair.refresh_expires_in
                                .map(|term| credentials::refresh_expires_at.eq(from_now(term).nullable())),
                            credentials::dead_reason.eq(None::<String>),
                        ))
                        .returning(credentials::version)
                        .get_result(connection)
                        .await
                        .optional()?;
                if version.is_some() {
                    heal(connection, id).await?;
                }
                Ok(version)
            })
            .await
    }

    /// Stores the same pair sealed anew, with the current encryption key; `false` if there is a newer pair already.
    pub async fn reseal_pair(
        &self,
        id: CredentialId,
        version: i64,
        access_token: &[u8],
        refresh_token: Option<&[u8]>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let updated = diesel::update(credentials::table.find(id).filter(credentials::version.eq(version)))
            .set((credentials::access_token.eq(access_token), credentials::refresh_token.eq(refresh_token)))
            .execute(&mut connection)
            .await?;
        Ok(updated == 1)
    }

    /// Declares the pair of that version dead, and its creators in need of a new connection. `false`: there is a newer
    /// pair, which this verdict says nothing about.
    pub async fn mark_dead(&self, id: CredentialId, version: i64, reason: &str) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let marked = diesel::update(credentials::table.find(id).filter(credentials::version.eq(version)))
                    .set(credentials::dead_reason.eq(reason))
                    .execute(connection)
                    .await?;
                if marked == 1 {
                    require_reauthorization(connection, id, reason).await?;
                }
                Ok(marked == 1)
            })
            .await
    }

    /// The platform says that an account's authorization was removed at `removed_at`. `false`: nothing of ours, or an
    /// older connection's removal, which must not end the present one.
    pub async fn note_removal(
        &self,
        account: &Account,
        removed_at: DateTime<Utc>,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let marked: Option<CredentialId> = diesel::update(
                    credentials::table
                        .filter(credentials::platform.eq(account.platform))
                        .filter(credentials::app.eq(&account.app))
                        .filter(credentials::external_id.eq(&account.external_id))
                        .filter(credentials::granted_at.le(removed_at)),
                )
                .set(credentials::dead_reason.eq(reason))
                .returning(credentials::id)
                .get_result(connection)
                .await
                .optional()?;
                if let Some(id) = marked {
                    require_reauthorization(connection, id, reason).await?;
                }
                Ok(marked.is_some())
            })
            .await
    }

    /// Whether another creator than this one holds the same account (one being disconnected counts: the last one to go
    /// revokes).
    pub async fn is_held_by_others(&self, id: CredentialId, creator: CreatorId) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        Ok(diesel::select(diesel::dsl::exists(
            creators::table.filter(creators::credential_id.eq(id)).filter(creators::id.ne(creator)),
        ))
        .get_result(&mut connection)
        .await?)
    }
}

/// Versions come from one sequence, so that one is never used twice, not even by a row that was made anew.
pub(super) fn next_version() -> diesel::expression::SqlLiteral<diesel::sql_types::BigInt> {
    diesel::dsl::sql("nextval('credential_version')")
}

/// A good pair is there: creators that were marked because of an older one are well again.
pub(super) async fn heal(connection: &mut AsyncPgConnection, id: CredentialId) -> QueryResult<()> {
    diesel::update(
        creators::table
            .filter(creators::credential_id.eq(id))
            .filter(creators::status.eq(Status::ReauthorizationRequired)),
    )
    .set((creators::status.eq(Status::Active), creators::status_reason.eq(None::<String>)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn require_reauthorization(
    connection: &mut AsyncPgConnection,
    id: CredentialId,
    reason: &str,
) -> QueryResult<()> {
    diesel::update(creators::table.filter(creators::credential_id.eq(id)))
        .set((creators::status.eq(Status::ReauthorizationRequired), creators::status_reason.eq(reason)))
        .execute(connection)
        .await?;
    Ok(())
}
