//! A project's API keys, as its members see, make, reroll and revoke them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, Deed};
use super::keys::NewKey;
use super::members::Actor;
use super::schema::api_keys;
use super::time::{ago, present};
use super::{Store, StoreError};
use crate::ids::{ApiKeyId, ProjectId};
use crate::key_scopes::KeyScopes;

/// How far behind `last_used_at` may be.
const USED_EVERY: Duration = Duration::from_secs(60);

/// A key as its project's members may see it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = api_keys)]
pub struct ProjectKey {
    /// The key.
    pub id: ApiKeyId,
    /// What its maker called it.
    pub name: Option<String>,
    /// Its first characters.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was used last, within a minute; `None`: never.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// What it may do; `None`: all.
    pub scopes: Option<KeyScopes>,
    /// When it stops working by itself; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Store {
    /// A project's keys, newest first.
    pub async fn project_keys(&self, project: ProjectId) -> Result<Vec<ProjectKey>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(api_keys::table
            .filter(api_keys::project_id.eq(project))
            .order(api_keys::id.desc())
            .select(ProjectKey::as_select())
            .load(&mut connection)
            .await?)
    }

    /// One key of a project, whether it works or not.
    pub async fn project_key(&self, project: ProjectId, id: ApiKeyId) -> Result<Option<ProjectKey>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(api_keys::table
            .find(id)
            .filter(api_keys::project_id.eq(project))
            .select(ProjectKey::as_select())
            .first(&mut connection)
            .await
            .optional()?)
    }

    /// Makes a key.
    pub async fn make_key(
        &self,
        project: ProjectId,
        actor: Actor<'_>,
        name: &str,
        key: &NewKey<'_>,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                insert(connection, project, Some(name), key).await?;
                let (action, subject) = (Action::KeyCreated, called(Some(name), key.prefix));
                audit::write(connection, &Deed { project, actor: actor.email, action, subject: &subject }).await
            })
            .await
            .map_err(StoreError::from)
    }

    /// Makes a key in the place of a working one, which goes on working for `overlap`. The new one has its name and its
    /// scopes, and if the old one had an end, the same time to live. `None`: there is no such working key.
    pub async fn reroll_key(
        &self,
        project: ProjectId,
        actor: Actor<'_>,
        id: ApiKeyId,
        (hash, prefix): (&[u8; 32], &str),
        overlap: Duration,
    ) -> Result<Option<ProjectKey>, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let old: Option<(ProjectKey, DateTime<Utc>)> = api_keys::table
                    .find(id)
                    .filter(api_keys::project_id.eq(project).and(api_keys::revoked_at.is_null()))
                    .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(present().nullable())))
                    .select((ProjectKey::as_select(), present()))
                    .for_update()
                    .first(connection)
                    .await
                    .optional()?;
                let Some((old, now)) = old else { return Ok(None) };
                let expires_at = old.expires_at.map(|end| now + (end - old.created_at));
                insert(
                    connection,
                    project,
                    old.name.as_deref(),
                    &NewKey { hash, prefix, scopes: old.scopes, expires_at },
                )
                .await?;
                let end = now + chrono::Duration::from_std(overlap).unwrap_or_default();
                let ended = api_keys::table.find(id);
                if overlap.is_zero() {
                    diesel::update(ended).set(api_keys::revoked_at.eq(now)).execute(connection).await?;
                } else {
                    // It never lives longer for being rerolled.
                    let end = old.expires_at.map_or(end, |before| before.min(end));
                    diesel::update(ended).set(api_keys::expires_at.eq(end)).execute(connection).await?;
                }
                let subject = format!("{} → {prefix}", called(old.name.as_deref(), &old.prefix));
                let action = Action::KeyRerolled;
                audit::write(connection, &Deed { project, actor: actor.email, action, subject: &subject }).await?;
                Ok(Some(old))
            })
            .await
    }

    /// Revokes a working key; says whether there was one.
    pub async fn revoke_project_key(
        &self,
        project: ProjectId,
        actor: Actor<'_>,
        id: ApiKeyId,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let unrevoked = api_keys::table.find(id).filter(api_keys::project_id.eq(project));
                let revoked: Option<(Option<String>, String)> =
                    diesel::update(unrevoked.filter(api_keys::revoked_at.is_null()))
                        .set(api_keys::revoked_at.eq(diesel::dsl::now))
                        .returning((api_keys::name, api_keys::prefix))
                        .get_result(connection)
                        .await
                        .optional()?;
                let Some((name, prefix)) = revoked else { return Ok(false) };
                let (action, subject) = (Action::KeyRevoked, called(name.as_deref(), &prefix));
                audit::write(connection, &Deed { project, actor: actor.email, action, subject: &subject }).await?;
                Ok(true)
            })
            .await
    }

    /// Notes that a key is used: a write once a minute at most.
    pub async fn note_key_use(&self, id: ApiKeyId) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        let unnoted = api_keys::last_used_at.is_null().or(api_keys::last_used_at.lt(ago(USED_EVERY).nullable()));
        diesel::update(api_keys::table.filter(api_keys::id.eq(id)).filter(unnoted))
            .set(api_keys::last_used_at.eq(diesel::dsl::now))
            .execute(&mut connection)
            .await?;
        Ok(())
    }
}

async fn insert(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    name: Option<&str>,
    key: &NewKey<'_>,
) -> QueryResult<()> {
    diesel::insert_into(api_keys::table)
        .values((
            api_keys::id.eq(ApiKeyId::new()),
            api_keys::project_id.eq(project),
            api_keys::hash.eq(key.hash.as_slice()),
            api_keys::prefix.eq(key.prefix),
            api_keys::name.eq(name),
            api_keys::scopes.eq(key.scopes),
            api_keys::expires_at.eq(key.expires_at),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// How the log calls a key.
fn called(name: Option<&str>, prefix: &str) -> String {
    name.map_or_else(|| prefix.to_owned(), |name| format!("{name} ({prefix})"))
}
