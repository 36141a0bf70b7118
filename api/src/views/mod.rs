//! What the API says of a row: every field is written here on purpose, so that none leaves as JSON by accident.

mod batch;
mod callback_page;
mod creator;
mod history;
mod job;
mod video;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

pub use batch::{BatchView, time_left};
pub use callback_page::{CallbackPage, ConsentOutcome};
pub use creator::{CreatorView, ProfileView};
pub use history::{CreatorHistoryView, CreatorPointView, VideoHistoryView, VideoPointView};
pub use job::{JobStatus, JobView};
pub use video::{VideoPageView, VideoView};

/// RFC 3339 in UTC with milliseconds and `Z`, as the contract writes instants.
fn instant<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The same, or null.
#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn instant_or_null<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => instant(at, serializer),
        None => serializer.serialize_none(),
    }
}
