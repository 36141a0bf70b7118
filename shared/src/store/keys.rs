//! Projects and their API keys.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, By, Deed};
use super::project_keys::called;
use super::schema::{api_keys, projects};
use super::time::present;
use super::{Store, StoreError};
use crate::ids::{ApiKeyId, ProjectId};
use crate::key_scopes::{KeyScope, KeyScopes};

/// A key as people may see it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct KeyListing {
    /// The project's name.
    pub project: String,
    /// The key's first characters.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// What it may do; `None`: all.
    pub scopes: Option<KeyScopes>,
    /// When it stops working by itself; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewKey<'a> {
    /// Its SHA-256.
    pub hash: &'a [u8; 32],
    /// Its first characters.
    pub prefix: &'a str,
    /// What it may do; `None`: all, also what later versions add.
    pub scopes: Option<KeyScopes>,
    /// When it stops working by itself; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable)]
pub struct ActiveKey {
    /// The key.
    pub id: ApiKeyId,
    /// Whose creators it reads.
    pub project: ProjectId,
    /// What it may do; `None`: all.
    pub scopes: Option<KeyScopes>,
}

impl ActiveKey {
    /// Whether it may do what `scope` stands for.
    pub fn may(&self, scope: KeyScope) -> bool {
        self.scopes.is_none_or(|scopes| scopes.contains(scope))
    }
}

/// What came of revoking by prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// The key with this prefix works no longer.
    Revoked(String),
    /// There is no such working key.
    NotFound,
    /// Several do; nothing was revoked.
    Ambiguous(Vec<String>),
}

impl Store {
    /// Stores a key that may do all and never expires, for the project of that name that is the server's shell's, which is
    /// made if it does not exist.
    pub async fn add_key(&self, project: &str, hash: &[u8; 32], prefix: &str) -> Result<ProjectId, StoreError> {
        let project = self.find_or_add_shells_project(project).await?;
        self.add_limited_key(project, &NewKey { hash, prefix, scopes: None, expires_at: None }).await?;
        Ok(project)
    }

    /// Stores a key of a project. For the command line.
    pub async fn add_limited_key(&self, project: ProjectId, key: &NewKey<'_>) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let added = diesel::insert_into(api_keys::table)
                    .values((
                        api_keys::id.eq(ApiKeyId::new()),
                        api_keys::project_id.eq(project),
                        api_keys::hash.eq(key.hash.as_slice()),
                        api_keys::prefix.eq(key.prefix),
                        api_keys::scopes.eq(key.scopes),
                        api_keys::expires_at.eq(key.expires_at),
                    ))
                    .on_conflict_do_nothing()
                    .execute(connection)
                    .await?;
                if added > 0 { note(connection, project, Action::KeyCreated, key.prefix).await } else { Ok(()) }
            })
            .await
            .map_err(StoreError::from)
    }

    /// The key with this hash, if it works: neither revoked nor expired.
    pub async fn active_key(&self, hash: &[u8; 32]) -> Result<Option<ActiveKey>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(api_keys::table
            .filter(api_keys::hash.eq(hash.as_slice()).and(api_keys::revoked_at.is_null()))
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(present().nullable())))
            .select((api_keys::id, api_keys::project_id, api_keys::scopes))
            .first(&mut connection)
            .await
            .optional()?)
    }

    /// All keys, oldest first.
    pub async fn keys(&self) -> Result<Vec<KeyListing>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(api_keys::table
            .inner_join(projects::table)
            .order((api_keys::created_at, api_keys::id))
            .select((
                projects::name,
                api_keys::prefix,
                api_keys::created_at,
                api_keys::revoked_at,
                api_keys::scopes,
                api_keys::expires_at,
            ))
            .load(&mut connection)
            .await?)
    }

    /// Revokes the working key with this hash. For the command line.
    pub async fn revoke_key_by_hash(&self, hash: &[u8; 32]) -> Result<Revocation, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let working = api_keys::hash.eq(hash.as_slice()).and(api_keys::revoked_at.is_null());
                let found = api_keys::table.filter(working).select(api_keys::id).for_update();
                match found.first(connection).await.optional()? {
                    Some(id) => Ok(Revocation::Revoked(revoke(connection, id).await?)),
                    None => Ok(Revocation::NotFound),
                }
            })
            .await
    }

    /// Revokes the one working key that begins with `prefix`. For the command line.
    pub async fn revoke_key(&self, prefix: &str) -> Result<Revocation, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let found: Vec<(ApiKeyId, String)> = api_keys::table
                    .filter(api_keys::prefix.like(format!("{}%", escape_like(prefix))))
                    .filter(api_keys::revoked_at.is_null())
                    .select((api_keys::id, api_keys::prefix))
                    .for_update()
                    .load(connection)
                    .await?;
                match found.as_slice() {
                    [] => Ok(Revocation::NotFound),
                    [(id, _)] => Ok(Revocation::Revoked(revoke(connection, *id).await?)),
                    several => Ok(Revocation::Ambiguous(several.iter().map(|(_, prefix)| prefix.clone()).collect())),
                }
            })
            .await
    }
}

/// Revokes a key, and gives its first characters.
async fn revoke(connection: &mut AsyncPgConnection, id: ApiKeyId) -> QueryResult<String> {
    let (project, name, prefix): (ProjectId, Option<String>, String) = diesel::update(api_keys::table.find(id))
        .set(api_keys::revoked_at.eq(diesel::dsl::now))
        .returning((api_keys::project_id, api_keys::name, api_keys::prefix))
        .get_result(connection)
        .await?;
    note(connection, project, Action::KeyRevoked, &called(name.as_deref(), &prefix)).await?;
    Ok(prefix)
}

async fn note(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    action: Action,
    subject: &str,
) -> QueryResult<()> {
    audit::write(connection, &Deed { project, actor: By::CommandLine, action, subject }).await
}

/// Makes `text` match only itself in a LIKE pattern (keys contain `_`).
pub(super) fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
