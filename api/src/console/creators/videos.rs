//! The table of a creator's videos, and the best of them.

use chrono::{DateTime, Utc};
use shared::store::trends::{Parts, VideoTrend};
use shared::store::videos::{SortOrder, StoredVideo, VideoSort};

use super::figures::{video_growth, video_line};
use crate::console::chart::spark;
use crate::console::moment::Moment;
use crate::console::numbers::{Numbers, Short};

/// Points of a small line.
const PARTS: usize = 30;
/// Enough to tell one from another.
const MAX_TITLE: usize = 160;
/// The columns to sort by, with their names.
pub const COLUMNS: [(VideoSort, &str); 5] = [
    (VideoSort::PublishedAt, "Published"),
    (VideoSort::Views, "Views"),
    (VideoSort::Likes, "Likes"),
    (VideoSort::Comments, "Comments"),
    (VideoSort::Shares, "Shares"),
];

/// A video on a page.
pub struct VideoRow {
    /// What it is called.
    pub title: String,
    /// Where it is to be seen; empty if that is no place to lead to.
    pub url: String,
    /// When it was published.
    pub published: Moment,
    /// Views.
    pub views: Short,
    /// Likes.
    pub likes: Short,
    /// Comments.
    pub comments: Short,
    /// Shares.
    pub shares: Short,
    /// How the views went: the `d` of a path, or nothing.
    pub spark: String,
    /// By how much they have grown.
    pub growth: Option<Short>,
}

/// A column's head.
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// The query of the page that is sorted by it.
    pub href: String,
    /// What `aria-sort` says; empty if the page is not sorted by it.
    pub sorted: &'static str,
}

/// The parts of a time span that small lines are made of.
pub fn parts(from: DateTime<Utc>, to: DateTime<Utc>) -> Parts {
    let number = i32::try_from(PARTS).unwrap_or(i32::MAX);
    // The last part reaches a second beyond: what is written now is in it.
    let seconds = (to - from).as_seconds_f64().max(0.0) + 1.0;
    Parts { from, seconds: seconds / f64::from(number), number }
}

impl VideoRow {
    /// A video, and how its views went since `from`.
    pub fn new(video: StoredVideo, trend: Option<&VideoTrend>, from: DateTime<Utc>, numbers: Numbers) -> Self {
        let line = trend.map(|trend| video_line(trend, PARTS)).unwrap_or_default();
        let growth = video_growth(&line, video.published_at >= from);
        let words = [video.title, video.description].into_iter().flatten().find(|words| !words.trim().is_empty());
        Self {
            title: words.map_or_else(|| "Untitled".into(), |words| shortened(&words)),
            url: video.url.filter(|url| url.starts_with("https://")).unwrap_or_default(),
            published: Moment::of(video.published_at),
            views: numbers.short(video.views),
            likes: numbers.short(video.likes),
            comments: numbers.short(video.comments),
            shares: numbers.short(video.shares),
            spark: spark(&line),
            growth: growth.map(|growth| numbers.short_change(growth)),
        }
    }
}

/// What `aria-sort` calls an order.
pub fn aria_sort(order: SortOrder) -> &'static str {
    match order {
        SortOrder::Asc => "ascending",
        SortOrder::Desc => "descending",
    }
}

fn shortened(words: &str) -> String {
    let mut short: String = words.trim().chars().take(MAX_TITLE).collect();
    if words.trim().chars().nth(MAX_TITLE).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use shared::ids::VideoId;

    use super::*;

    fn video(title: &str, url: &str) -> VideoRow {
        let at = DateTime::UNIX_EPOCH;
        let video = StoredVideo {
            id: VideoId::new(),
            external_id: "1".into(),
            title: Some(title.into()),
            description: Some("About it".into()),
            url: Some(url.into()),
            cover_url: None,
            duration: None,
            views: None,
            likes: Some(3),
            comments: None,
            shares: None,
            published_at: at,
        };
        VideoRow::new(video, None, at, Numbers::default())
    }

    #[test]
    fn only_the_web_is_led_to() {
        for url in
            ["javascript:alert(1)", "JAVASCRIPT:alert(1)", "data:text/html,x", "//evil.example", "http://a.example", ""]
        {
            assert_eq!(video("A", url).url, "", "{url}");
        }
        assert_eq!(video("A", "https://www.tiktok.com/@a/video/1").url, "https://www.tiktok.com/@a/video/1");
    }

    #[test]
    fn a_video_has_a_name_and_what_nobody_knows_is_a_dash() {
        let row = video(" ", "");
        assert_eq!(
            (row.title.as_str(), row.views.to_string().as_str(), row.likes.to_string().as_str()),
            ("About it", "–", "3")
        );
        assert!(row.growth.is_none() && row.spark.is_empty());
        assert_eq!(video(&"ü".repeat(500), "").title.chars().count(), MAX_TITLE + 1);
    }
}
