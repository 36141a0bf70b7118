//! Lines over time, drawn here on the server: SVG that a stylesheet colours.
//!
//! A picture is as wide and as high as its place, so it has no text inside: that would be stretched. The marks are evenly apart,
//! and so a row of plain text beside it names them.

mod scale;

use chrono::{DateTime, TimeDelta, Utc};

use self::scale::{Scale, part};
use super::numbers::Numbers;

/// A picture's own units; the page decides how large it is.
pub const WIDTH: u32 = 600;
/// See [`WIDTH`].
pub const HEIGHT: u32 = 160;
/// A small picture's.
pub const SPARK_WIDTH: u32 = 96;
/// See [`SPARK_WIDTH`].
pub const SPARK_HEIGHT: u32 = 24;
/// Room for the line's own width.
const EDGE: f64 = 2.0;
/// Days that have a name below the picture.
const DAYS_NAMED: i32 = 3;
/// Longer spans are named by month and year.
const LONG: TimeDelta = TimeDelta::days(300);
/// Shorter ones with the time.
pub const SHORT: TimeDelta = TimeDelta::days(4);

/// A value at an instant; `None` where nobody knows it.
pub type Point = (DateTime<Utc>, Option<i64>);

/// A line with its marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chart {
    /// The line, as the `d` of a path.
    pub line: String,
    /// What is below it.
    pub area: String,
    /// The lines of the marks.
    pub grid: String,
    /// Where it ends: a line of no length, which is drawn as a dot.
    pub end: String,
    /// The marks' names, from above.
    pub marks: Vec<String>,
    /// Days, from left to right.
    pub days: Vec<String>,
}

/// Draws what was known from `from` to `to`; `None` without any value.
pub fn chart(points: &[Point], from: DateTime<Utc>, to: DateTime<Utc>, numbers: Numbers) -> Option<Chart> {
    let scale = Scale::holding(points.iter().filter_map(|(_, value)| *value))?;
    let place = Place { from, to, scale, width: f64::from(WIDTH), height: f64::from(HEIGHT) };
    let runs = place.runs(points);
    let marks: Vec<i64> = scale.marks().collect();
    Some(Chart {
        line: runs.iter().map(|run| line(run)).collect(),
        area: runs.iter().map(|run| area(run, f64::from(HEIGHT))).collect(),
        grid: marks.iter().map(|mark| format!("M0 {:.1}H{WIDTH}", place.y(*mark))).collect(),
        end: runs.last().and_then(|run| run.last()).map(|(x, y)| format!("M{x:.1} {y:.1}h0")).unwrap_or_default(),
        marks: marks.iter().rev().map(|mark| numbers.mark(*mark, scale.step(), scale.largest())).collect(),
        days: days(from, to),
    })
}

/// The line alone, small, of values that are evenly apart; empty without two of them.
pub fn spark(values: &[Option<i64>]) -> String {
    let Some(scale) = Scale::holding(values.iter().flatten().copied()) else { return String::new() };
    let second = |number: usize| DateTime::from_timestamp(i64::try_from(number).unwrap_or(0), 0).unwrap_or_default();
    let points: Vec<Point> = values.iter().enumerate().map(|(number, value)| (second(number), *value)).collect();
    let to = second(values.len().saturating_sub(1));
    let place = Place { from: second(0), to, scale, width: f64::from(SPARK_WIDTH), height: f64::from(SPARK_HEIGHT) };
    if values.iter().flatten().count() < 2 {
        return String::new();
    }
    place.runs(&points).iter().map(|run| line(run)).collect()
}

/// What was known each day: a value holds until the day before the next one was read, since a sync that finds nothing new
/// writes nothing. The last one holds until `to`.
pub fn held(points: &[Point], to: DateTime<Utc>) -> Vec<Point> {
    const DAY: TimeDelta = TimeDelta::days(1);
    let mut held = Vec::with_capacity(points.len() + 2);
    for (place, (at, value)) in points.iter().enumerate() {
        held.push((*at, *value));
        let next = points.get(place + 1).map_or(Some(to), |(next, _)| next.checked_sub_signed(DAY));
        if let Some(next) = next.filter(|next| next > at) {
            held.push((next, *value));
        }
    }
    held
}

/// Where points lie.
struct Place {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    scale: Scale,
    width: f64,
    height: f64,
}

impl Place {
    fn x(&self, at: DateTime<Utc>) -> f64 {
        let length = |span: TimeDelta| i128::from(span.num_milliseconds());
        EDGE + part(length(at - self.from), length(self.to - self.from)) * (self.width - 2.0 * EDGE)
    }

    fn y(&self, value: i64) -> f64 {
        self.height - EDGE - self.scale.place(value) * (self.height - 2.0 * EDGE)
    }

    /// The lines that a pen draws without being lifted: a value that nobody knows is a gap.
    fn runs(&self, points: &[Point]) -> Vec<Vec<(f64, f64)>> {
        let known = points.chunk_by(|(_, one), (_, next)| one.is_some() == next.is_some());
        known
            .map(|run| run.iter().filter_map(|(at, value)| Some((self.x(*at), self.y((*value)?)))).collect::<Vec<_>>())
            .filter(|run| !run.is_empty())
            .collect()
    }
}

fn line(run: &[(f64, f64)]) -> String {
    match run {
        // Drawn as a dot, by its round ends.
        [(x, y)] => format!("M{x:.1} {y:.1}h0"),
        [(x, y), rest @ ..] => {
            let rest: String = rest.iter().map(|(x, y)| format!("L{x:.1} {y:.1}")).collect();
            format!("M{x:.1} {y:.1}{rest}")
        }
        [] => String::new(),
    }
}

fn area(run: &[(f64, f64)], bottom: f64) -> String {
    match (run.first(), run.last()) {
        (Some((first, _)), Some((last, _))) if run.len() > 1 => {
            format!("{}L{last:.1} {bottom:.1}L{first:.1} {bottom:.1}Z", line(run))
        }
        _ => String::new(),
    }
}

/// Some days from the first to the last, evenly apart.
fn days(from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<String> {
    let span = to - from;
    let format = match span {
        span if span >= LONG => "%b %Y",
        span if span < SHORT => "%-d %b %H:%M",
        _ => "%-d %b",
    };
    let mut days: Vec<String> = (0..DAYS_NAMED)
        .filter_map(|number| Some((from + span.checked_mul(number)? / (DAYS_NAMED - 1)).format(format).to_string()))
        .collect();
    days.dedup();
    days
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600 + day * 86_400, 0).unwrap()
    }

    fn drawn(points: &[Point], days: i64) -> Option<Chart> {
        chart(points, at(0), at(days), Numbers::default())
    }

    #[test]
    fn a_line_goes_up_where_numbers_grow() {
        let chart = drawn(&[(at(0), Some(0)), (at(5), Some(5)), (at(10), Some(10))], 10).unwrap();
        assert_eq!(chart.line, "M2.0 158.0L300.0 80.0L598.0 2.0");
        assert_eq!(chart.area, "M2.0 158.0L300.0 80.0L598.0 2.0L598.0 160.0L2.0 160.0Z");
        assert_eq!(chart.end, "M598.0 2.0h0");
        assert_eq!(chart.marks, ["10", "5", "0"]);
        assert_eq!(chart.days, ["1 Jan", "6 Jan", "11 Jan"]);
        assert_eq!(chart.grid, "M0 158.0H600M0 80.0H600M0 2.0H600");
    }

    #[test]
    fn what_nobody_knows_is_a_gap_and_never_nothing() {
        assert_eq!(drawn(&[], 10), None);
        assert_eq!(drawn(&[(at(0), None), (at(1), None)], 10), None);
        let points =
            [(at(0), None), (at(2), Some(8)), (at(3), None), (at(5), Some(8)), (at(10), Some(8)), (at(10), None)];
        let chart = drawn(&points, 10).unwrap();
        assert_eq!(chart.line, "M121.2 80.0h0M300.0 80.0L598.0 80.0", "one value is a dot");
        assert_eq!(chart.marks, ["9", "8", "7"]);
        assert_eq!(drawn(&[(at(4), Some(3))], 0).unwrap().line, "M2.0 80.0h0", "no time has passed");
        assert_eq!(drawn(&[(at(4), Some(3))], 0).unwrap().days, ["1 Jan 00:00"]);
    }

    #[test]
    fn a_value_holds_until_the_next_one() {
        let points = [(at(0), Some(1)), (at(1), Some(2)), (at(9), Some(3))];
        let expected = [(at(0), Some(1)), (at(1), Some(2)), (at(8), Some(2)), (at(9), Some(3)), (at(10), Some(3))];
        assert_eq!(held(&points, at(10)), expected);
        assert_eq!(held(&points, at(9)).last(), Some(&(at(9), Some(3))));
        assert!(held(&[], at(9)).is_empty());
    }

    #[test]
    fn a_small_line_needs_two_values() {
        assert_eq!(spark(&[]), "");
        assert_eq!(spark(&[None, Some(4), None]), "");
        assert_eq!(spark(&[Some(0), Some(1)]), "M2.0 22.0L94.0 2.0");
        assert_eq!(spark(&[Some(4), Some(4), Some(4)]), "M2.0 12.0L48.0 12.0L94.0 12.0");
    }

    /// Every number of a path's text.
    fn numbers(path: &str) -> Vec<f64> {
        let parts = path.split(|c: char| c.is_ascii_alphabetic() && c != 'e' || c == ' ');
        parts.filter(|part| !part.is_empty()).map(|part| part.parse().expect("a number")).collect()
    }

    proptest! {
        #[test]
        fn every_path_stays_within_its_picture(
            values in prop::collection::vec((-400_i64..400, prop::option::of(any::<i64>())), 0..40),
            days in -3_i64..400,
        ) {
            let mut points: Vec<Point> = values.into_iter().map(|(day, value)| (at(day), value)).collect();
            points.sort();
            let small: Vec<Option<i64>> = points.iter().map(|(_, value)| *value).collect();
            for number in numbers(&spark(&small)) {
                prop_assert!((0.0..=f64::from(SPARK_WIDTH)).contains(&number));
            }
            let Some(chart) = drawn(&held(&points, at(days)), days) else { return Ok(()) };
            for path in [&chart.line, &chart.area, &chart.grid, &chart.end] {
                for number in numbers(path) {
                    prop_assert!((0.0..=f64::from(WIDTH)).contains(&number), "{} in {}", number, path);
                }
            }
        }
    }
}
