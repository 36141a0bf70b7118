//! Creators as the API reads them. Every query takes the project first: another project's creator is not found.

use chrono::{DateTime, Utc};
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use strum::{AsRefStr, Display, EnumString, VariantArray};

use super::schema::creators;
use super::{Store, StoreError};
use crate::ids::{CreatorId, CredentialId, ProjectId};
use crate::platforms::Platform;

/// Whether a creator can be synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr, Display, EnumString, VariantArray, AsExpression, FromSqlRow)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[diesel(sql_type = Text)]
pub enum Status {
    /// Its tokens work, as far as anybody knows.
    Active,
    /// The platform has refused its tokens for good: the creator must connect again.
    ReauthorizationRequired,
}

/// A creator with its latest profile and counters.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = creators)]
#[allow(missing_docs, reason = "the columns are described in the migrations and the contract")]
pub struct Creator {
    pub id: CreatorId,
    pub project_id: ProjectId,
    pub credential_id: CredentialId,
    pub platform: Platform,
    pub external_id: String,
    pub username: Option<String>,
    pub display_name: Option<String>,
    pub bio: Option<String>,
    pub avatar_url: Option<String>,
    pub profile_url: Option<String>,
    pub verified: Option<bool>,
    pub followers: Option<i64>,
    pub following: Option<i64>,
    pub likes: Option<i64>,
    pub video_count: Option<i64>,
    /// Separated by commas; empty when every scope was granted.
    pub missing_scopes: String,
    pub status: Status,
    pub status_reason: Option<String>,
    pub connected_at: DateTime<Utc>,
    pub last_synced_at: Option<DateTime<Utc>>,
    /// How old its data may get, in seconds: `None` is the default, 0 is never synced by the schedule.
    pub resync_every: Option<i64>,
    pub external_ref: Option<String>,
}

impl Creator {
    /// What people call it, as the lists of jobs do.
    pub fn name(&self) -> &str {
        name_of(self.username.as_deref(), self.display_name.as_deref(), &self.external_id)
    }
}

/// The username, or as long as that is unknown the name that it shows, or else its account's id.
pub(super) fn name_of<'a>(username: Option<&'a str>, shown: Option<&'a str>, account: &'a str) -> &'a str {
    [username, shown].into_iter().flatten().find(|name| !name.trim().is_empty()).unwrap_or(account)
}

/// Which creators of a project are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreatorFilter {
    /// The account's id on its platform.
    pub external_id: Option<String>,
    /// The platform.
    pub platform: Option<Platform>,
    /// The client's own name for it.
    pub external_ref: Option<String>,
    /// Whether it can be synced.
    pub status: Option<Status>,
    /// Those of which something changed at this instant or later: also a sync that found nothing new.
    pub updated_since: Option<DateTime<Utc>>,
}

/// A place in the list of creators: after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatorPosition {
    /// The last creator's time of connection.
    pub connected_at: DateTime<Utc>,
    /// Its id, for creators of one instant.
    pub id: CreatorId,
}

impl Creator {
    /// This creator's place in the list.
    pub fn position(&self) -> CreatorPosition {
        CreatorPosition { connected_at: self.connected_at, id: self.id }
    }
}

impl Store {
    /// At most `limit` creators of `project` after `after`, oldest first.
    pub async fn creators(
        &self,
        project: ProjectId,
        filter: &CreatorFilter,
        after: Option<CreatorPosition>,
        limit: i64,
    ) -> Result<Vec<Creator>, StoreError> {
        let mut query = creators::table
            .filter(creators::project_id.eq(project))
            .filter(creators::disconnecting_at.is_null())
            .order((creators::connected_at, creators::id))
            .limit(limit)
            .select(Creator::as_select())
            .into_boxed();
        if let Some(external_id) = &filter.external_id {
            query = query.filter(creators::external_id.eq(external_id));
        }
        if let Some(platform) = filter.platform {
            query = query.filter(creators::platform.eq(platform));
        }
        if let Some(external_ref) = &filter.external_ref {
            query = query.filter(creators::external_ref.eq(external_ref));
        }
        if let Some(status) = filter.status {
            query = query.filter(creators::status.eq(status));
        }
        if let Some(instant) = filter.updated_since {
            query = query.filter(creators::updated_at.ge(instant));
        }
        if let Some(after) = after {
            // The first half carries the index, the second settles creators of one instant.
            query = query
                .filter(creators::connected_at.ge(after.connected_at))
                .filter(creators::connected_at.gt(after.connected_at).or(creators::id.gt(after.id)));
        }
        let mut connection = self.connection().await?;
        Ok(query.load(&mut connection).await?)
    }

    /// The client's own name for a creator of `project`, also of one that is being disconnected.
    pub async fn external_ref(&self, project: ProjectId, id: CreatorId) -> Result<Option<String>, StoreError> {
        let mut connection = self.connection().await?;
        let known = creators::table
            .find(id)
            .filter(creators::project_id.eq(project))
            .select(creators::external_ref)
            .first::<Option<String>>(&mut connection)
            .await
            .optional()?;
        Ok(known.flatten())
    }

    /// One creator of `project`, unless it is being disconnected.
    pub async fn creator(&self, project: ProjectId, id: CreatorId) -> Result<Option<Creator>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(creators::table
            .find(id)
            .filter(creators::project_id.eq(project))
            .filter(creators::disconnecting_at.is_null())
            .select(Creator::as_select())
            .first(&mut connection)
            .await
            .optional()?)
    }
}
