//! Browsers that people have signed in with.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::audit::{self, Action};
use super::members::Actor;
use super::schema::{sessions, users};
use super::time::ago;
use super::{Store, StoreError};
use crate::ids::{SessionId, UserId};
use crate::people::Email;

/// A session that nobody uses ends after this.
pub const IDLE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// A session ends after this, however much it is used.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// So many browsers may one user be signed in with.
const MAX_SESSIONS: i64 = 100;
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
    /// The password's argon2id string that was shown to be known.
    pub password: &'a str,
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
    /// Begins a session, with a line in the account's log, and forgets those that have ended by themselves. `false`: the user
    /// has another password by now, and nothing was begun.
    pub async fn add_session(&self, session: &NewSession<'_>) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                // Who changes the password waits for us and then ends this session too, or is seen here.
                let known: Option<(Option<String>, Email)> = users::table
                    .find(session.user)
                    .select((users::password, users::email))
                    .for_share()
                    .first(connection)
                    .await
                    .optional()?;
                let Some((Some(password), email)) = known else { return Ok(false) };
                if password != session.password {
                    return Ok(false);
                }
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
                // Of too many those end that have not been used for longest.
                let by_use = diesel::alias!(sessions as by_use);
                let latest = by_use
                    .filter(by_use.field(sessions::user_id).eq(session.user))
                    .order((by_use.field(sessions::seen_at).desc(), by_use.field(sessions::id).desc()))
                    .select(by_use.field(sessions::id))
                    .limit(MAX_SESSIONS);
                let theirs = sessions::table.filter(sessions::user_id.eq(session.user));
                diesel::delete(theirs.filter(sessions::id.ne_all(latest))).execute(connection).await?;
                let actor = Actor { user: session.user, email: &email };
                audit::write_of_account(connection, actor, Action::SignedIn, session.address).await?;
                Ok(true)
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
    pub async fn end_session(&self, actor: Actor<'_>, id: SessionId) -> Result<bool, StoreError> {
        self.end(actor, id, Action::SessionEnded).await
    }

    /// Ends the session that its user is at.
    pub async fn sign_out(&self, actor: Actor<'_>, id: SessionId) -> Result<bool, StoreError> {
        self.end(actor, id, Action::SignedOut).await
    }

    async fn end(&self, actor: Actor<'_>, id: SessionId, action: Action) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let session = sessions::table.filter(sessions::id.eq(id).and(sessions::user_id.eq(actor.user)));
                let ended = diesel::delete(session).returning(sessions::address);
                let address: Option<String> = ended.get_result(connection).await.optional()?;
                let Some(address) = address else { return Ok(false) };
                audit::write_of_account(connection, actor, action, &address).await?;
                Ok(true)
            })
            .await
    }

    /// Ends a user's sessions but one.
    pub async fn end_other_sessions(&self, actor: Actor<'_>, keep: SessionId) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let others = sessions::table.filter(sessions::user_id.eq(actor.user).and(sessions::id.ne(keep)));
                let ended = diesel::delete(others).execute(connection).await?;
                if ended > 0 {
                    let (action, subject) = (Action::OtherSessionsEnded, ended.to_string());
                    audit::write_of_account(connection, actor, action, &subject).await?;
                }
                Ok(ended)
            })
            .await
    }
}
