//! The walk through all pages of a creator's videos, written in batches as they come.

use std::collections::HashSet;

use shared::platforms::tiktok::VIDEO_LIST;
use shared::platforms::{Next, Scopes, Video};
use shared::store::jobs::Fence;

use super::Halt;
use super::calls::Calls;

/// Rows of one write. Fewer are left to the sync's last write, so that most creators cost one transaction.
const BATCH: usize = 200;

/// What a walk found. Memory: the ids of all videos, and one batch.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The id of every video that was listed.
    pub seen: HashSet<String>,
    /// Videos that no batch has written yet.
    pub unwritten: Vec<Video>,
    /// Whether every video was listed: only then is one that was not seen not listed any more.
    pub complete: bool,
    /// The listing's scope, if the platform refuses it although it was granted.
    pub refused: Scopes,
}

/// Walks through all pages; the platform's client sees to it that the walk ends. Without the scope nothing is read, and
/// nothing that is stored changes.
pub(super) async fn read(calls: &mut Calls<'_>, fence: Fence) -> Result<Listing, Halt> {
    let mut listing = Listing::default();
    if !calls.granted().contains(VIDEO_LIST) {
        return Ok(listing);
    }
    let mut cursor = None;
    loop {
        let page = match calls.videos(cursor.as_ref()).await? {
            Ok(page) => page,
            Err(refused) => {
                listing.refused = refused;
                return Ok(listing);
            }
        };
        if listing.unwritten.len() >= BATCH {
            calls.context().store.save_videos(fence, &listing.unwritten).await?;
            listing.unwritten.clear();
        }
        listing.add(page.videos);
        match page.next {
            Next::Page(next) => cursor = Some(next),
            Next::End => {
                listing.complete = true;
                return Ok(listing);
            }
            Next::Broken => {
                tracing::warn!(videos = listing.seen.len(), "the platform did not list all videos");
                return Ok(listing);
            }
        }
    }
}

impl Listing {
    /// Adds what was not listed before: pages can overlap.
    fn add(&mut self, videos: Vec<Video>) {
        for video in videos {
            if self.seen.insert(video.external_id.clone()) {
                self.unwritten.push(video);
            }
        }
    }
}
