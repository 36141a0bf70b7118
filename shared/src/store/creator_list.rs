//! A project's creators as the dashboard lists them: searched, newest or oldest first, a page at a time.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, Nullable, Text, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use strum::VariantArray as _;

use super::creators::{Creator, CreatorPosition, Status};
use super::jobs::{JobKind, JobState};
use super::keys::escape_like;
use super::schema::{creators, jobs};
use super::{Store, StoreError};
use crate::ids::{CreatorId, JobId, ProjectId};
use crate::platforms::Platform;

#[diesel::declare_sql_function]
extern "SQL" {
    /// Postgres's own; what `creators_by_username` indexes.
    fn lower(text: Nullable<Text>) -> Nullable<Text>;
}

diesel::infix_operator!(FromByteOn, " ~>=~ ", backend: diesel::pg::Pg);
diesel::infix_operator!(BeforeByte, " ~<~ ", backend: diesel::pg::Pg);

/// So many creators with such a name are found by their names and then put in order. Where there are more, the list is walked
/// in its order, and a page of them is met soon.
const FEW: i64 = 1000;

/// Which creators, and in what order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// How the username begins, or the whole id on the platform, or the whole of the client's own; empty for all.
    pub text: String,
    /// Only those in this state.
    pub status: Option<Status>,
    /// Only those of this platform.
    pub platform: Option<Platform>,
    /// Those connected last come last.
    pub oldest_first: bool,
}

/// A creator's open sync; or the last one, if it was given up and none was done since.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct SyncNow {
    /// Whose.
    #[diesel(sql_type = SqlUuid)]
    pub creator: CreatorId,
    /// Its job.
    #[diesel(sql_type = SqlUuid)]
    pub job: JobId,
    /// Where it stands: open, or failed.
    #[diesel(sql_type = Text)]
    pub state: JobState,
    /// What the last try failed with. An open one that does not wait for another try may keep it of an earlier one.
    #[diesel(sql_type = Nullable<Text>)]
    pub error_code: Option<String>,
    /// The same in words.
    #[diesel(sql_type = Nullable<Text>)]
    pub error: Option<String>,
    /// The platform's own id of the exchange.
    #[diesel(sql_type = Nullable<Text>)]
    pub log_id: Option<String>,
}

impl Store {
    /// At most `limit` creators of `project` behind `after`. A page's cost does not grow with its depth.
    pub async fn search_creators(
        &self,
        project: ProjectId,
        search: &Search,
        after: Option<CreatorPosition>,
        limit: i64,
    ) -> Result<Vec<Creator>, StoreError> {
        let mut query = creators::table
            .filter(creators::project_id.eq(project).and(creators::disconnecting_at.is_null()))
            .limit(limit)
            .select(Creator::as_select())
            .into_boxed();
        if let Some(status) = search.status {
            query = query.filter(creators::status.eq(status));
        }
        if let Some(platform) = search.platform {
            query = query.filter(creators::platform.eq(platform));
        }
        if !search.text.is_empty() {
            let beginning = format!("{}%", escape_like(&search.text.to_lowercase()));
            let alike = lower(creators::username).like(beginning).assume_not_null();
            query = match self.few_named(project, &search.text).await? {
                Some(few) => query.filter(creators::id.eq_any(few)),
                None => {
                    let own = creators::external_ref.eq(&search.text).assume_not_null();
                    query.filter(alike.or(creators::external_id.eq(&search.text)).or(own))
                }
            };
        }
        query = match (search.oldest_first, after) {
            (true, None) => query.order((creators::connected_at, creators::id)),
            (false, None) => query.order((creators::connected_at.desc(), creators::id.desc())),
            // The first filter carries the index, the second settles creators of one instant.
            (true, Some(after)) => query
                .filter(creators::connected_at.ge(after.connected_at))
                .filter(creators::connected_at.gt(after.connected_at).or(creators::id.gt(after.id)))
                .order((creators::connected_at, creators::id)),
            (false, Some(after)) => query
                .filter(creators::connected_at.le(after.connected_at))
                .filter(creators::connected_at.lt(after.connected_at).or(creators::id.lt(after.id)))
                .order((creators::connected_at.desc(), creators::id.desc())),
        };
        let mut connection = self.connection().await?;
        Ok(query.load(&mut connection).await?)
    }

    /// The creators whose username begins like this, or whose account has this id, on the platform or of the client's own;
    /// `None` if there are many.
    ///
    /// Written as bounds and not as a pattern: Postgres finds a pattern's beginning in the index only if it knows the pattern
    /// when it plans, and it does not always.
    async fn few_named(&self, project: ProjectId, text: &str) -> Result<Option<Vec<CreatorId>>, StoreError> {
        let mut connection = self.connection().await?;
        let is_here = creators::project_id.eq(project).and(creators::disconnecting_at.is_null());
        let (from, to) = (text.to_lowercase(), format!("{}{}", text.to_lowercase(), char::MAX));
        let name = || lower(creators::username).assume_not_null();
        let mut few: Vec<CreatorId> = creators::table
            .filter(is_here)
            .filter(FromByteOn::new(name(), from.into_sql::<Text>()))
            .filter(BeforeByte::new(name(), to.into_sql::<Text>()))
            .select(creators::id)
            .limit(FEW + 1)
            .load(&mut connection)
            .await?;
        // With every platform named, each is one look into the index of accounts.
        let account: Vec<CreatorId> = creators::table
            .filter(is_here)
            .filter(creators::platform.eq_any(Platform::VARIANTS).and(creators::external_id.eq(text)))
            .select(creators::id)
            .load(&mut connection)
            .await?;
        // A client may call several the same.
        let own: Vec<CreatorId> = creators::table
            .filter(is_here)
            .filter(creators::external_ref.eq(text))
            .select(creators::id)
            .limit(FEW + 1)
            .load(&mut connection)
            .await?;
        few.extend(account);
        few.extend(own);
        Ok(i64::try_from(few.len()).is_ok_and(|found| found <= FEW).then_some(few))
    }

    /// Where the syncs of these creators stand, of whom there is something to say.
    pub async fn syncs_now(&self, creators: &[CreatorId]) -> Result<HashMap<CreatorId, SyncNow>, StoreError> {
        let mut connection = self.connection().await?;
        let found: Vec<SyncNow> = sql_query(include_str!("syncs_now.sql"))
            .bind::<Array<SqlUuid>, _>(creators)
            .load(&mut connection)
            .await?;
        Ok(found.into_iter().map(|sync| (sync.creator, sync)).collect())
    }

    /// A creator's open sync, if there is one.
    pub async fn open_sync_of(&self, creator: CreatorId) -> Result<Option<JobId>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(jobs::table
            .filter(jobs::creator_id.eq(creator).and(jobs::kind.eq(JobKind::Sync)))
            .filter(jobs::state.eq_any(JobState::OPEN))
            .select(jobs::id)
            .first(&mut connection)
            .await
            .optional()?)
    }
}
