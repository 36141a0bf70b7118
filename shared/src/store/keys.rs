//! Projects and their API keys.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::schema::{api_keys, projects};
use super::{Store, StoreError};
use crate::ids::{ApiKeyId, ProjectId};

/// A key as people may see it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct KeyListing {
    /// The project's name.
    pub project: String,
    /// The key's first characters.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stopped working.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A key that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable)]
pub struct ActiveKey {
    /// The key.
    pub id: ApiKeyId,
    /// Whose creators it reads.
    pub project: ProjectId,
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
    /// Stores a key's hash and prefix for the project of that name, which is made if it does not exist.
    pub async fn add_key(&self, project: &str, hash: &[u8; 32], prefix: &str) -> Result<ProjectId, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                diesel::insert_into(projects::table)
                    .values((projects::id.eq(ProjectId::new()), projects::name.eq(project)))
                    .on_conflict_do_nothing()
                    .execute(connection)
                    .await?;
                let project: ProjectId =
                    projects::table.filter(projects::name.eq(project)).select(projects::id).first(connection).await?;
                diesel::insert_into(api_keys::table)
                    .values((
                        api_keys::id.eq(ApiKeyId::new()),
                        api_keys::project_id.eq(project),
                        api_keys::hash.eq(hash.as_slice()),
                        api_keys::prefix.eq(prefix),
                    ))
                    .on_conflict_do_nothing()
                    .execute(connection)
                    .await?;
                Ok(project)
            })
            .await
    }

    /// The key with this hash, if it works.
    pub async fn active_key(&self, hash: &[u8; 32]) -> Result<Option<ActiveKey>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(api_keys::table
            .filter(api_keys::hash.eq(hash.as_slice()).and(api_keys::revoked_at.is_null()))
            .select((api_keys::id, api_keys::project_id))
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
            .select((projects::name, api_keys::prefix, api_keys::created_at, api_keys::revoked_at))
            .load(&mut connection)
            .await?)
    }

    /// Revokes the working key with this hash.
    pub async fn revoke_key_by_hash(&self, hash: &[u8; 32]) -> Result<Revocation, StoreError> {
        let mut connection = self.connection().await?;
        let working = api_keys::table.filter(api_keys::hash.eq(hash.as_slice()).and(api_keys::revoked_at.is_null()));
        let revoked: Option<String> = diesel::update(working)
            .set(api_keys::revoked_at.eq(diesel::dsl::now))
            .returning(api_keys::prefix)
            .get_result(&mut connection)
            .await
            .optional()?;
        Ok(revoked.map_or(Revocation::NotFound, Revocation::Revoked))
    }

    /// Revokes the one working key that begins with `prefix`.
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
                    [(id, prefix)] => {
                        diesel::update(api_keys::table.find(id))
                            .set(api_keys::revoked_at.eq(diesel::dsl::now))
                            .execute(connection)
                            .await?;
                        Ok(Revocation::Revoked(prefix.clone()))
                    }
                    several => Ok(Revocation::Ambiguous(several.iter().map(|(_, prefix)| prefix.clone()).collect())),
                }
            })
            .await
    }
}

/// Makes `text` match only itself in a LIKE pattern (keys contain `_`).
fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
