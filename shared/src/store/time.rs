//! Instants by Postgres's clock, the one clock that all processes share.

use std::time::Duration;

use diesel::IntoSql as _;
use diesel::data_types::PgInterval;
use diesel::dsl::{AsExprOf, now};
use diesel::sql_types::Timestamptz;

/// Postgres's now, as a column has it.
pub(super) type Now = AsExprOf<now, Timestamptz>;

/// `now() + duration`, for a column or a comparison. Typed all the way: what diesel knows only as text it prepares anew at
/// each use.
pub(super) type FromNow = <Now as std::ops::Add<PgInterval>>::Output;

/// Postgres's now.
pub(super) fn present() -> Now {
    now.into_sql::<Timestamptz>()
}

/// The instant that lies `duration` ahead of Postgres's now.
pub(super) fn from_now(duration: Duration) -> FromNow {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    present() + PgInterval::from_microseconds(microseconds)
}

/// The instant that lies `duration` before Postgres's now.
pub(super) fn ago(duration: Duration) -> <Now as std::ops::Sub<PgInterval>>::Output {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    present() - PgInterval::from_microseconds(microseconds)
}
