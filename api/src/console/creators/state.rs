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
            (_, Some(JobState::Waiting | JobState::Enqueued)) => {
                ("warn", "Sync queued", "It begins when it is its turn.")
            }
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

/// Why a creator must connect again, in words: the platform's own (`RemovalReason`), or what its answer about the tokens was.
/// Nothing for a reason that this version does not know.
pub fn reason_words(reason: &str) -> &'static str {
    match reason {
        "disconnected_by_creator" => "The creator removed the app in TikTok.",
        "account_deleted" => {
            "The account was deleted at TikTok. What was read of it stays here until you disconnect it."
        }
        "age_changed" => "The creator's age was changed at TikTok, which ended the authorization.",
        "account_banned" => "TikTok has banned the account. It can connect again only if TikTok lifts that.",
        "revoked_by_us" => "MetriqLab gave the authorization back.",
        "invalid_grant" => {
            "TikTok does not renew the tokens any more: the authorization has run out, or the creator has withdrawn it."
        }
        "access_token_invalid" => "TikTok refused the tokens, and there was none left to renew them with.",
        "unknown" => "TikTok did not say why.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use shared::platforms::tiktok::RemovalReason;
    use shared::tokens::ACCESS_TOKEN_INVALID;

    use super::*;

    #[test]
    fn every_reason_has_words() {
        use RemovalReason::{AccountBanned, AccountDeleted, AgeChanged, DisconnectedByCreator, RevokedByUs, Unknown};
        let documented = include_str!("../../../docs-pages/webhooks.md");
        for reason in [Unknown, DisconnectedByCreator, AccountDeleted, AgeChanged, AccountBanned, RevokedByUs] {
            assert!(!reason_words(reason.as_ref()).is_empty(), "{reason}");
            assert!(documented.contains(&format!("| `{reason}` |")), "{reason}");
        }
        for reason in [ACCESS_TOKEN_INVALID, "invalid_grant"] {
            assert!(!reason_words(reason).is_empty(), "{reason}");
            assert!(documented.contains(&format!("| `{reason}` |")), "{reason}");
        }
        assert_eq!(reason_words("a later version's"), "");
    }
}
