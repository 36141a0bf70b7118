//! Times as people read them: how long ago, and exactly when.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;
use chrono::{DateTime, SecondsFormat, Utc};

/// An instant on a page: shown as seen from now, exact on hover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    at: DateTime<Utc>,
    relative: String,
}

impl Moment {
    /// An instant, seen from now.
    pub fn of(at: DateTime<Utc>) -> Self {
        Self::seen_from(at, Utc::now())
    }

    /// So long ago, to the second: of what is heard of again and again.
    pub fn ago(distance: Duration) -> Self {
        let now = Utc::now();
        let at = chrono::Duration::from_std(distance).ok().and_then(|distance| now.checked_sub_signed(distance));
        let relative = if distance.as_secs() < 2 { "just now".to_owned() } else { format!("{} ago", span(distance)) };
        Self { at: at.unwrap_or(now), relative }
    }

    /// As it is seen from now, as plain text.
    pub fn words(&self) -> &str {
        &self.relative
    }

    fn seen_from(at: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        let distance = (now - at).abs().to_std().unwrap_or_default();
        let relative = match (at <= now, distance.as_secs() < 45) {
            (true, true) => "just now".to_owned(),
            (false, true) => "in less than a minute".to_owned(),
            (true, false) => format!("{} ago", span(distance)),
            (false, false) => format!("in {}", span(distance)),
        };
        Self { at, relative }
    }
}

/// A `<time>` element. Nothing in it comes from outside.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let exact = self.at.format("%Y-%m-%d %H:%M:%S UTC");
        write!(f, "<time datetime=\"{machine}\" title=\"{exact}\">{}</time>", self.relative)
    }
}

impl HtmlSafe for Moment {}

/// A time span in its largest unit, rounded.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(365 * 86_400, "year"), (30 * 86_400, "month"), (86_400, "day"), (3600, "hour"), (60, "minute")];
    // The first unit of which there is one, or nearly.
    let unit = units.into_iter().find(|(length, _)| seconds.saturating_add(length / 12) >= *length);
    let (length, name) = unit.unwrap_or((1, "second"));
    let number = (seconds.saturating_add(length / 2) / length).max(1);
    if number == 1 { format!("1 {name}") } else { format!("{number} {name}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seen_from_now() {
        let now: DateTime<Utc> = "2026-11-24T12:00:00Z".parse().unwrap();
        let seen = |seconds: i64| Moment::seen_from(now - chrono::Duration::seconds(seconds), now).relative;
        assert_eq!(seen(5), "just now");
        assert_eq!(seen(-5), "in less than a minute");
        assert_eq!(seen(60), "1 minute ago");
        assert_eq!(seen(3540), "1 hour ago");
        assert_eq!(seen(7200), "2 hours ago");
        assert_eq!(seen(-86_399), "in 1 day");
        assert_eq!(seen(3 * 86_400), "3 days ago");
        assert_eq!(seen(90 * 86_400), "3 months ago");
        assert_eq!(seen(800 * 86_400), "2 years ago");
        assert_eq!(span(Duration::MAX), "584942417355 years");
        for (seconds, words) in [(1, "just now"), (2, "2 seconds ago"), (44, "44 seconds ago"), (u64::MAX, "years ago")]
        {
            let written = Moment::ago(Duration::from_secs(seconds)).to_string();
            assert!(written.starts_with("<time datetime=\"") && written.contains(words), "{written}");
        }
        assert_eq!(
            Moment::seen_from(now, now).to_string(),
            "<time datetime=\"2026-11-24T12:00:00.000Z\" title=\"2026-11-24 12:00:00 UTC\">just now</time>"
        );
    }
}
