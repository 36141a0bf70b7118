//! The past of the counters: a row for each sync that changed something, in partitions by month.
//!
//! A sync appends in its own transactions, so its fence holds here too: what was written stays written once, however often
//! the job starts. A creator's history goes with it, by a trigger.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use strum::{AsRefStr, Display, EnumString};

use super::prepared::Prepared;
use super::schema::{video_history, videos};
use super::time::{ago, from_now, present};
use super::{Store, StoreError};
use crate::ids::{CreatorId, ProjectId, VideoId};

/// So far ahead the partitions lie ready, as the migration makes them first: a fleet may be stopped for as long.
const AHEAD: Duration = Duration::from_secs(92 * 86_400);
/// Videos whose history one statement erases.
const ERASED_AT_A_TIME: usize = 100;

/// What one point of a history stands for. Days, weeks and months are those of UTC; a week begins on Monday (ISO 8601).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, AsRefStr, Display, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Interval {
    /// A day.
    #[default]
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
    /// Every sync that changed something.
    Raw,
}

impl Interval {
    /// The first instant after the interval that `at` lies in; at the end of time, `at` itself.
    pub fn end(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let day = at.date_naive();
        let next: Option<NaiveDate> = match self {
            // Postgres counts microseconds.
            Self::Raw => return at.checked_add_signed(chrono::TimeDelta::microseconds(1)).unwrap_or(at),
            Self::Day => day.succ_opt(),
            Self::Week => day.checked_add_days(Days::new(7 - u64::from(day.weekday().num_days_from_monday()))),
            Self::Month => day.with_day(1).and_then(|first| first.checked_add_months(Months::new(1))),
        };
        next.map_or(at, |next| next.and_time(NaiveTime::MIN).and_utc())
    }

    /// The unit that Postgres's `date_trunc` knows it by.
    fn unit(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Raw => "microseconds",
        }
    }
}

/// Which part of a history is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRange {
    /// Not before this instant.
    pub from: DateTime<Utc>,
    /// Before this instant.
    pub to: DateTime<Utc>,
    /// What a point stands for: it is the last value in it.
    pub interval: Interval,
}

/// A creator's counters at an instant; `None` where the platform did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns are described in the migrations and the contract")]
pub struct CreatorPoint {
    pub at: DateTime<Utc>,
    pub counters: CreatorCounters,
    /// The sum over the videos that were listed then.
    pub views: Option<i64>,
}

/// What a profile counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns are described in the migrations and the contract")]
pub struct CreatorCounters {
    pub followers: Option<i64>,
    pub following: Option<i64>,
    pub likes: Option<i64>,
    pub video_count: Option<i64>,
}

/// A video's counters at an instant; `None` where the platform did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns are described in the migrations and the contract")]
pub struct VideoPoint {
    pub at: DateTime<Utc>,
    pub views: Option<i64>,
    pub likes: Option<i64>,
    pub comments: Option<i64>,
    pub shares: Option<i64>,
}

/// Of which months a partition is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct MissingMonths {
    /// Of this one.
    #[diesel(sql_type = Bool)]
    pub this_month: bool,
    /// Of the next one.
    #[diesel(sql_type = Bool)]
    pub next_month: bool,
}

type At = Nullable<Timestamptz>;
type Count = Nullable<BigInt>;
type CreatorRow = (Option<DateTime<Utc>>, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
type VideoRow = (Option<DateTime<Utc>>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);

impl Store {
    /// At most `limit` points of a creator, oldest first; `None` if the project has no such creator.
    ///
    /// One query, which reads the index in its order and stops at the limit.
    pub async fn creator_history(
        &self,
        project: ProjectId,
        creator: CreatorId,
        range: HistoryRange,
        limit: i64,
    ) -> Result<Option<Vec<CreatorPoint>>, StoreError> {
        let query = bind_range(Prepared::new(include_str!("creator_history.sql")), range, limit)
            .bind(creator.into_sql::<SqlUuid>())
            .bind(project.into_sql::<SqlUuid>());
        let mut connection = self.connection().await?;
        let rows: Vec<CreatorRow> =
            query.rows::<(At, Count, Count, Count, Count, Count)>().load(&mut connection).await?;
        Ok(points(rows, |(at, followers, following, likes, video_count, views)| {
            let counters = CreatorCounters { followers, following, likes, video_count };
            Some(CreatorPoint { at: at?, counters, views })
        }))
    }

    /// At most `limit` points of a creator's video, listed or not, oldest first; `None` if the project has no such creator,
    /// or the creator no such video.
    pub async fn video_history(
        &self,
        project: ProjectId,
        creator: CreatorId,
        video: VideoId,
        range: HistoryRange,
        limit: i64,
    ) -> Result<Option<Vec<VideoPoint>>, StoreError> {
        let query = Prepared::new(include_str!("video_history.sql")).bind(video.into_sql::<SqlUuid>());
        let query =
            bind_range(query, range, limit).bind(creator.into_sql::<SqlUuid>()).bind(project.into_sql::<SqlUuid>());
        let mut connection = self.connection().await?;
        let rows: Vec<VideoRow> = query.rows::<(At, Count, Count, Count, Count)>().load(&mut connection).await?;
        Ok(points(rows, |(at, views, likes, comments, shares)| {
            Some(VideoPoint { at: at?, views, likes, comments, shares })
        }))
    }

    /// Erases the history of the videos of a creator who is on the way out, a few at a time, so that the transaction that
    /// deletes the creator finds little left: nobody sees it any more, and no sync adds to it. Gives the number of rows.
    pub async fn erase_video_history(&self, creator: CreatorId) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        let ids: Vec<VideoId> =
            videos::table.filter(videos::creator_id.eq(creator)).select(videos::id).load(&mut connection).await?;
        let mut erased = 0;
        for some in ids.chunks(ERASED_AT_A_TIME) {
            erased += diesel::delete(video_history::table.filter(video_history::video_id.eq_any(some)))
                .execute(&mut connection)
                .await?;
        }
        Ok(erased)
    }

    /// Makes the partitions of this month and the next ones, where they are missing. Gives their number.
    pub async fn make_history_partitions(&self) -> Result<i32, StoreError> {
        let mut connection = self.connection().await?;
        Ok(Prepared::new("SELECT make_history_partitions({}, {})")
            .bind(present())
            .bind(from_now(AHEAD))
            .rows::<Integer>()
            .get_result(&mut connection)
            .await?)
    }

    /// Of which of this month and the next a partition is missing. Without this month's, no sync that changes something can
    /// be written.
    pub async fn missing_history_months(&self) -> Result<MissingMonths, StoreError> {
        let mut connection = self.connection().await?;
        Ok(diesel::sql_query(
            "SELECT count(*) FILTER (WHERE missing AND ahead = 0) > 0 AS this_month, \
                 count(*) FILTER (WHERE missing AND ahead = 1) > 0 AS next_month \
             FROM (SELECT ahead, NOT EXISTS (SELECT FROM pg_inherits \
                     WHERE inhparent = to_regclass(history) AND inhrelid = to_regclass(history || \
                         to_char((now() AT TIME ZONE 'UTC') + make_interval(months => ahead), '_YYYY_MM'))) AS missing \
                 FROM unnest(ARRAY['creator_history', 'video_history']) AS history, generate_series(0, 1) AS ahead \
             ) AS looked",
        )
        .get_result(&mut connection)
        .await?)
    }

    /// Drops the partitions that are older than `keep` as a whole. Gives their number.
    pub async fn drop_history_partitions(&self, keep: Duration) -> Result<i32, StoreError> {
        let mut connection = self.connection().await?;
        Ok(Prepared::new("SELECT drop_history_partitions({})")
            .bind(ago(keep))
            .rows::<Integer>()
            .get_result(&mut connection)
            .await?)
    }
}

/// Binds what both histories' queries have in common, in the order of their texts.
fn bind_range(query: Prepared<'_>, range: HistoryRange, limit: i64) -> Prepared<'_> {
    let HistoryRange { from, to, interval } = range;
    query
        .bind(from.into_sql::<Timestamptz>())
        .bind(to.into_sql::<Timestamptz>())
        .bind(interval.unit().into_sql::<Text>())
        .bind(interval.unit().into_sql::<Text>())
        .bind(limit.into_sql::<BigInt>())
}

/// The rows' points. No row: nobody to have a history. A row without an instant stands for one without any.
fn points<Row, Point>(rows: Vec<Row>, point: impl Fn(Row) -> Option<Point>) -> Option<Vec<Point>> {
    if rows.is_empty() { None } else { Some(rows.into_iter().filter_map(point).collect()) }
}

/// Appends to a creator's history, in the transaction of a sync's last write and after its videos are written. The views are
/// summed anew over the videos that are listed, which lie beside each other: so they never drift from what a reader of the
/// videos would add up. No videos at all is a sum of 0 only if the whole list was read.
pub(super) async fn record_creator(
    connection: &AsyncPgConnection,
    creator: CreatorId,
    counters: CreatorCounters,
    all_listed: bool,
) -> QueryResult<usize> {
    Prepared::new(include_str!("record_creator.sql"))
        .bind(creator.into_sql::<SqlUuid>())
        .bind(counters.followers.into_sql::<Nullable<BigInt>>())
        .bind(counters.following.into_sql::<Nullable<BigInt>>())
        .bind(counters.likes.into_sql::<Nullable<BigInt>>())
        .bind(counters.video_count.into_sql::<Nullable<BigInt>>())
        .bind(all_listed.into_sql::<Bool>())
        .bind(creator.into_sql::<SqlUuid>())
        .execute(&mut &*connection)
        .await
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Timelike as _, Weekday};
    use proptest::prelude::*;

    use super::*;

    fn begins(interval: Interval, at: DateTime<Utc>) -> bool {
        let midnight = at.num_seconds_from_midnight() == 0 && at.nanosecond() == 0;
        match interval {
            Interval::Raw => true,
            Interval::Day => midnight,
            Interval::Week => midnight && at.weekday() == Weekday::Mon,
            Interval::Month => midnight && at.day() == 1,
        }
    }

    proptest! {
        #[test]
        fn an_interval_ends_where_the_next_one_begins(micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000) {
            let at = DateTime::from_timestamp_micros(micros).expect("within the years");
            let longest = [(Interval::Raw, 0), (Interval::Day, 1), (Interval::Week, 7), (Interval::Month, 31)];
            for (interval, days) in longest {
                let end = interval.end(at);
                let within = end > at && end - at <= TimeDelta::days(days).max(TimeDelta::microseconds(1));
                prop_assert!(within && begins(interval, end), "{interval} of {at} ends {end}");
                let last = end - TimeDelta::microseconds(1);
                prop_assert_eq!(interval.end(last), end, "and its last instant is in it");
            }
        }
    }

    #[test]
    fn at_the_end_of_time_nothing_panics() {
        for interval in [Interval::Raw, Interval::Day, Interval::Week, Interval::Month] {
            assert_eq!(interval.end(DateTime::<Utc>::MAX_UTC), DateTime::<Utc>::MAX_UTC);
        }
    }
}
