//! Who may open the dashboard, and the links with which they set their passwords.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, By};
use super::members::Actor;
use super::schema::{password_links, sessions, users};
use super::time::{from_now, present};
use super::{Store, StoreError};
use crate::ids::{SessionId, UserId};
use crate::people::Email;

/// How long a link to set a password works.
pub const PASSWORD_LINK_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A user, as the sign-in needs it.
#[derive(Clone, PartialEq, Eq, Queryable)]
pub struct User {
    /// The user.
    pub id: UserId,
    /// Their address.
    pub email: Email,
    /// The password's argon2id string; `None` until one is set.
    pub password: Option<String>,
}

/// Who is an operator, after a user was made without a word about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum FirstOperator {
    /// That user, the first of all.
    Made,
    /// Somebody was one before.
    ThereIsOne,
    /// Nobody.
    Nobody,
}

impl Store {
    /// The user with this address, made if there is none, and a link, known by its SHA-256, with which they set a
    /// password. The links before it work no longer. For the command line.
    pub async fn add_password_link(&self, email: &Email, hash: &[u8; 32]) -> Result<UserId, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                diesel::insert_into(users::table)
                    .values((users::id.eq(UserId::new()), users::email.eq(email)))
                    .on_conflict_do_nothing()
                    .execute(connection)
                    .await?;
                let user: UserId =
                    users::table.filter(users::email.eq(email)).select(users::id).first(connection).await?;
                diesel::delete(password_links::table.filter(password_links::user_id.eq(user)))
                    .execute(connection)
                    .await?;
                diesel::insert_into(password_links::table)
                    .values((
                        password_links::hash.eq(hash.as_slice()),
                        password_links::user_id.eq(user),
                        password_links::expires_at.eq(from_now(PASSWORD_LINK_LIFETIME)),
                    ))
                    .execute(connection)
                    .await?;
                audit::write_of_all(connection, By::CommandLine, Action::PasswordLinkMade, email.as_ref()).await?;
                Ok(user)
            })
            .await
    }

    /// Takes away a user's password and ends their sessions: nobody gets in but by a link that sets a new one. Says whether
    /// there was a password. For the command line, before it gives a right: whoever made the account typed any address.
    pub async fn lock_out(&self, user: UserId) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let known = users::table.find(user).filter(users::password.is_not_null());
                let closed = diesel::update(known).set(users::password.eq(None::<String>)).returning(users::email);
                let email: Option<Email> = closed.get_result(connection).await.optional()?;
                diesel::delete(sessions::table.filter(sessions::user_id.eq(user))).execute(connection).await?;
                let Some(email) = email else { return Ok(false) };
                let (by, action) = (By::CommandLine, Action::AccountClosed);
                audit::write_about_account(connection, user, by, action, email.as_ref()).await?;
                Ok(true)
            })
            .await
    }

    /// Lets a user see and steer the whole installation, or no longer. For the command line.
    pub async fn set_operator(&self, user: UserId, is_operator: bool) -> Result<(), StoreError> {
        let action = if is_operator { Action::OperatorMade } else { Action::OperatorUnmade };
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let other = users::table.find(user).filter(users::operator.ne(is_operator));
                let changed = diesel::update(other).set(users::operator.eq(is_operator)).returning(users::email);
                let email: Option<Email> = changed.get_result(connection).await.optional()?;
                let Some(email) = email else { return Ok(()) };
                audit::write_of_all(connection, By::CommandLine, action, email.as_ref()).await
            })
            .await
            .map_err(StoreError::from)
    }

    /// The same for the first user of all, who has no password yet. Nobody else becomes one unasked, also where there is
    /// none: a new link for who has forgotten the password gives no rights.
    pub async fn make_first_operator(&self, user: UserId) -> Result<FirstOperator, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let others = diesel::alias!(users as others);
                let others = others.filter(others.field(users::id).ne(user)).select(others.field(users::id));
                let first = users::table.find(user).filter(users::password.is_null()).filter(not(exists(others)));
                let made = diesel::update(first).set(users::operator.eq(true)).returning(users::email);
                let email: Option<Email> = made.get_result(connection).await.optional()?;
                if let Some(email) = email {
                    let action = Action::OperatorMade;
                    audit::write_of_all(connection, By::CommandLine, action, email.as_ref()).await?;
                    return Ok(FirstOperator::Made);
                }
                let operators = users::table.filter(users::operator);
                let is_one = diesel::select(exists(operators)).get_result(connection).await?;
                Ok(if is_one { FirstOperator::ThereIsOne } else { FirstOperator::Nobody })
            })
            .await
    }

    /// Whose password this link sets, if it works.
    pub async fn password_link(&self, hash: &[u8; 32]) -> Result<Option<Email>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(password_links::table
            .inner_join(users::table)
            .filter(password_links::hash.eq(hash.as_slice()).and(password_links::expires_at.gt(present())))
            .select(users::email)
            .first(&mut connection)
            .await
            .optional()?)
    }

    /// Takes the link, sets the password and ends all of the user's sessions. `None`: the link works no longer.
    pub async fn use_password_link(&self, hash: &[u8; 32], password: &str) -> Result<Option<UserId>, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let taken: Option<(UserId, DateTime<Utc>, DateTime<Utc>)> =
                    diesel::delete(password_links::table.find(hash.as_slice()))
                        .returning((password_links::user_id, password_links::expires_at, present()))
                        .get_result(connection)
                        .await
                        .optional()?;
                match taken {
                    Some((user, expires_at, present)) if expires_at > present => {
                        set_password(connection, user, password, None, "by a link").await?;
                        Ok(Some(user))
                    }
                    _ => Ok(None),
                }
            })
            .await
    }

    /// Sets a password in place of the one that was `known`, and ends the user's other sessions: whoever knew the old one is
    /// out. `false`: the user has another one by now, or none, and nothing was changed.
    pub async fn change_password(
        &self,
        user: UserId,
        known: &str,
        password: &str,
        keep: SessionId,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let is_known = users::table.find(user).filter(users::password.eq(known)).select(users::id);
                let found: Option<UserId> = is_known.for_no_key_update().first(connection).await.optional()?;
                if found.is_none() {
                    return Ok(false);
                }
                set_password(connection, user, password, Some(keep), "by the old one").await?;
                Ok(true)
            })
            .await
    }

    /// The user with this address.
    pub async fn user_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(users::table
            .filter(users::email.eq(email))
            .select((users::id, users::email, users::password))
            .first(&mut connection)
            .await
            .optional()?)
    }
}

async fn set_password(
    connection: &mut AsyncPgConnection,
    user: UserId,
    password: &str,
    keep: Option<SessionId>,
    how: &str,
) -> QueryResult<()> {
    let set = diesel::update(users::table.find(user)).set(users::password.eq(password)).returning(users::email);
    let email: Email = set.get_result(connection).await?;
    let mut ended = diesel::delete(sessions::table.filter(sessions::user_id.eq(user))).into_boxed();
    if let Some(keep) = keep {
        ended = ended.filter(sessions::id.ne(keep));
    }
    ended.execute(connection).await?;
    audit::write_of_account(connection, Actor { user, email: &email }, Action::PasswordChanged, how).await
}
