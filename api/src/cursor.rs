//! Cursors: where a page starts, opaque to clients, versioned, and checked before a query sees them.
//!
//! 30 bytes in base64url: version, list, the instant in microseconds (8 bytes), the id (16 bytes), 4 bytes of a SHA-256
//! over all of it and over whose list it is. The sum is no secret: it tells a mistyped or misplaced cursor from a good
//! one; what a forged one could reach, its sender may read anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Utc};
use sha2::{Digest as _, Sha256};
use shared::ids::{CreatorId, ProjectId, VideoId};
use shared::store::creators::CreatorPosition;
use shared::store::videos::VideoPosition;
use uuid::Uuid;

use crate::error::ApiError;

const VERSION: u8 = 1;
const CREATORS: u8 = 1;
const VIDEOS: u8 = 2;
const HISTORY: u8 = 3;
const SUM_BYTES: usize = 4;
const BODY_BYTES: usize = 26;

/// Where the next page of a project's creators starts.
pub fn after_creator(project: ProjectId, position: CreatorPosition) -> String {
    encode(CREATORS, project.uuid(), position.connected_at, position.id.uuid())
}

/// Reads what [`after_creator`] made for the same project; an empty text is the first page.
pub fn creator_position(project: ProjectId, cursor: &str) -> Result<Option<CreatorPosition>, ApiError> {
    let place = decode(CREATORS, project.uuid(), cursor)?;
    Ok(place.map(|(connected_at, id)| CreatorPosition { connected_at, id: CreatorId::from(id) }))
}

/// Where the next page of a creator's videos starts.
pub fn after_video(creator: CreatorId, position: VideoPosition) -> String {
    encode(VIDEOS, creator.uuid(), position.published_at, position.id.uuid())
}

/// Reads what [`after_video`] made for the same creator; an empty text is the first page.
pub fn video_position(creator: CreatorId, cursor: &str) -> Result<Option<VideoPosition>, ApiError> {
    let place = decode(VIDEOS, creator.uuid(), cursor)?;
    Ok(place.map(|(published_at, id)| VideoPosition { published_at, id: VideoId::from(id) }))
}

/// Where the next page of a history starts: at this instant. `owner` is the creator or the video whose history it is.
pub fn history_from(owner: Uuid, at: DateTime<Utc>) -> String {
    encode(HISTORY, owner, at, Uuid::nil())
}

/// Reads what [`history_from`] made for the same owner; an empty text is the first page.
pub fn history_start(owner: Uuid, cursor: &str) -> Result<Option<DateTime<Utc>>, ApiError> {
    Ok(decode(HISTORY, owner, cursor)?.map(|(at, _)| at))
}

fn encode(list: u8, owner: Uuid, at: DateTime<Utc>, id: Uuid) -> String {
    let mut bytes = Vec::with_capacity(BODY_BYTES + SUM_BYTES);
    bytes.extend_from_slice(&[VERSION, list]);
    bytes.extend_from_slice(&at.timestamp_micros().to_be_bytes());
    bytes.extend_from_slice(id.as_bytes());
    let sum = sum(&bytes, owner);
    bytes.extend_from_slice(&sum);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(list: u8, owner: Uuid, cursor: &str) -> Result<Option<(DateTime<Utc>, Uuid)>, ApiError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    parse(list, owner, cursor).map(Some).ok_or_else(|| {
        ApiError::field("cursor", "not a cursor of this list; take nextCursor of the page before, or leave it out")
    })
}

fn parse(list: u8, owner: Uuid, cursor: &str) -> Option<(DateTime<Utc>, Uuid)> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (body, tail) = bytes.split_at_checked(BODY_BYTES)?;
    let place = body.strip_prefix(&[VERSION, list])?;
    let (micros, id) = place.split_first_chunk::<8>()?;
    let at = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
    // Postgres knows fewer years than chrono.
    ((1..=9999).contains(&at.year()) && tail == sum(body, owner)).then_some(())?;
    Some((at, Uuid::from_slice(id).ok()?))
}

fn sum(body: &[u8], owner: Uuid) -> [u8; SUM_BYTES] {
    let digest = Sha256::new().chain_update(body).chain_update(owner.as_bytes()).finalize();
    let [a, b, c, d, ..]: [u8; 32] = digest.into();
    [a, b, c, d]
}

/// Cuts what was found by asking for one more than `limit` down to a page; and whether there is a next one.
pub fn page<T>(mut found: Vec<T>, limit: i64) -> (Vec<T>, bool) {
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    (found, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The years 1 to 9999.
    const MICROS: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

    proptest! {
        #[test]
        fn a_cursor_leads_back_to_its_place(micros in MICROS, id: u128, owner: u128) {
            let at = DateTime::from_timestamp_micros(micros).expect("within the years");
            let project = ProjectId::from(Uuid::from_u128(owner));
            let position = CreatorPosition { connected_at: at, id: CreatorId::from(Uuid::from_u128(id)) };
            let cursor = after_creator(project, position);
            prop_assert_eq!(creator_position(project, &cursor).expect("good"), Some(position));
            let creator = CreatorId::from(Uuid::from_u128(owner));
            let position = VideoPosition { published_at: at, id: VideoId::from(Uuid::from_u128(id)) };
            prop_assert_eq!(video_position(creator, &after_video(creator, position)).expect("good"), Some(position));
            prop_assert!(video_position(creator, &cursor).is_err(), "a cursor of creators does not page videos");
            let cursor = history_from(creator.uuid(), at);
            prop_assert_eq!(history_start(creator.uuid(), &cursor).expect("good"), Some(at));
            prop_assert!(video_position(creator, &cursor).is_err(), "nor does one of a history");
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "\\PC+|[A-Za-z0-9_-]{40}|[A-Za-z0-9_-]{1,60}", owner: u128) {
            prop_assert!(creator_position(ProjectId::from(Uuid::from_u128(owner)), &text).is_err());
        }

        #[test]
        fn one_changed_character_is_refused(micros in MICROS, id: u128, place in 0..40_usize, other in "[A-Za-z0-9_-]") {
            let project = ProjectId::new();
            let at = DateTime::from_timestamp_micros(micros).expect("within the years");
            let cursor = after_creator(project, CreatorPosition { connected_at: at, id: Uuid::from_u128(id).into() });
            let mut changed = cursor.clone();
            changed.replace_range(place..=place, &other);
            prop_assume!(changed != cursor);
            prop_assert!(creator_position(project, &changed).is_err());
        }
    }

    #[test]
    fn an_empty_cursor_is_the_first_page() {
        assert_eq!(creator_position(ProjectId::new(), "").expect("good"), None);
    }

    #[test]
    fn a_cursor_belongs_to_its_owner() {
        let position = VideoPosition { published_at: Utc::now(), id: VideoId::new() };
        let cursor = after_video(CreatorId::new(), position);
        assert!(video_position(CreatorId::new(), &cursor).is_err());
    }
}
