//! A project's creators: found, connected, looked at, synced, let go.

mod actions;
mod export;
mod figures;
mod list;
mod period;
mod show;
mod videos;

use actix_web::HttpRequest;
use shared::ids::CreatorId;
use shared::platforms::Platform;
use shared::store::creators::{Creator, Status};
use shared::store::jobs::JobState;

pub use self::actions::{ask_disconnect, connect, connected, disconnect, sync};
pub use self::export::export;
pub use self::list::list;
pub use self::show::show;

use super::error::ConsoleError;
use super::moment::Moment;
use super::numbers::{Numbers, Short};
use super::page::path_id;
use super::who::Member;
use crate::app::Api;

/// A creator on a page.
struct CreatorLine {
    id: CreatorId,
    name: String,
    platform: &'static str,
    external_id: String,
    followers: Short,
    videos: Short,
    state: State,
    connected: Moment,
    synced: Option<Moment>,
}

/// A creator's state, and what to do about it.
struct State {
    class: &'static str,
    words: &'static str,
    remedy: &'static str,
    /// Whether a sync is open, so that there is something to watch.
    is_syncing: bool,
}

impl CreatorLine {
    fn new(creator: Creator, sync: Option<JobState>, numbers: Numbers) -> Self {
        let state = state(creator.status, sync);
        let name = creator.username.or(creator.display_name);
        Self {
            id: creator.id,
            name: name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "No name yet".into()),
            platform: platform_name(creator.platform),
            external_id: creator.external_id,
            followers: numbers.short(creator.followers),
            videos: numbers.short(creator.video_count),
            state,
            connected: Moment::of(creator.connected_at),
            synced: creator.last_synced_at.map(Moment::of),
        }
    }
}

fn platform_name(platform: Platform) -> &'static str {
    match platform {
        Platform::Tiktok => "TikTok",
        Platform::Instagram => "Instagram",
        Platform::Youtube => "YouTube",
    }
}

fn state(status: Status, sync: Option<JobState>) -> State {
    let is_syncing = sync.is_some();
    match (status, sync) {
        (Status::ReauthorizationRequired, _) => State {
            class: "bad",
            words: "Must connect again",
            remedy: "The platform no longer accepts the authorization: ask the creator to connect again. Nothing is lost.",
            is_syncing,
        },
        (_, Some(JobState::Running)) => State {
            class: "warn",
            words: "Syncing",
            remedy: "Profile and videos are being read. Reload the page to see them.",
            is_syncing,
        },
        (_, Some(JobState::Retrying)) => State {
            class: "warn",
            words: "Trying again",
            remedy: "The last try did not succeed, or the quota is used for now: the sync goes on by itself.",
            is_syncing,
        },
        (_, Some(_)) => {
            State { class: "warn", words: "Sync queued", remedy: "It begins when it is its turn.", is_syncing }
        }
        (Status::Active, None) => State { class: "good", words: "Active", remedy: "", is_syncing },
    }
}

/// The creator that the path names.
async fn creator(member: &Member, request: &HttpRequest, api: &Api) -> Result<Creator, ConsoleError> {
    let id: CreatorId = path_id(request, "creator")?;
    api.within(api.store.creator(member.project(), id)).await?.ok_or(ConsoleError::NotFound)
}
