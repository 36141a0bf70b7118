//! Cursors: where a page starts, opaque to clients, versioned, and checked before a query sees them.
//!
//! 30 bytes in base64url: version, list, what it is sorted by (8 bytes: microseconds, or a counter), the id (16 bytes), 4
//! bytes of a SHA-256 over all of it and over whose list it is. The sum is no secret: it tells a mistyped or misplaced cursor
//! from a good one; what a forged one could reach, its sender may read anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Utc};
use sha2::{Digest as _, Sha256};
use shared::ids::{CreatorId, ProjectId, VideoId};
use shared::store::creators::CreatorPosition;
use shared::store::history::Interval;
use shared::store::videos::{SortOrder, VideoPosition, VideoSort};
use uuid::Uuid;

use crate::error::ApiError;

const VERSION: u8 = 1;
const CREATORS: u8 = 1;
/// A counter that is not known; they are never negative.
const UNKNOWN: i64 = i64::MIN;
const SUM_BYTES: usize = 4;
const BODY_BYTES: usize = 26;

/// Where the next page of a project's creators starts.
pub fn after_creator(project: ProjectId, position: CreatorPosition) -> String {
    encode(CREATORS, project.uuid(), position.connected_at.timestamp_micros(), position.id.uuid())
}

/// Reads what [`after_creator`] made for the same project; an empty text is the first page.
pub fn creator_position(project: ProjectId, cursor: &str) -> Result<Option<CreatorPosition>, ApiError> {
    let position = |micros, id| Some(CreatorPosition { connected_at: instant(micros)?, id: CreatorId::from(id) });
    decode(CREATORS, project.uuid(), cursor, position)
}

/// Where the next page of a creator's videos starts.
pub fn after_video(creator: CreatorId, sort: VideoSort, order: SortOrder, position: VideoPosition) -> String {
    encode(videos(sort, order), creator.uuid(), position.value.unwrap_or(UNKNOWN), position.id.uuid())
}

/// Reads what [`after_video`] made for the same creator, sort and order; an empty text is the first page.
pub fn video_position(
    creator: CreatorId,
    sort: VideoSort,
    order: SortOrder,
    cursor: &str,
) -> Result<Option<VideoPosition>, ApiError> {
    decode(videos(sort, order), creator.uuid(), cursor, |value, id| {
        let value = match sort {
            VideoSort::PublishedAt => Some(instant(value)?.timestamp_micros()),
            _ => Some(value).filter(|value| *value != UNKNOWN),
        };
        Some(VideoPosition { value, id: VideoId::from(id) })
    })
}

/// Where the next page of a history starts: at this instant. `owner` is the creator or the video whose history it is.
pub fn history_from(owner: Uuid, interval: Interval, at: DateTime<Utc>) -> String {
    encode(history(interval), owner, at.timestamp_micros(), Uuid::nil())
}

/// Reads what [`history_from`] made for the same owner and interval; an empty text is the first page.
pub fn history_start(owner: Uuid, interval: Interval, cursor: &str) -> Result<Option<DateTime<Utc>>, ApiError> {
    decode(history(interval), owner, cursor, |micros, _| instant(micros))
}

/// The number of a history, behind those of the lists of videos.
fn history(interval: Interval) -> u8 {
    match interval {
        Interval::Day => 12,
        Interval::Week => 13,
        Interval::Month => 14,
        Interval::Raw => 15,
    }
}

/// The number of a list of videos. Fixed: clients hold cursors while versions change.
fn videos(sort: VideoSort, order: SortOrder) -> u8 {
    let newest_or_most_first = match sort {
        VideoSort::PublishedAt => 2,
        VideoSort::Views => 4,
        VideoSort::Likes => 6,
        VideoSort::Comments => 8,
        VideoSort::Shares => 10,
    };
    match order {
        SortOrder::Desc => newest_or_most_first,
        SortOrder::Asc => newest_or_most_first + 1,
    }
}

fn encode(list: u8, owner: Uuid, value: i64, id: Uuid) -> String {
    let mut bytes = Vec::with_capacity(BODY_BYTES + SUM_BYTES);
    bytes.extend_from_slice(&[VERSION, list]);
    bytes.extend_from_slice(&value.to_be_bytes());
    bytes.extend_from_slice(id.as_bytes());
    let sum = sum(&bytes, owner);
    bytes.extend_from_slice(&sum);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode<T>(
    list: u8,
    owner: Uuid,
    cursor: &str,
    position: impl FnOnce(i64, Uuid) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let place = parse(list, owner, cursor).and_then(|(value, id)| position(value, id));
    place.map(Some).ok_or_else(|| {
        ApiError::field("cursor", "not a cursor of this list; take nextCursor of the page before, or leave it out")
    })
}

fn parse(list: u8, owner: Uuid, cursor: &str) -> Option<(i64, Uuid)> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (body, tail) = bytes.split_at_checked(BODY_BYTES)?;
    let place = body.strip_prefix(&[VERSION, list])?;
    let (value, id) = place.split_first_chunk::<8>()?;
    (tail == sum(body, owner)).then_some(())?;
    Some((i64::from_be_bytes(*value), Uuid::from_slice(id).ok()?))
}

/// Postgres knows fewer years than chrono.
fn instant(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros).filter(|at| (1..=9999).contains(&at.year()))
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
    use strum::VariantArray as _;

    /// The years 1 to 9999.
    const MICROS: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;

    proptest! {
        #[test]
        fn a_cursor_leads_back_to_its_place(micros in MICROS, id: u128, owner: u128, unknown: bool) {
            let at = DateTime::from_timestamp_micros(micros).expect("within the years");
            let project = ProjectId::from(Uuid::from_u128(owner));
            let position = CreatorPosition { connected_at: at, id: CreatorId::from(Uuid::from_u128(id)) };
            let cursor = after_creator(project, position);
            prop_assert_eq!(creator_position(project, &cursor).expect("good"), Some(position));
            let creator = CreatorId::from(Uuid::from_u128(owner));
            let lists = VideoSort::VARIANTS.iter().flat_map(|sort| SortOrder::VARIANTS.iter().map(|order| (*sort, *order)));
            let lists: Vec<_> = lists.collect();
            let value = if unknown { None } else { Some(micros.abs()) };
            for (sort, order) in lists.iter().copied() {
                let value = if sort == VideoSort::PublishedAt { Some(micros) } else { value };
                let position = VideoPosition { value, id: VideoId::from(Uuid::from_u128(id)) };
                let after = after_video(creator, sort, order, position);
                for (other, way) in lists.iter().copied() {
                    let read = video_position(creator, other, way, &after);
                    let same = (other, way) == (sort, order);
                    prop_assert_eq!(read.ok().flatten(), same.then_some(position), "a cursor is of one sort and order");
                }
                prop_assert!(video_position(creator, sort, order, &cursor).is_err(), "nor is it one of creators");
            }
            let intervals = [Interval::Day, Interval::Week, Interval::Month, Interval::Raw];
            for interval in intervals {
                let past = history_from(creator.uuid(), interval, at);
                for other in intervals {
                    let read = history_start(creator.uuid(), other, &past);
                    prop_assert_eq!(read.ok().flatten(), (other == interval).then_some(at), "a cursor is of one interval");
                }
                for (sort, order) in lists.iter().copied() {
                    prop_assert!(video_position(creator, sort, order, &past).is_err(), "nor one of a history");
                }
            }
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
        let (sort, order) = (VideoSort::default(), SortOrder::default());
        let position = VideoPosition { value: Some(0), id: VideoId::new() };
        let cursor = after_video(CreatorId::new(), sort, order, position);
        assert!(video_position(CreatorId::new(), sort, order, &cursor).is_err());
    }
}
