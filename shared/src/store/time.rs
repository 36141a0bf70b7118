//! Instants by Postgres's clock, the one clock that all processes share.

use std::time::Duration;

use diesel::data_types::PgInterval;
use diesel::dsl::sql;
use diesel::expression::{AsExpression, SqlLiteral, UncheckedBind};
use diesel::sql_types::{Interval, Timestamptz};

/// `now() + duration`, for a column or a comparison.
pub(super) type FromNow = UncheckedBind<SqlLiteral<Timestamptz>, <PgInterval as AsExpression<Interval>>::Expression>;

/// The instant that lies `duration` ahead of Postgres's now.
pub(super) fn from_now(duration: Duration) -> FromNow {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    sql::<Timestamptz>("now() + ").bind::<Interval, _>(PgInterval::from_microseconds(microseconds))
}

/// The instant that lies `duration` before Postgres's now.
pub(super) fn ago(duration: Duration) -> FromNow {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    sql::<Timestamptz>("now() - ").bind::<Interval, _>(PgInterval::from_microseconds(microseconds))
}
