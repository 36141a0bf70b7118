//! A project's API keys, as its members see, make, reroll and revoke them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, By, Deed};
use super::keys::NewKey;
use super::members::Actor;
use super::schema::api_keys;
use super::time::{ago, present};
use super::{Made, Store, StoreError, projects};
use crate::ids::{ApiKeyId, ProjectId};
use crate::key_scopes::KeyScopes;

/// So many keys of a project may work at a time, as far as people make them.
pub const MAX_KEYS: i64 = 100;
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
    /// The key that was made in its place.
    pub replaced_by: Option<ApiKeyId>,
    /// How many seconds it was to live when it was made; `None`: for ever, or it is older than this column.
    pub lifetime: Option<i64>,
}

impl ProjectKey {
    /// Whether it works at `at`.
    pub fn works(&self, at: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > at)
    }

    /// How long one in its place is to live. An end that an overlap has set is not its own.
    fn life(&self) -> Option<TimeDelta> {
        let own_end = self.expires_at.filter(|_| self.replaced_by.is_none());
        self.lifetime.map(TimeDelta::seconds).or_else(|| own_end.map(|end| end - self.created_at))
    }
}

/// What came of making a key in the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reroll {
    /// It is made; this was the old one.
    Done(ProjectKey),
    /// There is no such working key.
    NotFound,
    /// One was made in its place before, and works: whoever has that one goes on from it.
    Replaced,
    /// As many as may be work already.
    Full,
}

impl Store {
    /// At most `limit` of a project's keys made before `before`, the newest first: those that work, or the others.
    pub async fn project_keys(
        &self,
        project: ProjectId,
        work: bool,
        before: Option<ApiKeyId>,
        limit: i64,
    ) -> Result<Vec<ProjectKey>, StoreError> {
        let mut query = api_keys::table.filter(api_keys::project_id.eq(project)).into_boxed();
        let now = || present().nullable();
        query = if work {
            query
                .filter(api_keys::revoked_at.is_null())
                .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now())))
        } else {
            query.filter(api_keys::revoked_at.is_not_null().or(api_keys::expires_at.le(now())))
        };
        if let Some(before) = before {
            query = query.filter(api_keys::id.lt(before));
        }
        let mut connection = self.connection().await?;
        let page = query.order(api_keys::id.desc()).limit(limit).select(ProjectKey::as_select());
        Ok(page.load(&mut connection).await?)
    }

    /// One key of a project, whether it works or not.
    pub async fn project_key(&self, project: ProjectId, id: ApiKeyId) -> Result<Option<ProjectKey>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(find(&mut connection, project, id).await?)
    }

    /// Makes a key.
    pub async fn make_key(
        &self,
        project: ProjectId,
        actor: Actor<'_>,
        name: &str,
        key: &NewKey<'_>,
    ) -> Result<Made, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                if is_full(connection, project).await? {
                    return Ok(Made::Full);
                }
                insert(connection, project, Some(name), key).await?;
                let (action, subject) = (Action::KeyCreated, called(Some(name), key.prefix));
                audit::write(connection, &Deed { project, actor: By::User(actor.email), action, subject: &subject })
                    .await?;
                Ok(Made::Done)
            })
            .await
    }

    /// Makes a key in the place of a working one, which goes on working for `overlap`. The new one has its name and its
    /// scopes, and if the old one had an end, the same time to live. A second time only if the first one's key is lost and
    /// revoked: the overlap that was promised is not cut short by another.
    pub async fn reroll_key(
        &self,
        project: ProjectId,
        actor: Actor<'_>,
        id: ApiKeyId,
        (hash, prefix): (&[u8; 32], &str),
        overlap: Duration,
    ) -> Result<Reroll, StoreError> {
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
                let Some((old, now)) = old else { return Ok(Reroll::NotFound) };
                if let Some(replacement) = old.replaced_by
                    && find(connection, project, replacement).await?.is_some_and(|key| key.works(now))
                {
                    return Ok(Reroll::Replaced);
                }
                if !overlap.is_zero() && is_full(connection, project).await? {
                    return Ok(Reroll::Full);
                }
                let expires_at = old.life().and_then(|life| now.checked_add_signed(life));
                let key = NewKey { hash, prefix, scopes: old.scopes, expires_at };
                let new = insert(connection, project, old.name.as_deref(), &key).await?;
                let end = now + chrono::Duration::from_std(overlap).unwrap_or_default();
                // It never lives longer for being rerolled.
                let end = old.expires_at.map_or(end, |before| before.min(end));
                let ended = diesel::update(api_keys::table.find(id)).set((
                    api_keys::replaced_by.eq(new),
                    // From here on its end is an overlap's.
                    api_keys::lifetime.eq(old.life().map(|life| life.num_seconds())),
                    overlap.is_zero().then(|| api_keys::revoked_at.eq(now)),
                    (!overlap.is_zero()).then(|| api_keys::expires_at.eq(end)),
                ));
                ended.execute(connection).await?;
                let subject = format!("{} → {prefix}", called(old.name.as_deref(), &old.prefix));
                let action = Action::KeyRerolled;
                audit::write(connection, &Deed { project, actor: By::User(actor.email), action, subject: &subject })
                    .await?;
                Ok(Reroll::Done(old))
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
                audit::write(connection, &Deed { project, actor: By::User(actor.email), action, subject: &subject })
                    .await?;
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

/// Whether as many keys work as may. Held until the transaction ends: who makes one meanwhile is counted.
async fn is_full(connection: &mut AsyncPgConnection, project: ProjectId) -> QueryResult<bool> {
    projects::lock(connection, project).await?;
    let working = api_keys::table
        .filter(api_keys::project_id.eq(project).and(api_keys::revoked_at.is_null()))
        .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(present().nullable())));
    Ok(working.count().get_result::<i64>(connection).await? >= MAX_KEYS)
}

async fn find(connection: &mut AsyncPgConnection, project: ProjectId, id: ApiKeyId) -> QueryResult<Option<ProjectKey>> {
    let key = api_keys::table.find(id).filter(api_keys::project_id.eq(project)).select(ProjectKey::as_select());
    key.first(connection).await.optional()
}

async fn insert(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    name: Option<&str>,
    key: &NewKey<'_>,
) -> QueryResult<ApiKeyId> {
    let id = ApiKeyId::new();
    diesel::insert_into(api_keys::table)
        .values((
            api_keys::id.eq(id),
            api_keys::project_id.eq(project),
            api_keys::hash.eq(key.hash.as_slice()),
            api_keys::prefix.eq(key.prefix),
            api_keys::name.eq(name),
            api_keys::scopes.eq(key.scopes),
            api_keys::expires_at.eq(key.expires_at),
            api_keys::lifetime.eq(key.expires_at.map(|end| (end - Utc::now()).num_seconds())),
        ))
        .execute(connection)
        .await?;
    Ok(id)
}

/// How the log calls a key.
pub(super) fn called(name: Option<&str>, prefix: &str) -> String {
    name.map_or_else(|| prefix.to_owned(), |name| format!("{name} ({prefix})"))
}
