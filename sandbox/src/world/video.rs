//! A video as the seed makes it: its text, and its numbers at a moment.

use super::hash::{counter, days, mix, pick, unit};
use super::series::Post;

const OPENINGS: [&str; 16] = [
    "Three things about",
    "My honest take on",
    "A day of",
    "How I started with",
    "Nobody told me this about",
    "Trying",
    "Five minutes of",
    "The truth about",
    "Beginner's guide to",
    "What I wish I knew about",
    "Rating",
    "Behind the scenes:",
    "Storytime:",
    "POV:",
    "Testing",
    "One year of",
];
const SUBJECTS: [&str; 16] = [
    "sourdough",
    "night trains",
    "film cameras",
    "cold water",
    "street food",
    "old vinyl",
    "trail running",
    "mechanical keyboards",
    "thrift shops",
    "balcony gardens",
    "latte art",
    "chess openings",
    "slow mornings",
    "bike repair",
    "watercolours",
    "home workouts",
];

/// What the seed says of a video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Video {
    pub(crate) title: String,
    pub(crate) description: String,
    /// Seconds.
    pub(crate) duration: i64,
    pub(crate) views: i64,
    pub(crate) likes: i64,
    pub(crate) comments: i64,
    pub(crate) shares: i64,
}

/// The video at a moment (seconds since 1970). `reach` is what its creator's videos get in the end, typically; the
/// counters only grow.
pub(crate) fn video(key: u64, reach: f64, post: Post, now: i64) -> Video {
    let hash = |what: u64| mix(key, post.id, what);
    let title = format!("{} {}", pick(hash(1), &OPENINGS), pick(hash(2), &SUBJECTS));
    let age = days(now.saturating_sub(post.create_time));
    let luck = 10_f64.powf(unit(hash(3)) * 1.6 - 0.8);
    let views = counter(reach * luck * (1.0 - (-age / 2.5).exp() + 0.02 * age.ln_1p()));
    #[expect(clippy::cast_precision_loss, reason = "counters are far below 2^53")]
    let share = |of: f64, spread: f64, what: u64| counter(views as f64 * (of + spread * unit(hash(what))));
    Video {
        description: format!("{title} #{} #fyp", pick(hash(2), &SUBJECTS).replace(' ', "")),
        title,
        duration: 7 + counter(unit(hash(4)) * 170.0),
        likes: share(0.04, 0.10, 5),
        comments: share(0.001, 0.008, 6),
        shares: share(0.001, 0.012, 7),
        views,
    }
}
