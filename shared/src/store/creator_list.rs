//! A project's creators as the dashboard lists them: searched, in one of several orders, a page at a time.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Nullable, Text, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use strum::{AsRefStr, Display, EnumString, VariantArray};

use super::creators::{Creator, Status};
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
    /// Which come first.
    pub order: ListOrder,
}

/// What the list is sorted by. Whose value is not known comes last, either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, AsRefStr, Display, EnumString, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum ListOrder {
    /// Connected last.
    #[default]
    Newest,
    /// Connected first.
    Oldest,
    /// The most followers.
    MostFollowers,
    /// The fewest.
    FewestFollowers,
    /// Synced last.
    SyncedLast,
    /// Synced longest ago.
    SyncedFirst,
}

/// A place in the list: behind this creator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPlace {
    /// Its number of followers, or its instant in microseconds since 1970; `None` if it is not known.
    pub value: Option<i64>,
    /// Its id, for creators of one value.
    pub id: CreatorId,
}

impl ListOrder {
    /// A creator's place in this order.
    pub fn place_of(self, creator: &Creator) -> ListPlace {
        let value = match self {
            Self::Newest | Self::Oldest => Some(creator.connected_at.timestamp_micros()),
            Self::MostFollowers | Self::FewestFollowers => creator.followers,
            Self::SyncedLast | Self::SyncedFirst => creator.last_synced_at.map(|at| at.timestamp_micros()),
        };
        ListPlace { value, id: creator.id }
    }

    /// Whether the values fall.
    fn falls(self) -> bool {
        matches!(self, Self::Newest | Self::MostFollowers | Self::SyncedLast)
    }
}

/// A query for creators that is not told yet which columns.
type Query<'a> = creators::BoxedQuery<'a, Pg>;

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
        after: Option<ListPlace>,
        limit: i64,
    ) -> Result<Vec<Creator>, StoreError> {
        let named = if search.text.is_empty() { None } else { self.few_named(project, &search.text).await? };
        let mut connection = self.connection().await?;
        let mut found: Vec<Creator> = Vec::new();
        // Those with a value, and then those without: each is a walk along an index, in whichever direction.
        if after.is_none_or(|after| after.value.is_some()) {
            let query = ordered(matching(project, search, named.as_deref()), search.order, after);
            found = query.select(Creator::as_select()).limit(limit).load(&mut connection).await?;
        }
        let left = limit - i64::try_from(found.len()).unwrap_or(limit);
        if left > 0 && !matches!(search.order, ListOrder::Newest | ListOrder::Oldest) {
            let after = after.filter(|after| after.value.is_none()).map(|after| after.id);
            let query = without_value(matching(project, search, named.as_deref()), search.order, after);
            let rest: Vec<Creator> = query.select(Creator::as_select()).limit(left).load(&mut connection).await?;
            found.extend(rest);
        }
        Ok(found)
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
            .bind::<Array<SqlUuid>, _>(creators.to_vec())
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

/// Those that are asked for. `named` are the few that are called so, if they are few.
fn matching<'a>(project: ProjectId, search: &'a Search, named: Option<&'a [CreatorId]>) -> Query<'a> {
    let is_here = creators::project_id.eq(project).and(creators::disconnecting_at.is_null());
    let mut query = creators::table.filter(is_here).into_boxed();
    if let Some(status) = search.status {
        query = query.filter(creators::status.eq(status));
        // In the words of the indexes of those alone: Postgres takes them only if it knows the state when it plans.
        if status != Status::Active {
            query = query.filter(sql::<Bool>("creators.status <> 'ACTIVE'"));
        }
    }
    if let Some(platform) = search.platform {
        query = query.filter(creators::platform.eq(platform));
        // As with the state: in the words of the indexes of those elsewhere.
        if platform != Platform::Tiktok {
            query = query.filter(sql::<Bool>("creators.platform <> 'TIKTOK'"));
        }
    }
    if let Some(named) = named {
        query.filter(creators::id.eq_any(named))
    } else if search.text.is_empty() {
        query
    } else {
        let beginning = format!("{}%", escape_like(&search.text.to_lowercase()));
        let alike = lower(creators::username).like(beginning).assume_not_null();
        let own = creators::external_ref.eq(&search.text).assume_not_null();
        query.filter(alike.or(creators::external_id.eq(&search.text)).or(own))
    }
}

/// In order, behind a place. Of two filters the first carries the index, and the second settles creators of one value.
fn ordered(query: Query<'_>, order: ListOrder, after: Option<ListPlace>) -> Query<'_> {
    let after = after.and_then(|after| Some((after.value?, after.id)));
    match order {
        ListOrder::Newest | ListOrder::Oldest => by_connection(query, order.falls(), after.map(instant)),
        ListOrder::MostFollowers | ListOrder::FewestFollowers => by_followers(query, order.falls(), after),
        ListOrder::SyncedLast | ListOrder::SyncedFirst => by_sync(query, order.falls(), after.map(instant)),
    }
}

fn instant((micros, id): (i64, CreatorId)) -> (DateTime<Utc>, CreatorId) {
    (DateTime::from_timestamp_micros(micros).unwrap_or_default(), id)
}

fn by_connection(query: Query<'_>, falls: bool, after: Option<(DateTime<Utc>, CreatorId)>) -> Query<'_> {
    let column = creators::connected_at;
    match (falls, after) {
        (false, None) => query.order((column, creators::id)),
        (true, None) => query.order((column.desc(), creators::id.desc())),
        (false, Some((at, id))) => {
            query.filter(column.ge(at)).filter(column.gt(at).or(creators::id.gt(id))).order((column, creators::id))
        }
        (true, Some((at, id))) => query
            .filter(column.le(at))
            .filter(column.lt(at).or(creators::id.lt(id)))
            .order((column.desc(), creators::id.desc())),
    }
}

fn by_followers(query: Query<'_>, falls: bool, after: Option<(i64, CreatorId)>) -> Query<'_> {
    let column = creators::followers;
    let query = query.filter(column.is_not_null());
    match (falls, after) {
        (false, None) => query.order((column, creators::id)),
        (true, None) => query.order((column.desc(), creators::id.desc())),
        (false, Some((number, id))) => query
            .filter(column.ge(number))
            .filter(column.gt(number).or(creators::id.gt(id)))
            .order((column, creators::id)),
        (true, Some((number, id))) => query
            .filter(column.le(number))
            .filter(column.lt(number).or(creators::id.lt(id)))
            .order((column.desc(), creators::id.desc())),
    }
}

fn by_sync(query: Query<'_>, falls: bool, after: Option<(DateTime<Utc>, CreatorId)>) -> Query<'_> {
    let column = creators::last_synced_at;
    let query = query.filter(column.is_not_null());
    match (falls, after) {
        (false, None) => query.order((column, creators::id)),
        (true, None) => query.order((column.desc(), creators::id.desc())),
        (false, Some((at, id))) => {
            query.filter(column.ge(at)).filter(column.gt(at).or(creators::id.gt(id))).order((column, creators::id))
        }
        (true, Some((at, id))) => query
            .filter(column.le(at))
            .filter(column.lt(at).or(creators::id.lt(id)))
            .order((column.desc(), creators::id.desc())),
    }
}

/// Those of whom nobody knows the value, behind a creator. The column is in the order so that its index is.
fn without_value(query: Query<'_>, order: ListOrder, after: Option<CreatorId>) -> Query<'_> {
    let query = match order {
        ListOrder::SyncedLast | ListOrder::SyncedFirst => {
            query.filter(creators::last_synced_at.is_null()).order((creators::last_synced_at, creators::id))
        }
        _ => query.filter(creators::followers.is_null()).order((creators::followers, creators::id)),
    };
    match after {
        Some(id) => query.filter(creators::id.gt(id)),
        None => query,
    }
}
