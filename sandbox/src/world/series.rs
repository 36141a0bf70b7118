//! When a creator's own videos were posted, as a closed formula: a creator with 20,000 videos costs no memory, and the
//! page before any moment is found without walking.

use super::hash::{below, mix};

/// A video's id and when it was posted. Ordered as time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Post {
    /// Seconds since 1970.
    pub(crate) create_time: i64,
    /// Like TikTok's: the seconds in the upper half, so 19 digits.
    pub(crate) id: u64,
}

/// Posts in groups of `per_second`, each group at one second of its interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    pub(crate) key: u64,
    /// Start of the first interval, seconds since 1970.
    pub(crate) first_at: i64,
    /// Seconds, at least 1.
    pub(crate) interval: i64,
    /// Videos of one second, at least 1.
    pub(crate) per_second: u64,
    /// How many there ever are; `None` goes on for ever.
    pub(crate) count: Option<u64>,
}

impl Series {
    fn group_time(&self, group: u64) -> i64 {
        let spread = u64::try_from(self.interval / 2).unwrap_or(0);
        let jitter = i64::try_from(below(mix(self.key, 0x0701, group), spread)).unwrap_or(0);
        let start = i64::try_from(group).unwrap_or(i64::MAX).saturating_mul(self.interval);
        self.first_at.saturating_add(start).saturating_add(jitter)
    }

    /// The `n`-th post, oldest first.
    pub(crate) fn post(&self, n: u64) -> Post {
        let (group, place) = (n / self.per_second, n % self.per_second);
        Post {
            create_time: self.group_time(group),
            id: video_id(self.group_time(group), mix(self.key, 0x1D, group), place),
        }
    }

    /// How many posts are older than a moment (seconds since 1970, excluded).
    pub(crate) fn before(&self, moment: i64) -> u64 {
        let groups = match u64::try_from(moment.saturating_sub(self.first_at)) {
            Ok(since) if since > 0 => {
                // Jitter is less than half an interval, so every group before this one is older than `moment`.
                let group = since / u64::try_from(self.interval).unwrap_or(1).max(1);
                group + u64::from(self.group_time(group) < moment)
            }
            _ => 0,
        };
        let posts = groups.saturating_mul(self.per_second);
        self.count.map_or(posts, |count| posts.min(count))
    }

    /// Whether a video of this id is in the series.
    pub(crate) fn find(&self, id: u64) -> Option<Post> {
        let create_time = time_of(id);
        (self.before(create_time)..self.before(create_time.saturating_add(1)))
            .map(|n| self.post(n))
            .find(|post| post.id == id)
    }
}

/// When the video of this id was posted, seconds since 1970.
pub(crate) fn time_of(id: u64) -> i64 {
    i64::from(u32::try_from(id >> 32).unwrap_or(u32::MAX))
}

/// The id of the `place`-th video of a second.
pub(crate) fn video_id(create_time: i64, hash: u64, place: u64) -> u64 {
    let seconds = u64::from(u32::try_from(create_time).unwrap_or(0));
    (seconds << 32) | (hash.wrapping_add(place) & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(interval: i64, per_second: u64, count: Option<u64>) -> Series {
        Series { key: 7, first_at: 1_700_000_000, interval, per_second, count }
    }

    #[test]
    fn before_counts_what_post_says() {
        for series in
            [series(3_600, 1, Some(50)), series(1, 1, Some(50)), series(10, 3, Some(50)), series(86_400, 1, None)]
        {
            for moment in (1_699_999_990..1_700_000_200).chain([1_700_100_000, 1_700_500_000]) {
                let counted = (0..60)
                    .filter(|n| series.count.is_none_or(|count| *n < count) && series.post(*n).create_time < moment)
                    .count() as u64;
                if counted < 60 {
                    assert_eq!(series.before(moment), counted, "{series:?} {moment}");
                }
            }
        }
    }

    #[test]
    fn ids_are_unique_have_19_digits_and_are_found_again() {
        let series = series(10, 5, Some(500));
        let mut seen = std::collections::HashSet::new();
        for n in 0..500 {
            let post = series.post(n);
            assert_eq!(post.id.to_string().len(), 19);
            assert!(seen.insert(post.id));
            assert_eq!(series.find(post.id), Some(post));
            assert_eq!(time_of(post.id), post.create_time);
        }
        assert_eq!(series.find(series.post(499).id + 1), None);
        assert_eq!(series.find(u64::MAX), None);
    }
}
