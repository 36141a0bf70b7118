//! The walk through a creator's videos, so that it shows every video, and ends.
//!
//! A page holds the videos before a cursor in milliseconds, newest first, but TikTok tells the times of videos in seconds.
//! A cursor that is the last video's second skips what else was published in that second and did not fit the page. So
//! such a cursor is moved to the end of its second: the next page repeats that second, which costs one place in twenty.
//! A cursor that is finer than a second, or already past the last video's second, skips nothing and is used as it is:
//! nobody publishes twice in a millisecond, but for posts that were scheduled for the same second.

use crate::platforms::{Next, PageCursor};

/// Pages in a row that bring nothing before the walk is given up. TikTok filters videos after it has cut a page, so a page
/// may be empty; four hundred filtered videos in a row are no page of TikTok's but a fault.
const MOST_BARREN: u32 = 20;

/// Where a page starts, and what became of the walk so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Milliseconds since 1970, above 0; the page holds the videos before it.
    pub(super) before: i64,
    /// Pages in a row until here that brought nothing.
    barren: u32,
    /// Whether something may have been skipped on the way.
    gap: bool,
}

impl Position {
    pub(super) fn parse(cursor: &PageCursor) -> Option<Self> {
        let (before, rest) = cursor.0.split_once('.')?;
        let (barren, gap) = rest.split_once('.')?;
        let (before, barren) = (before.parse().ok()?, barren.parse().ok()?);
        (before > 0).then_some(Self { before, barren, gap: gap == "gap" })
    }

    fn cursor(self) -> PageCursor {
        PageCursor(format!("{}.{}.{}", self.before, self.barren, if self.gap { "gap" } else { "whole" }))
    }
}

/// What a page says about the way on.
#[derive(Debug, Clone)]
pub(super) struct PageEnd {
    /// TikTok's cursor.
    pub(super) cursor: Option<i64>,
    /// Whether TikTok has more; `None` if it did not say.
    pub(super) has_more: Option<bool>,
    /// The times of the page's videos, in seconds since 1970.
    pub(super) seconds: Vec<i64>,
    /// Whether the page held a video that could not be read.
    pub(super) unreadable: bool,
}

/// What comes after the page that started at `position`; the first page has none.
///
/// Each page starts before the one before it, and at most [`MOST_BARREN`] in a row bring nothing, so the walk ends
/// whatever TikTok answers.
pub(super) fn next(position: Option<Position>, page: &PageEnd) -> Next {
    let gap = page.unreadable || position.is_some_and(|position| position.gap);
    if page.has_more == Some(false) {
        return if gap { Next::Broken } else { Next::End };
    }
    // 0 is "before 1970". And without `has_more` nobody knows whether this is the end.
    let (Some(true), Some(cursor @ 1..)) = (page.has_more, page.cursor) else { return Next::Broken };
    let goes_on = |before: i64| before > 0 && position.is_none_or(|position| before < position.before);

    let oldest = page.seconds.iter().min().map(|second| second.saturating_mul(1000));
    let skips_rest_of_second = cursor % 1000 == 0 && oldest.is_none_or(|oldest| cursor <= oldest);
    let moved = if skips_rest_of_second { cursor.saturating_add(1000) } else { cursor };
    let (before, gap) = if goes_on(moved) {
        (moved, gap)
    } else {
        // Either one second fills the page, and no cursor can show the rest of it, or TikTok's cursor repeats.
        let jump = oldest.unwrap_or(cursor);
        if !goes_on(jump) {
            return Next::Broken;
        }
        (jump, true)
    };
    let passed = |second: &i64| {
        let time = second.saturating_mul(1000);
        time >= before && position.is_none_or(|position| time < position.before)
    };
    let barren = match position {
        _ if page.seconds.iter().any(passed) => 0,
        Some(position) => position.barren.saturating_add(1),
        None => 1,
    };
    if barren > MOST_BARREN {
        return Next::Broken;
    }
    Next::Page(Position { before, barren, gap }.cursor())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Where the server's clock and cursor stand.
    #[derive(Debug, Clone, Copy)]
    enum Server {
        /// Times and cursors in seconds: the cursor is the last video's second.
        Seconds,
        /// As before, but the cursor is past that second.
        PastSecond,
        /// Times in milliseconds, and the last one's is the cursor.
        Milliseconds,
        /// Times in milliseconds, cursors cut to seconds.
        CutMilliseconds,
    }

    struct Shelf {
        server: Server,
        /// Milliseconds and whether it is shown, newest first.
        videos: Vec<(i64, bool)>,
        size: usize,
    }

    impl Shelf {
        fn new(server: Server, mut videos: Vec<(i64, bool)>, size: usize) -> Self {
            if matches!(server, Server::Seconds | Server::PastSecond) {
                for (time, _) in &mut videos {
                    *time -= *time % 1000;
                }
            }
            videos.sort_unstable_by(|a, b| b.cmp(a));
            videos.dedup_by(|a, b| a.0 == b.0 && a.0 % 1000 != 0);
            Self { server, videos, size }
        }

        /// The positions of the videos shown, and how the page ends.
        fn page(&self, before: Option<i64>) -> (Vec<usize>, PageEnd) {
            let behind = |time: i64| before.is_none_or(|before| time < before);
            let from = self.videos.iter().position(|(time, _)| behind(*time)).unwrap_or(self.videos.len());
            let cut: Vec<_> = self.videos.iter().enumerate().skip(from).take(self.size).collect();
            let cursor = cut.last().map(|(_, (time, _))| match self.server {
                Server::Seconds | Server::Milliseconds => *time,
                Server::PastSecond => time + 1000,
                Server::CutMilliseconds => time - time % 1000,
            });
            let shown: Vec<_> = cut.iter().filter(|(_, (_, shown))| *shown).collect();
            let end = PageEnd {
                cursor: cursor.or(Some(0)),
                has_more: Some(from + cut.len() < self.videos.len()),
                seconds: shown.iter().map(|(_, (time, _))| time / 1000).collect(),
                unreadable: false,
            };
            (shown.iter().map(|(at, _)| *at).collect(), end)
        }

        /// All that the walk shows, its last word, and how many pages it took.
        fn walk(&self) -> (BTreeSet<usize>, Next, usize) {
            let (mut seen, mut position, mut pages) = (BTreeSet::new(), None, 0);
            loop {
                let (shown, end) = self.page(position.map(|position: Position| position.before));
                seen.extend(shown);
                pages += 1;
                match next(position, &end) {
                    Next::Page(cursor) => position = Some(Position::parse(&cursor).unwrap()),
                    last => return (seen, last, pages),
                }
            }
        }

        /// The most videos that one second holds; two in a row, where cursors are a second late and pages may be empty.
        fn largest_tie(&self) -> usize {
            let length = if matches!(self.server, Server::PastSecond) { 2 } else { 1 };
            let within = |first: i64| {
                self.videos.iter().filter(|(time, _)| (first..first + length).contains(&(time / 1000))).count()
            };
            (0..60).map(within).max().unwrap_or(0)
        }

        fn shown(&self) -> BTreeSet<usize> {
            self.videos.iter().enumerate().filter(|(_, (_, shown))| *shown).map(|(at, _)| at).collect()
        }
    }

    fn any_server() -> impl Strategy<Value = Server> {
        prop_oneof![
            Just(Server::Seconds),
            Just(Server::PastSecond),
            Just(Server::Milliseconds),
            Just(Server::CutMilliseconds)
        ]
    }

    fn end(cursor: i64, has_more: bool, seconds: &[i64]) -> PageEnd {
        PageEnd { cursor: Some(cursor), has_more: Some(has_more), seconds: seconds.to_vec(), unreadable: false }
    }

    fn at(before: i64) -> Position {
        Position { before, barren: 0, gap: false }
    }

    #[test]
    fn one_page_that_says_so_is_the_end() {
        assert_eq!(next(None, &end(5_000, false, &[5])), Next::End);
        assert_eq!(next(None, &end(0, false, &[])), Next::End);
        let shelf = Shelf::new(Server::Seconds, (1..=20).map(|second| (second * 1000, true)).collect(), 20);
        assert_eq!(shelf.walk().2, 1);
    }

    #[test]
    fn a_deep_listing_costs_one_place_in_twenty_at_most() {
        let videos: Vec<_> = (1..=20_000).map(|second| (second * 60_000 + 345, true)).collect();
        for (server, most) in [(Server::Seconds, 1_053), (Server::PastSecond, 1_053), (Server::Milliseconds, 1_000)] {
            let shelf = Shelf::new(server, videos.clone(), 20);
            let (seen, last, pages) = shelf.walk();
            assert_eq!((seen.len(), last), (20_000, Next::End));
            assert!(pages <= most, "{server:?}: {pages} pages");
        }
    }

    #[test]
    fn a_second_that_fills_a_page_leaves_a_gap_and_no_loop() {
        let videos: Vec<_> = [7_000; 25].into_iter().chain([3_000; 5]).map(|time| (time, true)).collect();
        for server in [Server::Seconds, Server::PastSecond] {
            let (seen, last, _) = Shelf::new(server, videos.clone(), 20).walk();
            assert_eq!((seen.len(), last), (25, Next::Broken), "{server:?}");
        }
    }

    #[test]
    fn a_listing_that_was_not_whole_is_not_called_so() {
        let unreadable = PageEnd { unreadable: true, ..end(5_000, false, &[5]) };
        assert_eq!(next(None, &unreadable), Next::Broken);
        let Next::Page(cursor) = next(None, &PageEnd { has_more: Some(true), ..unreadable }) else { panic!() };
        assert_eq!(next(Position::parse(&cursor), &end(1_000, false, &[1])), Next::Broken);
        assert_eq!(next(None, &PageEnd { has_more: None, ..end(5_000, true, &[5]) }), Next::Broken);
        assert_eq!(next(None, &PageEnd { cursor: None, ..end(5_000, true, &[5]) }), Next::Broken);
        assert_eq!(next(None, &end(0, true, &[5])), Next::Broken);
        assert_eq!(next(Some(at(1_000)), &end(1_000, true, &[])), Next::Broken);
        assert_eq!(next(Some(at(1_000)), &end(9_000, true, &[])), Next::Broken);
    }

    #[test]
    fn cursors_are_checked() {
        for cursor in ["", "5", "5.0", "x.0.whole", "0.0.whole", "-5.0.whole", "5.-1.whole", "5.x.gap"] {
            assert_eq!(Position::parse(&PageCursor(cursor.into())), None, "{cursor}");
        }
    }

    proptest! {
        #[test]
        fn every_video_is_seen_and_the_walk_ends(
            server in any_server(),
            videos in proptest::collection::vec((1_000..60_000_i64, prop::bool::weighted(0.8)), 0..120),
            spare in 1..4_usize,
        ) {
            let mut shelf = Shelf::new(server, videos, 1);
            shelf.size = shelf.largest_tie() + spare;
            let (seen, last, _) = shelf.walk();
            prop_assert_eq!(seen, shelf.shown());
            prop_assert_eq!(last, Next::End);
        }

        #[test]
        fn a_walk_that_missed_something_is_never_called_whole(
            server in any_server(),
            videos in proptest::collection::vec((1_000..12_000_i64, prop::bool::weighted(0.9)), 0..60),
            size in 1..6_usize,
        ) {
            let shelf = Shelf::new(server, videos, size);
            let (seen, last, _) = shelf.walk();
            prop_assert!(seen == shelf.shown() || last == Next::Broken);
        }

        #[test]
        fn the_walk_ends_whatever_tiktok_answers(
            answers in proptest::collection::vec(
                (prop::option::of(any::<i64>()), proptest::collection::vec(1..20_i64, 0..4)), 1..8),
            step in 1..3_i64,
        ) {
            let mut position = None;
            // 19 different seconds can each be passed once, and between them MOST_BARREN pages bring nothing.
            for turn in 0..(20 * (MOST_BARREN as usize + 1)) {
                let (cursor, seconds) = &answers[turn % answers.len()];
                // A cursor that creeps is the worst that can be.
                let creeping = position.map_or(40_000, |position: Position| position.before - step);
                let page = PageEnd { cursor: cursor.or(Some(creeping)), ..end(0, true, seconds) };
                match next(position, &page) {
                    Next::Page(cursor) => {
                        let further = Position::parse(&cursor).unwrap();
                        prop_assert!(position.is_none_or(|position| further.before < position.before));
                        position = Some(further);
                    }
                    Next::End | Next::Broken => return Ok(()),
                }
            }
            prop_assert!(false, "the walk goes on");
        }
    }
}
