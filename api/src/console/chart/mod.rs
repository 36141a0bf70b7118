//! Lines over time, drawn here on the server: SVG that a stylesheet colours.
//!
//! A picture is as wide and as high as its place, so it has no text inside: that would be stretched. The marks are evenly apart,
//! and so a row of plain text beside it names them.

mod scale;

use chrono::{DateTime, TimeDelta, Utc};

use self::scale::{Scale, part};
use super::numbers::Numbers;

/// A picture's own units, fine enough to be whole numbers; the page decides how large it is.
pub const WIDTH: i32 = 1200;
/// See [`WIDTH`].
pub const HEIGHT: i32 = 320;
/// A small picture's.
pub const SPARK_WIDTH: i32 = 192;
/// See [`SPARK_WIDTH`].
pub const SPARK_HEIGHT: i32 = 48;
/// Room for the line's own width.
const EDGE: i32 = 4;
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
    let place = Place { from, to, scale, width: WIDTH, height: HEIGHT };
    let runs = place.runs(points);
    let marks: Vec<i64> = scale.marks().collect();
    Some(Chart {
        line: runs.iter().map(|run| line(run)).collect(),
        area: runs.iter().map(|run| area(run)).collect(),
        grid: marks.iter().map(|mark| format!("M0 {}H{WIDTH}", place.y(*mark))).collect::<Vec<_>>().concat(),
        end: runs.last().and_then(|run| run.last()).map(|(x, y)| format!("M{x} {y}h0")).unwrap_or_default(),
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
    let place = Place { from: second(0), to, scale, width: SPARK_WIDTH, height: SPARK_HEIGHT };
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
    width: i32,
    height: i32,
}

impl Place {
    fn x(&self, at: DateTime<Utc>) -> i32 {
        let length = |span: TimeDelta| i128::from(span.num_milliseconds());
        EDGE + whole(part(length(at - self.from), length(self.to - self.from)), self.width - 2 * EDGE)
    }

    fn y(&self, value: i64) -> i32 {
        self.height - EDGE - whole(self.scale.place(value), self.height - 2 * EDGE)
    }

    /// The lines that a pen draws without being lifted: a value that nobody knows is a gap.
    fn runs(&self, points: &[Point]) -> Vec<Vec<(i32, i32)>> {
        let known = points.chunk_by(|(_, one), (_, next)| one.is_some() == next.is_some());
        known
            .map(|run| run.iter().filter_map(|(at, value)| Some((self.x(*at), self.y((*value)?)))).collect::<Vec<_>>())
            .filter(|run| !run.is_empty())
            .collect()
    }
}

/// So much of a length, rounded.
fn whole(part: f64, length: i32) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "a part is from 0 to 1")]
    let whole = (part * f64::from(length)).round() as i32;
    whole
}

/// From point to point, each as seen from the one before: that is the shortest.
fn line(run: &[(i32, i32)]) -> String {
    let Some((x, y)) = run.first() else { return String::new() };
    let mut line = format!("M{x} {y}");
    if run.len() == 1 {
        // Drawn as a dot, by its round ends.
        line.push_str("h0");
    }
    for ((x, y), (next_x, next_y)) in run.iter().zip(run.iter().skip(1)) {
        let (across, down) = (next_x - x, next_y - y);
        let apart = if down < 0 { "" } else { " " };
        line.extend(["l", &across.to_string(), apart, &down.to_string()]);
    }
    line
}

fn area(run: &[(i32, i32)]) -> String {
    match run {
        [(first, _), .., _] => format!("{}V{HEIGHT}H{first}Z", line(run)),
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
        assert_eq!(chart.line, "M4 316l596-156l596-156");
        assert_eq!(chart.area, "M4 316l596-156l596-156V320H4Z");
        assert_eq!(chart.end, "M1196 4h0");
        assert_eq!(chart.marks, ["10", "5", "0"]);
        assert_eq!(chart.days, ["1 Jan", "6 Jan", "11 Jan"]);
        assert_eq!(chart.grid, "M0 316H1200M0 160H1200M0 4H1200");
    }

    #[test]
    fn what_nobody_knows_is_a_gap_and_never_nothing() {
        assert_eq!(drawn(&[], 10), None);
        assert_eq!(drawn(&[(at(0), None), (at(1), None)], 10), None);
        let points =
            [(at(0), None), (at(2), Some(8)), (at(3), None), (at(5), Some(8)), (at(10), Some(8)), (at(10), None)];
        let chart = drawn(&points, 10).unwrap();
        assert_eq!(chart.line, "M242 160h0M600 160l596 0", "one value is a dot");
        assert_eq!(chart.marks, ["9", "8", "7"]);
        assert_eq!(drawn(&[(at(4), Some(3))], 0).unwrap().line, "M4 160h0", "no time has passed");
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
        assert_eq!(spark(&[Some(0), Some(1)]), "M4 44l184-40");
        assert_eq!(spark(&[Some(4), Some(4), Some(4)]), "M4 24l92 0l92 0");
    }

    /// Where a pen comes that follows a path; `None` if it is no path of ours.
    fn places(path: &str) -> Option<Vec<(i64, i64)>> {
        let (mut places, mut at) = (Vec::new(), (0, 0));
        for step in path.split_inclusive(|_| true).fold(Vec::<String>::new(), |mut steps, c| {
            match steps.last_mut() {
                Some(step) if !c.chars().all(|c| c.is_ascii_alphabetic()) => step.push_str(c),
                _ => steps.push(c.to_owned()),
            }
            steps
        }) {
            let (command, numbers) = step.split_at(1);
            let numbers = numbers.replace('-', " -");
            let numbers: Vec<i64> = numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
            at = match (command, numbers.as_slice()) {
                ("M", [x, y]) => (*x, *y),
                ("l", [x, y]) => (at.0 + x, at.1 + y),
                ("h", [x]) => (at.0 + x, at.1),
                ("H", [x]) => (*x, at.1),
                ("V", [y]) => (at.0, *y),
                ("Z", []) => at,
                _ => return None,
            };
            places.push(at);
        }
        Some(places)
    }

    fn is_within(path: &str, width: i32, height: i32) -> bool {
        let within = |(x, y): &(i64, i64)| (0..=i64::from(width)).contains(x) && (0..=i64::from(height)).contains(y);
        places(path).is_some_and(|places| places.iter().all(within))
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
            prop_assert!(is_within(&spark(&small), SPARK_WIDTH, SPARK_HEIGHT));
            let Some(chart) = drawn(&held(&points, at(days)), days) else { return Ok(()) };
            for path in [&chart.line, &chart.area, &chart.grid, &chart.end] {
                prop_assert!(is_within(path, WIDTH, HEIGHT), "{}", path);
            }
        }
    }
}
