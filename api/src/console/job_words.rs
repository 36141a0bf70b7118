//! What a page says about jobs: where one stands, what went wrong, and what to do.

use shared::ids::CreatorId;
use shared::ids::JobId;
use shared::store::jobs::{JobKind, JobState};
use shared::store::project_jobs::ListedJob;

use super::moment::Moment;
use crate::error_docs::ErrorDocs;

/// Which jobs a tab shows. Its word stands in the page's query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumIter, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Tab {
    All,
    Queued,
    Running,
    Retrying,
    Dead,
    Done,
    Discarded,
}

impl Tab {
    /// The states of its jobs; none: all.
    pub fn states(self) -> &'static [JobState] {
        match self {
            Self::All => &[],
            Self::Queued => &[JobState::Waiting, JobState::Enqueued],
            Self::Running => &[JobState::Running],
            Self::Retrying => &[JobState::Retrying],
            Self::Dead => &[JobState::Failed],
            Self::Done => &[JobState::Done],
            Self::Discarded => &[JobState::Cancelled],
        }
    }

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Queued => "Queued",
            Self::Running => "Running",
            Self::Retrying => "Retrying",
            Self::Dead => "Dead",
            Self::Done => "Done",
            Self::Discarded => "Discarded",
        }
    }

    /// What its page says where there is none.
    pub fn nothing(self) -> &'static str {
        match self {
            Self::All => "A job reads or disconnects a creator. Connect one: its first sync is a job, and stands here.",
            Self::Queued => "Nothing waits: whatever was asked for is at work, or done.",
            Self::Running => "No worker is busy with this project now.",
            Self::Retrying => "No job waits for another try.",
            Self::Dead => "No job was given up. One that is stands here for a week, with the reason and what to do.",
            Self::Done => "Jobs that are done stand here for a week.",
            Self::Discarded => "Jobs that were put away, or that a disconnect overtook, stand here for a week.",
        }
    }
}

/// A job's state in words.
#[derive(Debug, Clone, Copy)]
pub struct StateWords {
    /// Its colour.
    pub class: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

fn state_words(state: Option<JobState>) -> StateWords {
    let (class, name, meaning) = match state {
        Some(JobState::Waiting) => ("", "Waiting", "It goes to a worker when the platform's quota has room for it."),
        Some(JobState::Enqueued) => ("", "Queued", "It begins when it is its turn."),
        Some(JobState::Running) => ("warn", "Running", "A worker is busy with it."),
        Some(JobState::Retrying) => ("warn", "Retrying", "A try did not succeed; the next one comes by itself."),
        Some(JobState::Done) => ("good", "Done", "Its effect is there."),
        Some(JobState::Failed) => ("bad", "Dead", "It was given up: nothing more happens by itself."),
        Some(JobState::Cancelled) => ("", "Discarded", "It was put away, or its creator was disconnected."),
        None => ("", "Unknown", "A newer version of the program has written this."),
    };
    StateWords { class, name, meaning }
}

/// What to do about a job that failed with this code.
pub fn remedy(code: &str) -> &'static str {
    match code {
        "platform_error" => {
            "TikTok failed or refused, as the message says. If that was a while ago, try again. If it fails in the same way \
             again, send TikTok's log id to their support: they can look it up."
        }
        "reauthorization_required" => {
            "TikTok no longer accepts the creator's authorization. Ask the creator to connect again, which syncs by itself; \
             this job is not needed any more."
        }
        "internal" => {
            "Something of ours went wrong. Try again once; if it fails again, whoever runs this installation finds the reason \
             in the workers' log, under the job's id."
        }
        _ => "Try again once. If it fails again, look for the job's id in the workers' log.",
    }
}

/// Why a job failed, and what to do.
pub struct ErrorWords {
    /// The API's error code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// TikTok's own id of the exchange.
    pub log_id: Option<String>,
    /// What to do.
    pub remedy: &'static str,
    /// Where more is said.
    pub docs: String,
}

impl ErrorWords {
    /// Of what a job's row tells.
    pub fn new(code: String, message: String, log_id: Option<String>) -> Self {
        Self { remedy: remedy(&code), docs: ErrorDocs::path_of(&code), code, message, log_id }
    }
}

/// One of each kind.
pub fn once<'a>(errors: impl Iterator<Item = &'a ErrorWords>) -> Vec<&'a ErrorWords> {
    let mut kinds: Vec<&ErrorWords> = Vec::new();
    for error in errors {
        if kinds.iter().all(|known| known.code != error.code) {
            kinds.push(error);
        }
    }
    kinds
}

/// A job on a page.
pub struct JobLine {
    pub id: JobId,
    /// What it does, to whom.
    pub title: String,
    pub kind: String,
    pub lane: String,
    pub state: StateWords,
    pub creator: CreatorId,
    /// `None` once the creator is disconnected.
    pub creator_name: Option<String>,
    /// The project's name.
    pub project: String,
    pub attempts: i32,
    pub error: Option<ErrorWords>,
    pub made: Moment,
    /// When the next try is due.
    pub next_try: Option<Moment>,
    pub ended: Option<Moment>,
    pub is_dead: bool,
    pub may_discard: bool,
    pub is_open: bool,
}

impl JobLine {
    /// In words.
    pub fn new(listed: ListedJob) -> Self {
        let ListedJob { job, creator_name } = listed;
        let state = job.state.parse::<JobState>().ok();
        let kind = job.kind.parse::<JobKind>().ok();
        let creator_name = creator_name.filter(|name| !name.trim().is_empty());
        let called = creator_name.clone().unwrap_or_else(|| "a creator who is gone".into());
        // A job that was done after a failed try keeps that try's words in its row; they are no error of it any more.
        let has_failed = !matches!(state, Some(JobState::Done | JobState::Cancelled));
        let code = job.error_code.filter(|_| has_failed);
        let error = code.map(|code| ErrorWords::new(code, job.error.unwrap_or_default(), job.log_id));
        Self {
            id: job.id,
            title: match kind {
                Some(JobKind::Sync) => format!("Sync of {called}"),
                Some(JobKind::Revoke) => format!("Disconnect of {called}"),
                None => format!("{} of {called}", job.kind),
            },
            kind: job.kind,
            lane: job.lane,
            state: state_words(state),
            creator: job.creator,
            creator_name,
            project: job.project.unwrap_or_else(|| "gone".into()),
            attempts: job.attempts,
            error,
            made: Moment::of(job.created_at),
            next_try: (state == Some(JobState::Retrying)).then(|| Moment::of(job.run_at)),
            ended: job.finished_at.map(Moment::of),
            is_dead: state == Some(JobState::Failed),
            may_discard: state == Some(JobState::Failed) && kind != Some(JobKind::Revoke),
            is_open: state.is_some_and(JobState::is_open),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_a_job_has_a_remedy_and_a_place_in_the_documentation() {
        let page = include_str!("../../docs-pages/errors.md");
        for code in ["platform_error", "reauthorization_required", "internal"] {
            assert_ne!(remedy(code), remedy("unknown"), "{code}");
            assert!(page.contains(&format!("### {code}\n")), "{code}");
            assert_eq!(ErrorDocs::path_of(code), format!("/docs/errors#{code}"));
        }
        // What is no code of ours leads to no address that somebody else has written.
        assert_eq!(ErrorDocs::path_of("\" onclick=alert(1)"), "/docs/errors");
    }

    #[test]
    fn the_tabs_show_every_state_once() {
        use strum::IntoEnumIterator as _;
        let mut shown: Vec<JobState> = Tab::iter().flat_map(Tab::states).copied().collect();
        shown.sort_by_key(|state| JobState::ALL.iter().position(|known| known == state));
        assert_eq!(shown, JobState::ALL);
    }
}
