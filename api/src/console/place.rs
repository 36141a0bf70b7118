//! Places in a page's list, as its query carries them: behind a thing with this value and this id. They are no secret and have no
//! sum: what a made-up one could reach, its sender may see anyway.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _};

/// A place, for a query.
pub fn written(value: Option<i64>, id: impl Display) -> String {
    let value = value.map(|value| value.to_string()).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(format!("{value}.{id}"))
}

/// What [`written`] wrote; `None` for anything else.
pub fn read<Id: FromStr>(text: &str) -> Option<(Option<i64>, Id)> {
    let place = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (value, id) = place.split_once('.')?;
    let value = if value.is_empty() { None } else { Some(value.parse().ok()?) };
    Some((value, id.parse().ok()?))
}

/// Whether so many microseconds since 1970 are an instant that may be one of ours: Postgres knows fewer than we do.
pub fn is_instant(micros: i64) -> bool {
    DateTime::from_timestamp_micros(micros).is_some_and(|at| (1970..=9999).contains(&at.year()))
}

#[cfg(test)]
mod tests {
    use shared::ids::CreatorId;

    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let id = CreatorId::new();
        for value in [None, Some(0), Some(i64::MIN), Some(i64::MAX)] {
            assert_eq!(read(&written(value, id)), Some((value, id)));
        }
        for wrong in ["x", "%", "AA", &URL_SAFE_NO_PAD.encode("9223372036854775808.x"), &URL_SAFE_NO_PAD.encode("1.x")]
        {
            assert_eq!(read::<CreatorId>(wrong), None, "{wrong}");
        }
        assert!(is_instant(0) && !is_instant(-1) && !is_instant(i64::MAX));
    }
}
