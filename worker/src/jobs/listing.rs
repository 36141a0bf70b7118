//! The walk through all pages of a creator's videos, written in batches as they come.

use std::collections::HashSet;

use shared::platforms::tiktok::scopes;
use shared::platforms::{PageCursor, Scopes, Video};
use shared::store::jobs::Fence;

use super::Halt;
use super::calls::Calls;

/// Rows of one write. Fewer are left to the sync's last write, so that most creators cost one transaction.
const BATCH: usize = 200;
/// A platform may filter whole pages away, but a walk that shows nothing new for so long leads nowhere.
const MOST_PAGES_WITHOUT_NEWS: u32 = 100;

/// What a walk found. Memory: the ids of all videos, and one batch.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The id of every video that was listed.
    pub seen: HashSet<String>,
    /// Videos that no batch has written yet.
    pub unwritten: Vec<Video>,
    /// Whether the walk came to the end: only then is a video that it did not show not listed any more.
    pub complete: bool,
    /// The listing's scope, if the platform refuses it although it was granted.
    pub refused: Scopes,
}

/// Walks through all pages. Without the scope nothing is read, and nothing that is stored changes.
pub(super) async fn read(calls: &mut Calls<'_>, fence: Fence) -> Result<Listing, Halt> {
    let mut listing = Listing::default();
    let Some(scope) = scopes::listing_scope(calls.granted()) else { return Ok(listing) };
    let mut walk = Walk::default();
    let mut cursor = None;
    loop {
        let Some(page) = calls.videos(cursor.as_ref()).await? else {
            listing.refused = scope;
            return Ok(listing);
        };
        if listing.unwritten.len() >= BATCH {
            calls.context().store.save_videos(fence, &listing.unwritten).await?;
            listing.unwritten.clear();
        }
        let news = listing.add(page.videos);
        cursor = page.next;
        match &cursor {
            None => listing.complete = true,
            Some(next) if walk.goes_on(next, news) => continue,
            Some(_) => tracing::warn!(videos = listing.seen.len(), "the platform's listing does not come to an end"),
        }
        return Ok(listing);
    }
}

impl Listing {
    /// Adds what was not listed before; pages can overlap where videos share a second. Gives the number of new ones.
    fn add(&mut self, videos: Vec<Video>) -> usize {
        let before = self.seen.len();
        for video in videos {
            if self.seen.insert(video.external_id.clone()) {
                self.unwritten.push(video);
            }
        }
        self.seen.len() - before
    }
}

/// Watches that a walk ends, whatever the platform answers.
#[derive(Debug, Default)]
struct Walk {
    cursors: HashSet<PageCursor>,
    pages_without_news: u32,
}

impl Walk {
    /// Whether the page at `next` is worth a call, after a page with `news` videos that had not been seen.
    fn goes_on(&mut self, next: &PageCursor, news: usize) -> bool {
        self.pages_without_news = if news == 0 { self.pages_without_news + 1 } else { 0 };
        self.cursors.insert(next.clone()) && self.pages_without_news < MOST_PAGES_WITHOUT_NEWS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(name: &str) -> PageCursor {
        PageCursor(name.to_owned())
    }

    #[test]
    fn a_cursor_that_repeats_ends_the_walk() {
        let mut walk = Walk::default();
        assert!(walk.goes_on(&cursor("a"), 20));
        assert!(walk.goes_on(&cursor("b"), 20));
        assert!(!walk.goes_on(&cursor("a"), 20));
    }

    #[test]
    fn empty_pages_are_walked_through_but_not_for_ever() {
        let mut walk = Walk::default();
        let pages = (0..1000).take_while(|page| walk.goes_on(&cursor(&page.to_string()), 0)).count();
        assert_eq!(pages, 99);
    }

    #[test]
    fn news_begin_the_count_of_empty_pages_anew() {
        let mut walk = Walk::default();
        for page in 0..1000 {
            assert!(walk.goes_on(&cursor(&page.to_string()), usize::from(page % 50 == 0)), "page {page}");
        }
    }
}
