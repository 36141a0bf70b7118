//! Figures made of what the store tells: pure, so that each can be tried by itself.

use chrono::{DateTime, TimeDelta, Utc};
use shared::store::history::CreatorPoint;
use shared::store::trends::{Engagement, VideoTrend};

use crate::console::chart::{Chart, Point, SHORT, chart, held};
use crate::console::numbers::{Numbers, Short};

/// Lines of the table beside the charts: what a person reads through.
const MAX_LINES: usize = 31;
const DAY_SECONDS: f64 = 86_400.0;

/// A creator's past within a time span.
pub struct Past {
    /// When the span begins: if nothing was known then, when something was.
    pub from: DateTime<Utc>,
    /// When it ends.
    pub to: DateTime<Utc>,
    /// What was recorded, oldest first; the first may be older than the span, and held when it began.
    pub points: Vec<CreatorPoint>,
}

/// A counter over time.
pub struct Panel {
    /// What is counted.
    pub name: &'static str,
    /// How many there are now.
    pub now: Short,
    /// How that has changed.
    pub growth: Option<Growth>,
    /// The line, if there are two points of it.
    pub chart: Option<Chart>,
    /// The line in words.
    pub words: String,
    /// What was recorded, separated by commas; nothing for what nobody knows.
    pub values: String,
    /// Why there is no number.
    pub missing: &'static str,
}

/// How a counter has changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Growth {
    /// `up`, `down` or `same`.
    pub class: &'static str,
    /// The difference.
    pub change: Short,
    /// The same as a part of what was there, if anything was.
    pub percent: Option<String>,
    /// The same for each day, if more than one has passed.
    pub per_day: Option<String>,
}

/// What is recorded at an instant, in a table.
pub struct Line {
    /// The day.
    pub day: String,
    /// Followers.
    pub followers: String,
    /// Likes.
    pub likes: String,
    /// Views.
    pub views: String,
}

impl Past {
    /// What was recorded within a span, after what was last known before it.
    pub fn new(
        start: Option<DateTime<Utc>>,
        to: DateTime<Utc>,
        before: Option<CreatorPoint>,
        within: Vec<CreatorPoint>,
    ) -> Self {
        let first = within.first().map(|point| point.at);
        // Postgres's clock may be ahead of ours.
        let to = within.last().map_or(to, |last| last.at.max(to));
        let from = match (start, &before) {
            (Some(start), Some(_)) => start,
            _ => first.or(start).unwrap_or(to),
        };
        let before = before.map(|point| CreatorPoint { at: from, ..point });
        Self { from, to, points: before.into_iter().chain(within).collect() }
    }

    /// Whether there is something to compare.
    pub fn is_short(&self) -> bool {
        self.points.len() < 2 && self.points.first().is_none_or(|point| point.at >= self.to - TimeDelta::days(1))
    }

    /// A counter's panel.
    pub fn panel(
        &self,
        name: &'static str,
        now: Option<i64>,
        missing: &'static str,
        counter: fn(&CreatorPoint) -> Option<i64>,
        numbers: Numbers,
    ) -> Panel {
        let points: Vec<Point> = self.points.iter().map(|point| (point.at, counter(point))).collect();
        let held = held(&points, self.to);
        let chart = if self.is_short() { None } else { chart(&held, self.from, self.to, numbers) };
        Panel {
            name,
            now: numbers.short(now),
            growth: if self.is_short() { None } else { growth(&held, numbers) },
            words: chart.as_ref().map(|_| in_words(&held, numbers)).unwrap_or_default(),
            chart,
            values: joined(points.iter().map(|(_, value)| value.map(|value| value.to_string()).unwrap_or_default())),
            missing: if now.is_none() { missing } else { "" },
        }
    }

    /// When something was recorded: seconds since 1970, separated by commas.
    pub fn times(&self) -> String {
        joined(self.points.iter().map(|point| point.at.timestamp().to_string()))
    }

    /// What was recorded, newest first; of many points some, evenly.
    pub fn lines(&self, numbers: Numbers) -> Vec<Line> {
        let format = if self.to - self.from < SHORT { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d" };
        let line = |point: &CreatorPoint| Line {
            day: point.at.format(format).to_string(),
            followers: numbers.exact_or_dash(point.counters.followers),
            likes: numbers.exact_or_dash(point.counters.likes),
            views: numbers.exact_or_dash(point.views),
        };
        self.points.iter().rev().step_by(self.points.len().div_ceil(MAX_LINES).max(1)).map(line).collect()
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

/// From the first value that is known to the last.
fn growth(points: &[Point], numbers: Numbers) -> Option<Growth> {
    let known: Vec<(DateTime<Utc>, i64)> = points.iter().filter_map(|(at, value)| Some((*at, (*value)?))).collect();
    let ((from, old), (to, new)) = (known.first()?, known.last()?);
    let change = new.saturating_sub(*old);
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let (change_part, old_part, seconds) = (change as f64, *old as f64, (*to - *from).num_seconds() as f64);
    Some(Growth {
        class: match change {
            1.. => "up",
            0 => "same",
            _ => "down",
        },
        change: numbers.short_change(change),
        percent: (*old > 0).then(|| numbers.percent(change_part / old_part)),
        per_day: (seconds >= DAY_SECONDS).then(|| numbers.rate(change_part / (seconds / DAY_SECONDS))),
    })
}

fn in_words(points: &[Point], numbers: Numbers) -> String {
    let known = |point: &Point| Some((point.0.format("%-d %B %Y"), numbers.exact(point.1?)));
    match (points.iter().find_map(known), points.iter().rev().find_map(known)) {
        (Some((from, old)), Some((to, new))) => format!("From {old} on {from} to {new} on {to}."),
        _ => String::new(),
    }
}

/// What part of the views has led to something, if there were views.
pub fn engagement_rate(sums: &Engagement) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let [views, likes, comments, shares] = [sums.views, sums.likes, sums.comments, sums.shares].map(|sum| sum as f64);
    (sums.views > 0).then(|| (likes + comments + shares) / views)
}

/// A video's views at the end of each of `parts` equal parts of a time span, as far as anybody knows; before all: what was
/// known when the span began.
pub fn video_line(trend: &VideoTrend, parts: usize) -> Vec<Option<i64>> {
    let mut line = Vec::with_capacity(parts + 1);
    let mut last = trend.before.flatten();
    line.push(last);
    let mut recorded = trend.parts.iter().peekable();
    for part in 0..parts {
        if let Some((_, views)) = recorded.next_if(|(number, _)| *number == part) {
            last = *views;
        }
        line.push(last);
    }
    line
}

/// By how much a video's views have grown within a time span. All of them, if it was published there.
pub fn video_growth(line: &[Option<i64>], is_new: bool) -> Option<i64> {
    let last = line.iter().rev().find_map(|views| *views)?;
    let first = if is_new { 0 } else { line.iter().find_map(|views| *views)? };
    Some(last.saturating_sub(first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::store::history::CreatorCounters;

    use super::*;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600 + day * 86_400, 0).unwrap()
    }

    fn point(day: i64, followers: Option<i64>) -> CreatorPoint {
        CreatorPoint { at: at(day), counters: CreatorCounters { followers, ..CreatorCounters::default() }, views: None }
    }

    fn followers(past: &Past) -> Panel {
        past.panel("Followers", Some(150), "", |point| point.counters.followers, Numbers::default())
    }

    #[test]
    fn growth_is_from_what_held_when_the_span_began() {
        let past =
            Past::new(Some(at(0)), at(10), Some(point(-40, Some(100))), vec![point(4, Some(120)), point(8, Some(150))]);
        let panel = followers(&past);
        let growth = panel.growth.expect("growth");
        assert_eq!((growth.class, growth.change.to_string().as_str()), ("up", "+50"));
        assert_eq!((growth.percent.as_deref(), growth.per_day.as_deref()), (Some("50%"), Some("5")));
        assert_eq!(panel.words, "From 100 on 1 January 2026 to 150 on 11 January 2026.");
        assert_eq!(past.from, at(0));
        assert_eq!(
            past.lines(Numbers::default()).iter().map(|line| line.day.as_str()).collect::<Vec<_>>(),
            ["2026-01-09", "2026-01-05", "2026-01-01"]
        );
    }

    #[test]
    fn what_began_within_the_span_is_compared_with_its_beginning() {
        let past = Past::new(Some(at(0)), at(10), None, vec![point(6, Some(0)), point(8, Some(3))]);
        let growth = followers(&past).growth.expect("growth");
        assert_eq!((growth.change.to_string().as_str(), growth.percent, past.from), ("+3", None, at(6)));
        let shrunk = Past::new(None, at(10), None, vec![point(9, Some(5)), point(10, Some(3))]);
        assert_eq!(followers(&shrunk).growth.expect("growth").class, "down");
    }

    #[test]
    fn one_point_is_no_line() {
        for points in [vec![], vec![point(10, Some(5))]] {
            let past = Past::new(Some(at(0)), at(10), None, points);
            assert!(past.is_short());
            let panel = followers(&past);
            assert!(panel.chart.is_none() && panel.growth.is_none());
        }
        // Unless it has held for long.
        let past = Past::new(Some(at(0)), at(10), Some(point(-40, Some(5))), vec![]);
        let growth = followers(&past).growth.expect("growth");
        assert_eq!((growth.class, growth.change.to_string().as_str()), ("same", "0"));
        // And what nobody knows is neither.
        let past = Past::new(None, at(10), None, vec![point(0, None), point(5, None)]);
        let panel = past.panel("Followers", None, "why", |point| point.counters.followers, Numbers::default());
        assert!(panel.chart.is_none() && panel.growth.is_none() && panel.now.to_string() == "–");
        assert_eq!(panel.missing, "why");
    }

    #[test]
    fn engagement_is_a_part_of_the_views() {
        let sums = Engagement { videos: 3, counted: 2, views: 1000, likes: 70, comments: 20, shares: 10 };
        assert_eq!(engagement_rate(&sums), Some(0.1));
        assert_eq!(engagement_rate(&Engagement { views: 0, likes: 5, ..sums }), None);
    }

    #[test]
    fn a_videos_line_holds_what_was_known() {
        let trend = VideoTrend { before: Some(Some(5)), parts: vec![(1, Some(7)), (3, Some(9))] };
        let line = video_line(&trend, 5);
        assert_eq!(line, [5, 5, 7, 7, 9, 9].map(Some));
        assert_eq!(video_growth(&line, false), Some(4));
        assert_eq!(video_growth(&line, true), Some(9));
        let new = video_line(&VideoTrend { before: None, parts: vec![(2, Some(3)), (3, None)] }, 4);
        assert_eq!(new, [None, None, None, Some(3), None]);
        assert_eq!((video_growth(&new, false), video_growth(&new, true)), (Some(0), Some(3)));
        assert_eq!(video_growth(&[None, None], true), None, "nobody knows");
    }

    proptest! {
        #[test]
        fn no_past_breaks_a_panel(
            values in prop::collection::vec((0_i64..900, prop::option::of(any::<i64>())), 0..200),
            before in prop::option::of(prop::option::of(any::<i64>())),
            start in prop::option::of(0_i64..900),
        ) {
            let mut points: Vec<CreatorPoint> = values.into_iter().map(|(day, value)| point(day, value)).collect();
            points.sort_by_key(|point| point.at);
            let past = Past::new(start.map(at), at(900), before.map(|value| point(-1, value)), points);
            followers(&past);
            prop_assert!(past.lines(Numbers::default()).len() <= MAX_LINES);
        }
    }
}
