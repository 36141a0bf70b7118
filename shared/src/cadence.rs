//! The cadence: when a creator is read again. Pure functions; the store writes what they say.
//!
//! The longest age is the operator's or the client's word. Inside it, a creator whose numbers move is read more often, one
//! whose do not less, and nobody more often than the quota allows: a turn that came late makes the gap longer, so that the
//! quota goes to keeping the longest age for all.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::ids::CreatorId;

/// A gap is not shorter than this part of the longest age.
const SHORTEST_PART: u32 = 16;
/// Nor than this, unless the longest age itself is.
const SHORTEST: Duration = Duration::from_secs(15 * 60);
/// The part of the longest age that a new creator starts with.
const FIRST_PART: u32 = 4;
/// How old a creator's data may get, if no setting says otherwise.
pub const EVERY: Duration = Duration::from_secs(24 * 3600);
/// A video's age up to which it is read at each turn, likewise: most of what moves is younger.
pub const RECENT: Duration = Duration::from_secs(90 * 24 * 3600);
/// How old the other videos' numbers may get, likewise.
pub const DEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// When a creator that is never synced by the schedule is looked at again, in case that its settings changed.
pub const PAUSED: Duration = Duration::from_secs(24 * 3600);
/// The longest gap that anybody can ask for. Beyond it is `off`.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The schedule, as it is set for the whole fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// How old a creator's data may get where nobody says otherwise; `None`: as old as it likes.
    pub every: Option<Duration>,
    /// A video's age up to which it is read at each turn.
    pub recent: Duration,
    /// How old the numbers of the other videos, the deep tail, may get: then a turn reads all.
    pub deep: Duration,
}

impl Default for Cadence {
    fn default() -> Self {
        Self { every: Some(EVERY), recent: RECENT, deep: DEEP }
    }
}

/// How old a creator's data may get, as it can be set for a creator or a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResyncEvery {
    /// As its project says, or else the default.
    Default,
    /// As old as it likes: the schedule leaves it alone.
    Off,
    /// So old.
    Every(Duration),
}

impl From<Option<Duration>> for ResyncEvery {
    fn from(every: Option<Duration>) -> Self {
        every.map_or(Self::Off, Self::Every)
    }
}

impl ResyncEvery {
    /// As it is stored: in seconds, where 0 is never and null the default.
    pub fn stored(self) -> Option<i64> {
        match self {
            Self::Default => None,
            Self::Off => Some(0),
            Self::Every(every) => Some(i64::try_from(every.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

/// What a sync found, as far as the cadence is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Whether it found anything changed.
    pub changed: bool,
    /// Time since the sync before it; `None`: it is the first one.
    pub since_last: Option<Duration>,
    /// Time from asking for it to its end.
    pub took: Duration,
}

/// The longest age that holds for a creator: its own, else its project's, else the default. In seconds as they are stored,
/// where 0 is never; `None` is never.
pub fn longest_age(creator: Option<i64>, project: Option<i64>, default: Option<Duration>) -> Option<Duration> {
    match creator.or(project) {
        Some(seconds) => u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs),
        None => default,
    }
}

/// The gap to the next scheduled sync, after a turn with the gap before it (`None`: there was none yet).
///
/// Never longer than `longest`, never shorter than a sixteenth of it or a quarter of an hour.
pub fn next_gap(gap: Option<Duration>, longest: Duration, turn: Turn) -> Duration {
    let shortest = (longest / SHORTEST_PART).max(SHORTEST).min(longest);
    let gap = gap.unwrap_or(longest / FIRST_PART).clamp(shortest, longest);
    let Some(since_last) = turn.since_last else { return gap };
    let late = turn.took > gap / 2;
    let next = if late {
        gap * 2
    } else if turn.changed {
        gap / 2
    } else {
        // Nothing changed for so long: a sync that somebody asked for in between says little.
        gap.max(since_last.min(gap) * 2)
    };
    next.clamp(shortest, longest)
}

/// The time from `now` to the creator's next turn: more than half a gap, at most one.
///
/// Its place in the gap comes from its id. So creators that were synced together, by a bulk resync or after an outage, drift
/// apart at their next turn, and from then on each has its own beat.
pub fn time_to_turn(creator: CreatorId, now: DateTime<Utc>, gap: Duration) -> Duration {
    let half = u64::try_from(gap.as_millis() / 2).unwrap_or(u64::MAX).max(1);
    let now = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    // The random half of a UUIDv7.
    let (_, random) = creator.uuid().as_u64_pair();
    let (place, here) = (random % half, now % half);
    let to_place = if place > here { place - here } else { half - (here - place) };
    Duration::from_millis(half.saturating_add(to_place)).min(gap)
}

/// Whether a scheduled sync is to read all videos, not only the recent ones, by the time since all were read. Of a creator
/// whose turns lie further apart than `deep` each turn does.
pub fn is_deep_due(since_deep: Option<Duration>, deep: Duration) -> bool {
    since_deep.is_none_or(|since| since >= deep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn turn(changed: bool, since_last: Duration) -> Turn {
        Turn { changed, since_last: Some(since_last), took: Duration::ZERO }
    }

    fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
        range.prop_map(Duration::from_secs)
    }

    #[test]
    fn a_quiet_creator_comes_to_the_longest_age_and_a_lively_one_to_the_shortest() {
        let mut gap = next_gap(None, DAY, Turn { changed: true, since_last: None, took: Duration::ZERO });
        assert_eq!(gap, DAY / 4);
        for expected in [DAY / 2, DAY, DAY] {
            gap = next_gap(Some(gap), DAY, turn(false, gap));
            assert_eq!(gap, expected);
        }
        for expected in [2, 4, 8, 16, 16] {
            gap = next_gap(Some(gap), DAY, turn(true, gap));
            assert_eq!(gap, DAY / expected);
        }
    }

    #[test]
    fn when_the_quota_is_short_the_lively_ones_give_way() {
        let late = Turn { changed: true, since_last: Some(DAY / 8), took: DAY / 8 };
        assert_eq!(next_gap(Some(DAY / 16), DAY, late), DAY / 8);
    }

    #[test]
    fn the_nearer_word_goes_first_and_zero_is_never() {
        assert_eq!(longest_age(None, None, Some(DAY)), Some(DAY));
        assert_eq!(longest_age(None, Some(60), Some(DAY)), Some(Duration::from_secs(60)));
        assert_eq!(longest_age(Some(30), Some(0), None), Some(Duration::from_secs(30)));
        assert_eq!(longest_age(Some(0), Some(60), Some(DAY)), None);
        assert_eq!(longest_age(None, None, None), None);
    }

    #[test]
    fn the_tail_is_read_as_often_as_it_is_set_and_never_left() {
        assert!(is_deep_due(None, DEEP));
        assert!(!is_deep_due(Some(DAY * 6), DEEP));
        assert!(is_deep_due(Some(DAY * 7), DEEP));
        assert!(
            is_deep_due(Some(DAY * 20), DEEP),
            "a turn of a slow creator that comes before its longest age of 30 days"
        );
        assert!(is_deep_due(Some(DAY), DAY), "also where its data may get older than its tail");
        assert!(is_deep_due(Some(Duration::ZERO), Duration::ZERO), "every turn, if it is to be");
    }

    #[test]
    fn creators_that_were_synced_together_spread_over_half_a_gap() {
        let now = DateTime::from_timestamp(1_764_000_000, 0).unwrap();
        let mut tenths = [0; 10];
        for _ in 0..2000 {
            let id = CreatorId::from(uuid::Uuid::new_v4());
            let place = time_to_turn(id, now, DAY).as_secs_f64() / (DAY / 2).as_secs_f64() - 1.0;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10")]
            let tenth = ((place * 10.0) as usize).min(9);
            tenths[tenth] += 1;
        }
        assert!(tenths.iter().all(|creators| (120..=280).contains(creators)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn the_tail_gets_no_older_than_it_may_and_is_not_read_sooner(
            gap in seconds(2..10_000_000), deep in seconds(0..40_000_000),
            places in proptest::collection::vec(0.5..=1.0_f64, 1..60),
        ) {
            let mut since = Duration::ZERO;
            // A turn comes after half a gap at least and one at most.
            for turn in places.into_iter().map(|place| gap.mul_f64(place)) {
                since += turn;
                prop_assert!(since < deep + turn || turn >= deep, "{since:?}");
                let is_due = is_deep_due(Some(since), deep);
                prop_assert_eq!(is_due, since >= deep);
                prop_assert!(is_due || turn < deep, "turns that lie further apart are all deep");
                if is_due {
                    since = Duration::ZERO;
                }
            }
        }

        #[test]
        fn a_gap_stays_in_its_bounds(
            gap in proptest::option::of(seconds(1..10_000_000)), longest in seconds(1..40_000_000),
            changed in any::<bool>(), since_last in proptest::option::of(seconds(0..40_000_000)),
            took in seconds(0..40_000_000),
        ) {
            let next = next_gap(gap, longest, Turn { changed, since_last, took });
            prop_assert!(next <= longest);
            prop_assert!(next >= (longest / 16).min(longest) && next >= SHORTEST.min(longest));
        }

        #[test]
        fn change_never_makes_it_longer_and_quiet_never_shorter(
            gap in seconds(1..10_000_000), longest in seconds(1..40_000_000), since_last in seconds(0..40_000_000),
        ) {
            let before = next_gap(Some(gap), longest, turn(false, Duration::ZERO));
            prop_assert!(next_gap(Some(gap), longest, turn(true, since_last)) <= before);
            let quiet = next_gap(Some(gap), longest, turn(false, since_last));
            prop_assert!(quiet >= before && quiet <= (before * 2).min(longest));
        }

        #[test]
        fn a_turn_comes_after_half_a_gap_and_keeps_its_beat(
            random in any::<u64>(), now in 1_700_000_000_000_i64..1_900_000_000_000, gap in 2_u64..1_000_000_000,
            late in 0_u64..1000,
        ) {
            let id = CreatorId::from(uuid::Uuid::from_u64_pair(7 << 12, random));
            let gap = Duration::from_millis(gap);
            let now = DateTime::from_timestamp_millis(now).unwrap();
            let wait = time_to_turn(id, now, gap);
            prop_assert!(wait + Duration::from_millis(1) > gap / 2 && wait <= gap, "{wait:?}");
            // From turn to turn, each a little late, it is one gap, to a rounding.
            let late = Duration::from_millis(late).min(gap / 4);
            let next = time_to_turn(id, now + wait + late, gap);
            prop_assert!((next + late).abs_diff(gap) <= Duration::from_millis(2), "{next:?} {late:?} {gap:?}");
        }
    }
}
