//! A project's creators: found, connected, looked at, synced, let go.

mod actions;
mod export;
mod figures;
mod list;
mod period;
mod show;
mod state;
mod videos;

use actix_web::HttpRequest;
use shared::ids::CreatorId;
use shared::platforms::Platform;
use shared::store::creator_list::SyncNow;
use shared::store::creators::Creator;

pub use self::actions::{ask_disconnect, connect, connected, disconnect, sync};
pub use self::export::export;
pub use self::list::list;
pub use self::show::show;

use self::state::State;
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
    /// The client's own id; empty for none.
    external_ref: String,
    followers: Short,
    videos: Short,
    state: State,
    connected: Moment,
    synced: Option<Moment>,
}

impl CreatorLine {
    fn new(creator: Creator, sync: Option<SyncNow>, numbers: Numbers) -> Self {
        let state = State::new(creator.status, sync);
        Self {
            id: creator.id,
            name: creator.name().to_owned(),
            platform: platform_name(creator.platform),
            external_id: creator.external_id,
            external_ref: creator.external_ref.unwrap_or_default(),
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

/// The creator that the path names.
async fn creator(member: &Member, request: &HttpRequest, api: &Api) -> Result<Creator, ConsoleError> {
    let id: CreatorId = path_id(request, "creator")?;
    api.within(api.store.creator(member.project(), id)).await?.ok_or(ConsoleError::NotFound)
}
