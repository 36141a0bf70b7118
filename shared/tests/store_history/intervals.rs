//! Intervals, against another calendar than Postgres's.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, TimeDelta, TimeZone as _, Utc};
use proptest::strategy::{Strategy as _, ValueTree as _};
use shared::store::history::{HistoryRange, Interval};

use crate::support::Database;
use crate::{ALL, World};

/// What stands for each interval, by chrono's calendar and not by Postgres's.
fn expected(written: &[DateTime<Utc>], range: HistoryRange) -> Vec<DateTime<Utc>> {
    let mut last = BTreeMap::new();
    for at in written.iter().filter(|at| (range.from..range.to).contains(at)) {
        let interval = match range.interval {
            Interval::Day => (at.year(), at.ordinal()),
            Interval::Week => (at.iso_week().year(), at.iso_week().week()),
            Interval::Month => (at.year(), at.month()),
            Interval::Raw => (at.timestamp().try_into().unwrap(), at.timestamp_subsec_micros()),
        };
        let known = last.entry(interval).or_insert(*at);
        *known = (*known).max(*at);
    }
    last.into_values().collect()
}

/// All pages, of `limit` points each, as a client walks them.
async fn walk(world: &World, mut range: HistoryRange, limit: i64) -> Vec<DateTime<Utc>> {
    let mut walked = Vec::new();
    loop {
        let page = world.store().creator_history(world.project, world.creator, range, limit).await.unwrap().unwrap();
        walked.extend(page.iter().map(|point| point.at));
        match page.last() {
            Some(last) => range.from = range.interval.end(last.at),
            None => return walked,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_value_of_an_interval_stands_for_it_whatever_the_sessions_time_zone() {
    let world = World::start().await;
    let sql = world.database.client().await;
    sql.batch_execute("SELECT make_history_partitions('2023-11-01Z', '2025-03-01Z')").await.unwrap();
    let name: String = sql.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
    // Half an hour off, and with a summer time.
    sql.batch_execute(&format!("ALTER DATABASE {name} SET timezone = 'Australia/Adelaide'")).await.unwrap();
    let world =
        World { database: Database { store: Database::open(&world.database.url, 4), ..world.database }, ..world };
    // Around midnights: of days, of years, of a leap day, of Mondays.
    let midnight = |year, month, day| Utc.with_ymd_and_hms(year, month, day, 0, 0, 0).unwrap();
    let edges = [(2024, 1, 1), (2024, 2, 29), (2024, 3, 1), (2024, 4, 1), (2024, 7, 8), (2024, 12, 30), (2025, 1, 1)]
        .map(|(year, month, day)| midnight(year, month, day));
    let instant = (
        proptest::sample::select(edges.to_vec()),
        proptest::prop_oneof![
            -2_i64..=2,
            -90_000_000_000_i64..90_000_000_000,
            -3_000_000_000_000_i64..3_000_000_000_000
        ],
    );
    let some = proptest::collection::btree_set(instant.prop_map(|(at, by)| at + TimeDelta::microseconds(by)), 0..40);
    let mut runner = proptest::test_runner::TestRunner::default();
    let clear = format!("DELETE FROM creator_history WHERE creator_id = '{}'", world.creator);
    let cases = std::env::var("PROPTEST_CASES").map_or(24, |cases| cases.parse().expect("PROPTEST_CASES: a number"));
    for _ in 0..cases {
        let written: Vec<DateTime<Utc>> = some.new_tree(&mut runner).unwrap().current().into_iter().collect();
        sql.batch_execute(&clear).await.unwrap();
        for at in &written {
            let add = format!("INSERT INTO creator_history (creator_id, at) VALUES ('{}', '{at}')", world.creator);
            sql.batch_execute(&add).await.unwrap();
        }
        let bound = |place: usize, other| written.get(place).copied().unwrap_or(other);
        for interval in [Interval::Day, Interval::Week, Interval::Month, Interval::Raw] {
            for (from, to) in [
                (midnight(2023, 11, 1), midnight(2025, 4, 1)),
                (bound(3, edges[0]), bound(written.len() / 2 + 3, edges[6])),
            ] {
                let range = HistoryRange { from, to, interval };
                let expected = expected(&written, range);
                assert_eq!(walk(&world, range, ALL).await, expected, "{range:?} of {written:?}");
                assert_eq!(walk(&world, range, 3).await, expected, "by pages: {range:?} of {written:?}");
            }
        }
    }
}
