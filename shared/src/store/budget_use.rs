//! When each endpoint's budget was last used: what tells a flushed Redis from a new one.

use std::time::Duration;

use diesel::dsl::now;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::schema::budget_use;
use super::{Store, StoreError};
use crate::budget::{UsageLog, UsageLogError};

impl Store {
    /// Notes that `endpoint`'s budget is used now.
    pub async fn note_budget_use(&self, app: &str, endpoint: &str) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        diesel::insert_into(budget_use::table)
            .values((budget_use::app.eq(app), budget_use::endpoint.eq(endpoint), budget_use::used_at.eq(now)))
            .on_conflict((budget_use::app, budget_use::endpoint))
            .do_update()
            .set(budget_use::used_at.eq(now))
            .execute(&mut connection)
            .await?;
        Ok(())
    }

    /// How long ago `endpoint`'s budget was last used, by Postgres's clock; `None` if never.
    pub async fn budget_last_used(&self, app: &str, endpoint: &str) -> Result<Option<Duration>, StoreError> {
        use diesel::dsl::sql;
        use diesel::sql_types::BigInt;
        let mut connection = self.connection().await?;
        let age: Option<i64> = budget_use::table
            .find((app, endpoint))
            .select(sql::<BigInt>("(extract(epoch from now() - used_at) * 1000)::bigint"))
            .first(&mut connection)
            .await
            .optional()?;
        Ok(age.map(|milliseconds| Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))))
    }
}

/// The budget keeps its last uses here: a flush of Redis does not reach Postgres.
impl UsageLog for Store {
    fn touched<'a>(&'a self, app: &'a str, endpoint: &'a str) -> BoxFuture<'a, Result<(), UsageLogError>> {
        async move { Ok(self.note_budget_use(app, endpoint).await?) }.boxed()
    }

    fn last_used_age<'a>(
        &'a self,
        app: &'a str,
        endpoint: &'a str,
    ) -> BoxFuture<'a, Result<Option<Duration>, UsageLogError>> {
        async move { Ok(self.budget_last_used(app, endpoint).await?) }.boxed()
    }
}
