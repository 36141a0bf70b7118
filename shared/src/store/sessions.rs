//! Browsers that people have signed in with.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::schema::{sessions, users};
use super::time::ago;
use super::{Store, StoreError};
use crate::ids::{SessionId, UserId};
use crate::people::Email;

/// A session that nobody uses ends after this.
pub const IDLE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// A session ends after this, however much it is used.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How far behind `seen_at` may be: a page that is looked at costs a write once in this time.
const SEEN_EVERY: Duration = Duration::from_secs(60);

/// A session that works.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// Their address.
    pub email: Email,
    /// Whether they see and steer the whole installation.
    pub is_operator: bool,
}

/// A session to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewSession<'a> {
    /// The SHA-256 of what the browser's cookie says.
    pub hash: &'a [u8; 32],
    /// Whose it is.
    pub user: UserId,
    /// What the browser calls itself.
    pub browser: &'a str,
    /// Where it came from.
    pub address: &'a str,
}

/// A session, for its user to know it by.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct SessionListing {
    /// The session.
    pub id: SessionId,
    /// What the browser calls itself.
    pub browser: String,
    /// Where it came from.
    pub address: String,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// When it was used last, within a minute.
    pub seen_at: DateTime<Utc>,
}

impl Store {
    /// Begins a session, and forgets those that have ended by themselves.
    pub async fn add_session(&self, session: &NewSession<'_>) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let ended = sessions::seen_at.lt(ago(IDLE_LIFETIME)).or(sessions::created_at.lt(ago(LIFETIME)));
                diesel::delete(sessions::table.filter(ended)).execute(connection).await?;
                diesel::insert_into(sessions::table)
                    .values((
                        sessions::id.eq(SessionId::new()),
                        sessions::hash.eq(session.hash.as_slice()),
                        sessions::user_id.eq(session.user),
                        sessions::browser.eq(session.browser),
                        sessions::address.eq(session.address),
                    ))
                    .execute(connection)
                    .await?;
                Ok(())
            })
            .await
    }

    /// The session with this hash, if it works. That it was used is noted.
    pub async fn session_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Session>, StoreError> {
        let mut connection = self.connection().await?;
        let found: Option<(Session, bool)> = sessions::table
            .inner_join(users::table)
            .filter(sessions::hash.eq(hash.as_slice()))
            .filter(sessions::seen_at.ge(ago(IDLE_LIFETIME)).and(sessions::created_at.ge(ago(LIFETIME))))
            .select(((sessions::id, users::id, users::email, users::operator), sessions::seen_at.lt(ago(SEEN_EVERY))))
            .first(&mut connection)
            .await
            .optional()?;
        if let Some((session, true)) = &found {
            diesel::update(sessions::table.find(session.id))
                .set(sessions::seen_at.eq(diesel::dsl::now))
                .execute(&mut connection)
                .await?;
        }
        Ok(found.map(|(session, _)| session))
    }

    /// A user's sessions, the one used last first.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<SessionListing>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(sessions::table
            .filter(sessions::user_id.eq(user))
            .filter(sessions::seen_at.ge(ago(IDLE_LIFETIME)).and(sessions::created_at.ge(ago(LIFETIME))))
            .order((sessions::seen_at.desc(), sessions::id))
            .select((sessions::id, sessions::browser, sessions::address, sessions::created_at, sessions::seen_at))
            .load(&mut connection)
            .await?)
    }

    /// Ends one of a user's sessions; says whether there was one.
    pub async fn end_session(&self, user: UserId, id: SessionId) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let session = sessions::table.filter(sessions::id.eq(id).and(sessions::user_id.eq(user)));
        Ok(diesel::delete(session).execute(&mut connection).await? > 0)
    }

    /// Ends a user's sessions but one.
    pub async fn end_other_sessions(&self, user: UserId, keep: SessionId) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        let others = sessions::table.filter(sessions::user_id.eq(user).and(sessions::id.ne(keep)));
        Ok(diesel::delete(others).execute(&mut connection).await?)
    }
}
