//! What a sync has read so far: kept in memory a batch at a time, in Postgres for the next start.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::future::join;
use shared::platforms::tiktok::VIDEO_LIST;
use shared::platforms::{PageCursor, Profile, Scopes};
use shared::queue;
use shared::store::checkpoints::Checkpoint;
use shared::store::jobs::{Fence, Job};
use shared::store::syncs::{SyncTarget, WriteError};

use super::calls::{Calls, Page};
use super::listing::{Listing, Reached};
use super::{Context, Halt};

/// Rows of one write. Fewer are left to the sync's last write, so that most creators cost one transaction, and a second one where
/// the quota is used up: the note.
const BATCH: usize = 200;
/// How long before a client asked a sync may have begun that it shares. A walk through 20,000 videos takes as long at the
/// whole of the default quota, without a pause: so an answer from a sync that was parked is no older than one from a sync
/// that ran through. What is older is read anew.
const FRESH: Duration = Duration::from_secs(120);

/// From which time that a profile took, its turn at the budget included, a sync that nobody waits for notes it. At a quota that
/// is used up it takes seconds, and a worker that dies then costs its jobs no call for the profile again, and so no other sync
/// its turn. What came sooner is had again as soon, and is worth no transaction.
const WORTH_NOTING: Duration = Duration::from_millis(50);

/// How a walk through the videos ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    /// At the end, or far enough.
    Through,
    /// What was read before is of no use: the sync begins anew.
    Useless,
}

/// Whether the profile is written before the first batch of videos is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    /// It took its time, and is noted while the next page is on its way.
    Due,
    /// It is noted, or that was tried once, or it is not worth it.
    Settled,
}

/// What a sync has read so far.
pub(super) struct Progress {
    /// When the first of it was read.
    began: Instant,
    /// Somebody waits for the job, and its beginning is fresh enough for them.
    waited_for: bool,
    /// The cursor is one of an earlier start's: the platform may not take it any more.
    resumed: bool,
    /// The grant that it was read under.
    granted_at: DateTime<Utc>,
    scopes: Scopes,
    /// What a checkpoint has not written of the profile.
    pub profile: Option<Profile>,
    /// Scopes of the profile that were granted and that the platform refuses all the same.
    pub refused: Scopes,
    /// The walk through the videos.
    pub listing: Listing,
    note: Note,
    /// Checkpoints that are written.
    pub checkpoints: i32,
    /// Whether what they wrote was new.
    pub changed: bool,
}

impl Progress {
    /// The beginning: the profile is read.
    pub(super) async fn begin(calls: &mut Calls<'_>, target: &SyncTarget) -> Result<Self, Halt> {
        let (began, waited_for) = (Instant::now(), calls.is_waited_for());
        calls.telling().update(|now| *now = queue::Progress::default());
        let (profile, refused) = super::sync::read_profile(calls, target).await?;
        let of = profile.as_ref().and_then(|profile| u64::try_from(profile.video_count?).ok());
        calls.telling().update(|now| now.of = of);
        Ok(Self {
            began,
            waited_for,
            resumed: false,
            granted_at: target.granted_at,
            scopes: calls.granted().clone(),
            profile,
            refused,
            listing: Listing::new(),
            note: if began.elapsed() >= WORTH_NOTING { Note::Due } else { Note::Settled },
            checkpoints: 0,
            changed: false,
        })
    }

    /// Where an earlier start of the job has left off; `None` if there is nothing to go on from.
    pub(super) async fn resume(
        context: &Context,
        job: &Job,
        calls: &Calls<'_>,
        target: &SyncTarget,
    ) -> Result<Option<Self>, Halt> {
        // The first start: nothing is looked for.
        if job.claim <= 1 {
            return Ok(None);
        }
        let Some(checkpoint) = context.store.checkpoint(job.fence()).await? else { return Ok(None) };
        let began = Instant::now().checked_sub(checkpoint.age).filter(|_| {
            checkpoint.granted_at == target.granted_at
                && checkpoint.scopes == *calls.granted()
                && (checkpoint.waited_for || !calls.is_waited_for() || checkpoint.age <= FRESH)
        });
        let Some(began) = began else {
            tracing::info!(age = ?checkpoint.age, "what an earlier start has read is not used: the sync begins anew");
            return Ok(None);
        };
        tracing::debug!(age = ?checkpoint.age, part = checkpoint.part, "the sync goes on where it was left");
        let listed = context.store.listed_by_checkpoints(job.fence()).await?;
        calls.telling().update(|now| now.items = listed);
        let reached = checkpoint.cursor.map_or(Reached::Start, Reached::Page);
        Ok(Some(Self {
            began,
            waited_for: checkpoint.waited_for || calls.is_waited_for(),
            resumed: true,
            granted_at: checkpoint.granted_at,
            scopes: checkpoint.scopes,
            profile: None,
            refused: checkpoint.refused,
            listing: Listing {
                reached,
                oldest: checkpoint.oldest,
                disordered: checkpoint.disordered,
                ..Listing::new()
            },
            note: Note::Settled,
            checkpoints: checkpoint.part.saturating_add(1),
            changed: checkpoint.changed,
        }))
    }

    /// Whether it began so long ago that it is no answer to somebody who begins to wait now.
    pub(super) fn is_stale(&self) -> bool {
        !self.waited_for && self.began.elapsed() > FRESH
    }

    /// Walks on to the end, or until a page reaches back beyond `until` and nobody waits. The platform's client sees to it
    /// that a walk ends.
    pub(super) async fn walk(
        &mut self,
        calls: &mut Calls<'_>,
        fence: Fence,
        until: Option<DateTime<Utc>>,
    ) -> Result<Walked, Halt> {
        if !calls.granted().contains(VIDEO_LIST) {
            self.listing.stop(Scopes::default());
        }
        loop {
            if calls.is_waited_for() {
                if self.is_stale() {
                    return Ok(Walked::Useless);
                }
                self.waited_for = true;
            } else if self.listing.is_beyond(until) {
                return Ok(Walked::Through);
            }
            if matches!(self.listing.reached, Reached::End | Reached::Stopped) {
                return Ok(Walked::Through);
            }
            match self.next_page(calls, fence).await? {
                Page::Videos(page) => {
                    self.resumed = false;
                    calls.telling().update(|now| {
                        now.pages = now.pages.saturating_add(1);
                        now.items = now.items.saturating_add(page.videos.len() as u64);
                    });
                    self.listing.add(page);
                    // At the end, the rest is for the last write.
                    if self.listing.unwritten.len() >= BATCH && matches!(self.listing.reached, Reached::Page(_)) {
                        self.save(calls.context(), fence).await?;
                    }
                }
                Page::ScopeMissing(refused) => self.listing.stop(refused),
                Page::CursorRefused(error) if self.resumed => {
                    tracing::warn!(%error, "the platform does not take an earlier start's cursor: the sync begins anew");
                    return Ok(Walked::Useless);
                }
                Page::CursorRefused(error) => return Err(error.into()),
            }
        }
    }

    /// The page that the walk goes on with. A profile that took its time is noted while this is on its way.
    async fn next_page(&mut self, calls: &mut Calls<'_>, fence: Fence) -> Result<Page, Halt> {
        let (context, cursor) = (calls.context(), self.cursor());
        let is_due = self.note == Note::Due && self.checkpoints == 0 && !calls.is_waited_for();
        let page = calls.videos(cursor.as_ref());
        if !is_due {
            return page.await;
        }
        // The call goes on meanwhile: together they take as long as the longer one.
        let (page, noted) = join(page, self.write_note(context, fence)).await;
        noted?;
        page
    }

    /// Keeps what was read for the next start, should this one not come to an end. If that fails, it is read once more; unless
    /// there is nothing to go on for.
    async fn write_note(&mut self, context: &Context, fence: Fence) -> Result<(), Halt> {
        self.note = Note::Settled;
        match self.save(context, fence).await {
            Err(error @ (WriteError::Disconnected | WriteError::Superseded)) => return Err(error.into()),
            Err(error) => tracing::info!(%error, "how far the sync has come is not noted"),
            Ok(()) => {}
        }
        Ok(())
    }

    /// The page to go on with; `None`: the first.
    fn cursor(&self) -> Option<PageCursor> {
        match &self.listing.reached {
            Reached::Page(cursor) => Some(cursor.clone()),
            Reached::Start | Reached::End | Reached::Stopped => None,
        }
    }

    /// The job stops before its end: what was read is kept for its next start. If that fails, it is read once more.
    pub(super) async fn park(&mut self, context: &Context, fence: Fence) {
        let is_kept = self.checkpoints > 0 && self.listing.unwritten.is_empty();
        let saved = if is_kept { Ok(()) } else { self.save(context, fence).await };
        match saved {
            Ok(()) => crate::measure::parked(),
            Err(error) => tracing::info!(%error, "how far the sync has come is not kept"),
        }
    }

    /// Writes what no checkpoint holds yet, and one more checkpoint: the next start goes on from here.
    pub(super) async fn save(&mut self, context: &Context, fence: Fence) -> Result<(), WriteError> {
        let checkpoint = Checkpoint {
            part: self.checkpoints,
            granted_at: self.granted_at,
            scopes: self.scopes.clone(),
            refused: self.refused.clone(),
            age: self.began.elapsed(),
            waited_for: self.waited_for,
            cursor: self.cursor(),
            oldest: self.listing.oldest,
            disordered: self.listing.disordered,
            changed: self.changed,
        };
        let (videos, profile) = (&self.listing.unwritten, self.profile.as_ref());
        self.changed |= context.store.save_videos(fence, videos, profile, &checkpoint).await? > 0;
        self.listing.unwritten.clear();
        self.checkpoints = self.checkpoints.saturating_add(1);
        Ok(())
    }
}
