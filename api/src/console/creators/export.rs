//! A creator's videos or history as a file, for spreadsheets (CSV, RFC 4180) and programs (a JSON object a line).
//!
//! It is read and sent a part at a time, the next one when the reader has taken the one before: the memory that it takes does
//! not grow with its length.

use std::time::Duration;

use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::stream::{self, Stream};
use serde::Serialize;
use shared::store::creators::Creator;
use shared::store::history::{CreatorPoint, HistoryRange, Interval};
use shared::store::videos::{StoredVideo, VideoPosition, VideoQuery, VideoSort};
use strum::{AsRefStr, EnumString};

use super::creator;
use crate::app::Api;
use crate::console::error::ConsoleError;
use crate::console::page::query;
use crate::console::seats::Seat;
use crate::console::who::Member;
use crate::error::ApiError;
use crate::views::{CreatorPointView, VideoView};

/// Lines in memory at a time for each reader.
const CHUNK: i64 = 500;
/// When to ask again, with as many exports open as one may have.
const WAIT: Duration = Duration::from_secs(15);
/// A name of a file that every system takes.
const MAX_NAME: usize = 60;

const VIDEO_COLUMNS: [&str; 12] = [
    "id",
    "externalId",
    "title",
    "description",
    "publishedAt",
    "views",
    "likes",
    "comments",
    "shares",
    "duration",
    "url",
    "coverUrl",
];
const HISTORY_COLUMNS: [&str; 6] = ["at", "followers", "following", "likes", "videoCount", "views"];

/// What is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr, EnumString)]
#[strum(serialize_all = "lowercase")]
enum What {
    /// The listed videos, newest first.
    Videos,
    /// Every point of the creator's history, oldest first.
    History,
}

/// How a line is written. The names are the files' endings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr, EnumString)]
#[strum(serialize_all = "lowercase")]
enum Format {
    Csv,
    Ndjson,
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// `GET /console/projects/{project}/creators/{creator}/export?what=videos|history&format=csv|ndjson`.
///
/// The first part is read before the answer begins, so that a Postgres out of reach is a page that says so. A failure later on
/// breaks the connection off: a file that was cut short must not look whole. So does the end of the session or the membership.
pub async fn export(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let creator = creator(&member, &request, &api).await?;
    let what: What = query(&request, "what").parse().map_err(|_| ConsoleError::NotFound)?;
    let format: Format = query(&request, "format").parse().map_err(|_| ConsoleError::NotFound)?;
    let name = file_name(&creator, what, format, Utc::now());
    let seat = Seat::take(&api.console.exporting, member.who.user).ok_or(ConsoleError::TooMany(WAIT))?;
    let export = Export { api, member, creator, what, format, _seat: seat };
    let first = export.read(Place::Start).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, format.content_type()))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .streaming(export.parts(first)))
}

/// Of characters that no header and no system takes for something else.
fn file_name(creator: &Creator, what: What, format: Format, now: DateTime<Utc>) -> String {
    let safe = |text: &String| -> String {
        text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(MAX_NAME).collect()
    };
    let name = creator.username.as_ref().map(safe).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| creator.id.to_string());
    format!("{name}-{}-{}.{}", what.as_ref(), now.format("%Y-%m-%d"), format.as_ref())
}

struct Export {
    api: Data<Api>,
    member: Member,
    creator: Creator,
    what: What,
    format: Format,
    _seat: Seat,
}

/// How far a file has come.
#[derive(Debug, Clone, Copy)]
enum Place {
    Start,
    AfterVideo(VideoPosition),
    From(DateTime<Utc>),
    End,
}

/// Some lines, and where the next ones begin.
struct Part {
    lines: Vec<u8>,
    next: Place,
}

impl Export {
    fn parts(self, first: Part) -> impl Stream<Item = Result<Bytes, ApiError>> {
        stream::try_unfold((self, Some(first), Place::Start), |(export, first, place)| async move {
            let part = match (first, place) {
                (Some(first), _) => first,
                (None, Place::End) => return Ok(None),
                (None, place) => export.read_on(place).await.inspect_err(log)?,
            };
            Ok(Some((part.lines.into(), (export, None, part.next))))
        })
    }

    /// A further part, for who may see it still: a reader may take hours.
    async fn read_on(&self, place: Place) -> Result<Part, ApiError> {
        if self.member.may_still_see(&self.api).await {
            self.read(place).await
        } else {
            Err(ApiError::NotFound("member"))
        }
    }

    async fn read(&self, place: Place) -> Result<Part, ApiError> {
        match self.what {
            What::Videos => self.videos(place).await,
            What::History => self.history(place).await,
        }
    }

    async fn videos(&self, place: Place) -> Result<Part, ApiError> {
        let after = if let Place::AfterVideo(after) = place { Some(after) } else { None };
        let (project, id) = (self.creator.project_id, self.creator.id);
        let asked = VideoQuery { after, ..VideoQuery::default() };
        let found = self.api.within(self.api.store.videos(project, id, &asked, CHUNK)).await?;
        let found = found.ok_or(ApiError::NotFound("creator"))?;
        let last = found.last().filter(|_| is_full(found.len())).map(|video| video.position(VideoSort::PublishedAt));
        let lines = match self.format {
            Format::Csv => csv(starts(place).then_some(VIDEO_COLUMNS), found.into_iter().map(video_cells)),
            Format::Ndjson => ndjson(found.into_iter().map(VideoView::from))?,
        };
        Ok(Part { lines, next: last.map_or(Place::End, Place::AfterVideo) })
    }

    async fn history(&self, place: Place) -> Result<Part, ApiError> {
        let from = if let Place::From(from) = place { from } else { DateTime::UNIX_EPOCH };
        let (project, id) = (self.creator.project_id, self.creator.id);
        let range = HistoryRange { from, to: DateTime::<Utc>::MAX_UTC, interval: Interval::Raw };
        let found = self.api.within(self.api.store.creator_history(project, id, range, CHUNK)).await?;
        let found = found.ok_or(ApiError::NotFound("creator"))?;
        let last = found.last().filter(|_| is_full(found.len())).map(|point| Interval::Raw.end(point.at));
        let lines = match self.format {
            Format::Csv => csv(starts(place).then_some(HISTORY_COLUMNS), found.into_iter().map(point_cells)),
            Format::Ndjson => ndjson(found.into_iter().map(CreatorPointView::from))?,
        };
        Ok(Part { lines, next: last.map_or(Place::End, Place::From) })
    }
}

fn starts(place: Place) -> bool {
    matches!(place, Place::Start)
}

fn is_full(length: usize) -> bool {
    i64::try_from(length).is_ok_and(|length| length >= CHUNK)
}

fn log(error: &ApiError) {
    tracing::warn!(%error, detail = error.detail(), "an export was broken off");
}

fn video_cells(video: StoredVideo) -> [String; 12] {
    [
        video.id.to_string(),
        text(Some(video.external_id)),
        text(video.title),
        text(video.description),
        instant(video.published_at),
        count(video.views),
        count(video.likes),
        count(video.comments),
        count(video.shares),
        count(video.duration),
        text(video.url),
        text(video.cover_url),
    ]
}

fn point_cells(point: CreatorPoint) -> [String; 6] {
    let CreatorPoint { at, counters, views } = point;
    [
        instant(at),
        count(counters.followers),
        count(counters.following),
        count(counters.likes),
        count(counters.video_count),
        count(views),
    ]
}

/// A text that no spreadsheet takes for a formula (OWASP, "CSV injection"): an apostrophe stands before what may begin one,
/// also where other separators than ours would begin a cell. The CSV itself is quoted by its writer; but where a semicolon or a
/// tab separates, our quotes stand amid a cell and quote nothing, so that the end of a line in a text ends the row.
fn text(text: Option<String>) -> String {
    let text = text.unwrap_or_default();
    let mut safe = String::with_capacity(text.len() + 1);
    if text.starts_with(['\t', '\r', '\n']) {
        safe.push('\'');
    }
    let mut begins = true;
    for c in text.chars() {
        if begins && matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠') {
            safe.push('\'');
        }
        safe.push(c);
        // What is trimmed, or taken for a quote, leaves the cell at its beginning.
        let ends_cell = matches!(c, ';' | '\t' | '\r' | '\n');
        begins = ends_cell || begins && (c == '"' || c.is_whitespace() || c.is_control());
    }
    safe
}

/// What nobody knows is empty, and never nought.
fn count(count: Option<i64>) -> String {
    count.map(|count| count.to_string()).unwrap_or_default()
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Records by RFC 4180: each ends in CRLF, and a field with a separator, a quote or a line's end in it stands in quotes.
fn csv<const N: usize>(columns: Option<[&str; N]>, lines: impl Iterator<Item = [String; N]>) -> Vec<u8> {
    let mut text = String::new();
    for line in columns.map(|columns| columns.map(str::to_owned)).into_iter().chain(lines) {
        let fields = line.map(quoted);
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text.into_bytes()
}

fn quoted(field: String) -> String {
    if field.contains([',', '"', '\r', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

fn ndjson(views: impl Iterator<Item = impl Serialize>) -> Result<Vec<u8>, ApiError> {
    let mut lines = Vec::new();
    for view in views {
        let written = serde_json::to_writer(&mut lines, &view);
        written.map_err(|error| ApiError::Internal(format!("a line was not written: {error}")))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for evil in ["=1+1", "+1", "-1", "@SUM(A1)", "＝1+1", "＋1", "－1", "＠A", "=HYPERLINK(\"http://e.example\")"]
        {
            assert_eq!(text(Some(evil.into())), format!("'{evil}"));
            // A spreadsheet may begin a cell behind these, and trims or takes for quotes what stands before it.
            for before in [";", "\t", "\n", "\r\n", ";\"", "; ", "\n\" \""] {
                assert_eq!(text(Some(format!("a{before}{evil}"))), format!("a{before}'{evil}"));
            }
        }
        assert_eq!(text(Some("x\n=1+1;".into())), "x\n'=1+1;");
        assert_eq!(text(Some("x;\"=1+1;".into())), "x;\"'=1+1;");
        for line_end in ["\t", "\r", "\n"] {
            assert_eq!(text(Some(format!("{line_end}=1"))), format!("'{line_end}'=1"));
        }
        assert_eq!(text(Some(";;=1".into())), ";;'=1");
        assert_eq!(text(Some("a; b = c\n\nd - e".into())), "a; b = c\n\nd - e");
        assert_eq!(text(Some("A = B".into())), "A = B");
        assert_eq!(text(None), "");
        assert_eq!(count(Some(-1)), "-1", "a number is one");
    }

    /// A reader of RFC 4180, as others have one.
    fn read(text: &str) -> Vec<Vec<String>> {
        let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
        let (mut chars, mut quoted) = (text.chars().peekable(), false);
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
                '"' if quoted || field.is_empty() => quoted = !quoted,
                ',' if !quoted => record.push(std::mem::take(&mut field)),
                '\r' if !quoted && chars.next_if_eq(&'\n').is_some() => {
                    record.push(std::mem::take(&mut field));
                    records.push(std::mem::take(&mut record));
                }
                _ => field.push(c),
            }
        }
        assert!(record.is_empty() && field.is_empty() && !quoted, "the last record has an end: {text:?}");
        records
    }

    proptest! {
        /// By a reader for whom our comma separates nothing, and our quotes quote nothing.
        #[test]
        fn no_cell_of_another_reader_is_a_formula(
            texts in prop::collection::vec(prop::array::uniform2("[a,\"'\r\n;=+@\t ＝\\-]{0,9}"), 1..5),
        ) {
            let lines = texts.into_iter().map(|[one, other]| ["7".to_owned(), text(Some(one)), text(Some(other))]);
            let written = String::from_utf8(csv(Some(["a", "b", "c"]), lines)).expect("text");
            for cell in written.split([';', '\t', '\r', '\n']) {
                let shown = cell.trim_matches([' ', '"']);
                prop_assert!(!shown.starts_with(['=', '+', '-', '@', '＝']), "{cell:?} of {written:?}");
            }
            for cell in read(&written).iter().flatten() {
                let shown = cell.trim_start_matches([' ', '"']);
                prop_assert!(!shown.starts_with(['=', '+', '-', '@', '＝']), "{cell:?} of {written:?}");
            }
        }

        #[test]
        fn no_cell_breaks_out(cells in prop::collection::vec(prop::array::uniform3("[a,\"'\r\n;=\t ü]{0,9}"), 1..5)) {
            let written = String::from_utf8(csv(Some(["a", "b", "c"]), cells.clone().into_iter())).expect("text");
            let mut expected = vec![["a", "b", "c"].map(str::to_owned).to_vec()];
            expected.extend(cells.into_iter().map(Vec::from));
            prop_assert_eq!(read(&written), expected);
        }
    }
}
