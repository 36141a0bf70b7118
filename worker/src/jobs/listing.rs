//! The walk through the pages of a creator's videos.

use chrono::{DateTime, Utc};
use shared::platforms::{Next, PageCursor, Scopes, Video, VideoPage};

/// How far back a page can repeat what the one before it showed: twice what a page holds.
const OVERLAP: usize = 40;

/// How far a walk has come.
#[derive(Debug, Clone)]
pub(super) enum Reached {
    /// It has not begun.
    Start,
    /// There are more pages.
    Page(PageCursor),
    /// Every video was listed: one that was not seen is not listed any more.
    End,
    /// It can't go on, and says nothing about what was not seen: a scope is missing, or the platform listed not all.
    Stopped,
}

/// A walk and what it found. Memory: one batch, however many videos there are.
#[derive(Debug)]
pub(super) struct Listing {
    /// Videos that no checkpoint has written yet.
    pub unwritten: Vec<Video>,
    /// How far it came.
    pub reached: Reached,
    /// The listing's scope, if the platform refuses it although it was granted.
    pub refused: Scopes,
    /// The oldest time of publication so far.
    pub oldest: Option<DateTime<Utc>>,
    /// Whether a page held a video that is newer than the page before it ended.
    pub disordered: bool,
}

impl Listing {
    /// One that has not begun.
    pub(super) fn new() -> Self {
        Self {
            unwritten: Vec::new(),
            reached: Reached::Start,
            refused: Scopes::default(),
            oldest: None,
            disordered: false,
        }
    }

    /// Where the walk stopped early: everything newer was listed. `None` if it ended, or that can't be said.
    pub(super) fn down_to(&self) -> Option<DateTime<Utc>> {
        self.oldest.filter(|_| matches!(self.reached, Reached::Page(_)) && !self.disordered)
    }

    /// Whether everything down to `until` was listed. Newest first: what comes is older still.
    pub(super) fn is_beyond(&self, until: Option<DateTime<Utc>>) -> bool {
        until.is_some_and(|until| self.oldest.is_some_and(|oldest| oldest < until))
    }

    /// Takes a page, and where it leads.
    pub(super) fn add(&mut self, page: VideoPage) {
        let edge = self.oldest;
        for video in page.videos {
            self.disordered |= edge.is_some_and(|edge| video.published_at > edge);
            self.oldest = Some(self.oldest.map_or(video.published_at, |oldest| oldest.min(video.published_at)));
            // The second in which a page ended comes again with the next one: of two that say the same the later counts.
            let mut last = self.unwritten.iter_mut().rev().take(OVERLAP);
            match last.find(|known| known.external_id == video.external_id) {
                Some(known) => *known = video,
                None => self.unwritten.push(video),
            }
        }
        self.reached = match page.next {
            Next::Page(next) => Reached::Page(next),
            Next::End => Reached::End,
            Next::Broken => {
                tracing::warn!(oldest = ?self.oldest, "the platform did not list all videos");
                Reached::Stopped
            }
        };
    }

    /// The scope is missing: nothing more is read, and nothing that is stored changes.
    pub(super) fn stop(&mut self, refused: Scopes) {
        (self.refused, self.reached) = (refused, Reached::Stopped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(seconds: &[i64], next: Next) -> VideoPage {
        let video = |second: &i64| Video {
            external_id: second.to_string(),
            title: None,
            description: None,
            url: None,
            cover_url: None,
            duration: None,
            views: None,
            likes: None,
            comments: None,
            shares: None,
            published_at: DateTime::from_timestamp(*second, 0).unwrap(),
        };
        VideoPage { videos: seconds.iter().map(video).collect(), next }
    }

    #[test]
    fn a_walk_that_stopped_early_knows_down_to_where_unless_its_pages_were_out_of_order() {
        let more = || Next::Page(PageCursor("next".into()));
        let mut listing = Listing::new();
        assert_eq!(listing.down_to(), None);
        listing.add(page(&[90, 80], more()));
        // The second in which a page ended may come again.
        listing.add(page(&[80, 70], more()));
        assert_eq!(listing.unwritten.len(), 3);
        let at = |second| DateTime::from_timestamp(second, 0);
        assert_eq!(listing.down_to(), at(70));
        assert!(listing.is_beyond(at(71)) && !listing.is_beyond(at(70)) && !listing.is_beyond(None));
        listing.add(page(&[75, 60], more()));
        assert_eq!(listing.down_to(), None);
    }
}
