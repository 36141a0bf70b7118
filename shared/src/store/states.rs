//! OAuth states: a consent under way, used once, gone after ten minutes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, By, Deed};
use super::schema::oauth_states;
use super::time::{from_now, present};
use super::{Store, StoreError};
use crate::ids::ProjectId;
use crate::platforms::Platform;

/// How long a consent may take (CONTRACT: `POST /connect/tiktok`).
pub const STATE_LIFETIME: Duration = Duration::from_secs(600);

/// What was promised when the consent began.
#[derive(Clone, PartialEq, Eq, Queryable, Insertable)]
#[diesel(table_name = oauth_states)]
pub struct PendingConsent {
    /// Whose creator this will be.
    pub project_id: ProjectId,
    /// Which platform's consent page was shown.
    pub platform: Platform,
    /// Where the creator's browser goes afterwards.
    pub redirect_url: Option<String>,
    /// The client's own name for the creator.
    pub external_ref: Option<String>,
    /// The verifier behind the PKCE challenge that the consent page was given, sealed to the state.
    pub pkce_sealed: Option<Vec<u8>>,
    /// The same in plain text, of a consent that the version before has begun. Never written.
    #[diesel(skip_insertion)]
    pub pkce_verifier: Option<String>,
}

/// A consent that has begun, and who began it, as the log calls them; `None`: an older version has not noted it.
pub type Begun = (PendingConsent, Option<String>);
/// The same, when it ends, and when it was taken.
type Taken = (PendingConsent, Option<String>, DateTime<Utc>, DateTime<Utc>);

impl Store {
    /// Remembers a consent under the SHA-256 of its state, and who has begun it.
    pub async fn add_state(
        &self,
        by: By<'_>,
        state_hash: &[u8; 32],
        pending: &PendingConsent,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        Ok(insert(&mut connection, by, state_hash, pending).await?)
    }

    /// The same by somebody's hand: it has a line in the log, in the same transaction.
    pub async fn add_state_by(
        &self,
        deed: &Deed<'_>,
        state_hash: &[u8; 32],
        pending: &PendingConsent,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                insert(connection, deed.actor, state_hash, pending).await?;
                audit::write(connection, deed).await
            })
            .await
            .map_err(StoreError::from)
    }

    /// Takes a consent, with who has begun it, as the log calls them: who comes second, or too late, gets `None`.
    pub async fn take_state(&self, state_hash: &[u8; 32]) -> Result<Option<Begun>, StoreError> {
        let mut connection = self.connection().await?;
        let taken: Option<Taken> = diesel::delete(oauth_states::table.find(state_hash.as_slice()))
            .returning((
                (
                    oauth_states::project_id,
                    oauth_states::platform,
                    oauth_states::redirect_url,
                    oauth_states::external_ref,
                    oauth_states::pkce_sealed,
                    oauth_states::pkce_verifier,
                ),
                oauth_states::begun_by,
                oauth_states::expires_at,
                present(),
            ))
            .get_result(&mut connection)
            .await
            .optional()?;
        Ok(taken.and_then(|(pending, by, expires_at, present)| (expires_at > present).then_some((pending, by))))
    }

    /// Whether a consent is under way: neither taken nor too late.
    pub async fn has_state(&self, state_hash: &[u8; 32]) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let waiting = oauth_states::table.find(state_hash.as_slice()).filter(oauth_states::expires_at.gt(present()));
        Ok(diesel::select(diesel::dsl::exists(waiting)).get_result(&mut connection).await?)
    }

    /// Forgets consents that nobody finished; at most `limit` at a time.
    pub async fn prune_states(&self, limit: i64) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        let states = diesel::alias!(oauth_states as expired_states);
        let expired = states
            .filter(states.field(oauth_states::expires_at).lt(now))
            .select(states.field(oauth_states::state_hash))
            .limit(limit);
        Ok(diesel::delete(oauth_states::table.filter(oauth_states::state_hash.eq_any(expired)))
            .execute(&mut connection)
            .await?)
    }
}

async fn insert(
    connection: &mut AsyncPgConnection,
    by: By<'_>,
    state_hash: &[u8; 32],
    pending: &PendingConsent,
) -> QueryResult<()> {
    let begun_by = by.name(connection).await?;
    diesel::insert_into(oauth_states::table)
        .values((
            oauth_states::state_hash.eq(state_hash.as_slice()),
            pending,
            oauth_states::begun_by.eq(begun_by),
            oauth_states::expires_at.eq(from_now(STATE_LIFETIME)),
        ))
        .execute(connection)
        .await?;
    Ok(())
}
