//! Where a creator stands, and what to do about it.

use shared::ids::JobId;
use shared::store::creator_list::SyncNow;
use shared::store::creators::Status;
use shared::store::jobs::JobState;

use crate::console::job_words::ErrorWords;

/// A creator's state, and what to do about it.
pub struct State {
    /// Its colour.
    pub class: &'static str,
    /// Its name. What the stream of a sync calls the same is called so there, too.
    pub words: &'static str,
    /// What to do, or what happens by itself.
    pub remedy: &'static str,
    /// Whether a sync is open, so that there is something to watch.
    pub is_syncing: bool,
    /// What went wrong, and with which job.
    pub failure: Option<(ErrorWords, JobId)>,
}

impl State {
    /// Of a creator whose sync is open, or was given up, if there is such a one.
    pub fn new(status: Status, sync: Option<SyncNow>) -> Self {
        let stands = sync.as_ref().map(|sync| sync.state);
        let is_syncing = stands.is_some_and(JobState::is_open);
        // What is tried just now may keep an earlier try's words in its row.
        let failed = sync.filter(|sync| matches!(sync.state, JobState::Retrying | JobState::Failed));
        let failure = failed.map(|sync| {
            let code = sync.error_code.unwrap_or_else(|| "internal".to_owned());
            (ErrorWords::new(code, sync.error.unwrap_or_default(), sync.log_id), sync.job)
        });
        let given_up = failure.as_ref().map_or("", |(error, _)| error.remedy);
        let (class, words, remedy) = match (status, stands) {
            (Status::ReauthorizationRequired, _) => (
                "bad",
                "Must connect again",
                "The platform no longer accepts the authorization: ask the creator to connect again. Nothing is lost.",
            ),
            (_, Some(JobState::Running)) => {
                ("warn", "Syncing", "Profile and videos are being read. Reload the page to see them.")
            }
            (_, Some(JobState::Retrying)) => ("warn", "Retrying", "The last try failed. The next one comes by itself."),
            (_, Some(JobState::Failed)) => ("bad", "Last sync failed", given_up),
            (_, Some(JobState::Waiting | JobState::Enqueued)) => ("warn", "Sync queued", "It begins when it is its turn."),
            (_, Some(JobState::Done | JobState::Cancelled) | None) => ("good", "Active", ""),
        };
        // Who must connect again knows why by the reason.
        let failure = failure.filter(|_| status == Status::Active);
        Self { class, words, remedy, is_syncing, failure }
    }

    /// Whether the last sync was given up.
    pub fn is_given_up(&self) -> bool {
        self.failure.is_some() && !self.is_syncing
    }
}
