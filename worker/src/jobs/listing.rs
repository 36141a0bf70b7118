//! The walk through the pages of a creator's videos, written in batches as they come.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use shared::platforms::tiktok::VIDEO_LIST;
use shared::platforms::{Next, PageCursor, Scopes, Video};
use shared::store::jobs::Fence;

use super::Halt;
use super::calls::Calls;

/// Rows of one write. Fewer are left to the sync's last write, so that most creators cost one transaction.
const BATCH: usize = 200;

/// How far a walk has come.
#[derive(Debug)]
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

/// A walk and what it found. Memory: the ids of all videos, and one batch.
#[derive(Debug)]
pub(super) struct Listing {
    /// The id of every video that was listed.
    pub seen: HashSet<String>,
    /// Videos that no batch has written yet.
    pub unwritten: Vec<Video>,
    /// Whether the batches that were written changed anything.
    pub changed: bool,
    /// How far it came.
    pub reached: Reached,
    /// The listing's scope, if the platform refuses it although it was granted.
    pub refused: Scopes,
    /// The oldest time of publication so far.
    oldest: Option<DateTime<Utc>>,
    /// Whether a page held a video that is newer than the page before it ended.
    disordered: bool,
}

impl Listing {
    pub(super) fn new() -> Self {
        Self {
            seen: HashSet::new(),
            unwritten: Vec::new(),
            changed: false,
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

    /// Goes on to the end, or until a page reaches back beyond `until`. The platform's client sees to it that a walk ends.
    /// Without the scope nothing is read, and nothing that is stored changes.
    pub(super) async fn read(
        &mut self,
        calls: &mut Calls<'_>,
        fence: Fence,
        until: Option<DateTime<Utc>>,
    ) -> Result<(), Halt> {
        if !calls.granted().contains(VIDEO_LIST) {
            self.reached = Reached::Stopped;
        }
        loop {
            let cursor = match &self.reached {
                Reached::Start => None,
                Reached::Page(cursor) => Some(cursor),
                Reached::End | Reached::Stopped => return Ok(()),
            };
            let page = match calls.videos(cursor).await? {
                Ok(page) => page,
                Err(refused) => {
                    (self.refused, self.reached) = (refused, Reached::Stopped);
                    return Ok(());
                }
            };
            if self.unwritten.len() >= BATCH {
                self.changed |= calls.context().store.save_videos(fence, &self.unwritten).await? > 0;
                self.unwritten.clear();
            }
            self.add(page.videos);
            self.reached = match page.next {
                Next::Page(next) => Reached::Page(next),
                Next::End => Reached::End,
                Next::Broken => {
                    tracing::warn!(videos = self.seen.len(), "the platform did not list all videos");
                    Reached::Stopped
                }
            };
            // Newest first: what comes is older still.
            if until.is_some_and(|until| self.oldest.is_some_and(|oldest| oldest < until)) && !calls.is_waited_for() {
                return Ok(());
            }
        }
    }

    /// Adds what was not listed before: pages can overlap.
    fn add(&mut self, videos: Vec<Video>) {
        let edge = self.oldest;
        for video in videos {
            let fresh = self.seen.insert(video.external_id.clone());
            if !fresh {
                continue;
            }
            self.disordered |= edge.is_some_and(|edge| video.published_at > edge);
            self.oldest = Some(self.oldest.map_or(video.published_at, |oldest| oldest.min(video.published_at)));
            self.unwritten.push(video);
        }
    }
}
