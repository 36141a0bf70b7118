//! A sync, watched live: server-sent events, from whichever worker runs it and from the job's row.
//!
//! A stream ends with the job, with the server, with the session and with the membership. It costs one read of a row every
//! two seconds; how far the job is comes through Redis, and only while somebody watches (`shared/src/queue/progress.rs`).

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderName};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use chrono::{DateTime, DurationRound as _, SecondsFormat, TimeDelta, Utc};
use futures::future::BoxFuture;
use futures::stream;
use serde::Serialize;
use shared::ids::{CreatorId, JobId};
use shared::queue::{Final, Following, Progress, Step};
use shared::store::creators::{Creator, Status};
use shared::store::jobs::{Job, JobState};
use tokio::time::{Instant, sleep_until};

use super::error::ConsoleError;
use super::job_words::remedy;
use super::numbers::Numbers;
use super::page::path_id;
use super::seats::Seat;
use super::who::Member;
use crate::app::Api;

/// How often the job's row is read.
const READ_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked up whether the reader may still see it. If so a comment is sent, so that no proxy takes the stream
/// for dead, and so that we notice when nobody is there any more.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after this; who is still there asks again by itself.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a browser waits before it asks again.
const RETRY: &str = "retry: 3000\n\n";
/// Asks nginx, and those that do as it does, to pass each event on at once.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// `GET /console/projects/{project}/creators/{creator}/progress`.
pub async fn progress(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let id: CreatorId = path_id(&request, "creator")?;
    let creator = api.within(api.store.creator(member.project(), id)).await?.ok_or(ConsoleError::NotFound)?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, "text/event-stream; charset=utf-8")).insert_header(UNBUFFERED);
    let Some(job) = api.within(api.store.open_sync_of(id)).await? else {
        return Ok(response.body(format!("{RETRY}{}", not_running(&creator).text())));
    };
    let seat = Seat::take(&api.console.watching, member.who.user).ok_or(ConsoleError::TooMany(HEARTBEAT))?;
    let live = Live::new(api, member, &creator, job, seat, Numbers::of(&request));
    Ok(response.streaming(stream::unfold(live, Live::next)))
}

/// What the page is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Said {
    #[serde(skip)]
    event: &'static str,
    /// A sentence. Where `{until}` stands in it, the page writes the time in the reader's own way.
    words: String,
    /// The same in a word or two, for a row of a table.
    short: String,
    until: Option<String>,
    /// Videos that were read, and how many there may be.
    read: Option<u64>,
    of: Option<u64>,
    /// The two of them as the reader writes numbers.
    count: Option<String>,
}

impl Said {
    fn new(event: &'static str, short: &str, words: impl Into<String>) -> Self {
        Self { event, words: words.into(), short: short.to_owned(), until: None, read: None, of: None, count: None }
    }

    /// As the stream has it. JSON has no line breaks of its own, so nothing in it can end the event.
    fn text(&self) -> String {
        let data = serde_json::to_string(self).unwrap_or_default();
        format!("event: {}\ndata: {data}\n\n", self.event)
    }
}

/// One reader's view of one job.
struct Live {
    api: Data<Api>,
    member: Member,
    creator: CreatorId,
    job: JobId,
    following: Following,
    last_word: BoxFuture<'static, Option<Final>>,
    /// What the row said last, and when.
    row: Option<Job>,
    read_at: Option<Instant>,
    /// The videos that the creator had before this sync.
    known: Option<u64>,
    checked_at: Instant,
    said: Option<Said>,
    seat: Seat,
    numbers: Numbers,
    is_over: bool,
}

impl Live {
    fn new(api: Data<Api>, member: Member, creator: &Creator, job: JobId, seat: Seat, numbers: Numbers) -> Self {
        let now = Instant::now();
        let watching = api.waiter.watch(job);
        Self {
            following: api.progress.watch(job),
            last_word: Box::pin(async move {
                // It may have ended before anybody listened.
                match watching.check_now().await {
                    None => watching.wait(now + LONGEST).await,
                    word => word,
                }
            }),
            api,
            member,
            creator: creator.id,
            job,
            row: None,
            read_at: None,
            known: creator.video_count.and_then(|count| u64::try_from(count).ok()),
            checked_at: now,
            said: None,
            seat,
            numbers,
            is_over: false,
        }
    }

    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.is_over {
            return None;
        }
        let stopping = self.api.stopping.clone();
        let text = stopping.run_until_cancelled(self.text()).await??;
        Some((Ok(Bytes::from(text)), self))
    }

    /// The next piece of the stream; `None` at its end.
    async fn text(&mut self) -> Option<String> {
        if self.read_at.is_none() {
            self.read().await;
        }
        loop {
            let said = self.now();
            if self.said.as_ref() != Some(&said) {
                let opening = if self.said.is_none() { RETRY } else { "" };
                let text = format!("{opening}{}", said.text());
                self.said = Some(said);
                return Some(text);
            }
            let read_at = self.read_at.unwrap_or(self.checked_at) + READ_EVERY;
            tokio::select! {
                word = &mut self.last_word => {
                    self.is_over = true;
                    let word = word?;
                    let gone = if word == Final::Cancelled { self.is_gone().await } else { None };
                    return Some(ended(&word, gone).text());
                }
                () = self.seat.lost() => {
                    self.is_over = true;
                    return Some(Said::new("moved", "", "This is shown in a newer window.").text());
                }
                () = self.following.changed() => {}
                () = sleep_until(read_at) => self.read().await,
                () = sleep_until(self.checked_at + HEARTBEAT) => {
                    self.checked_at = Instant::now();
                    return self.member.may_still_see(&self.api).await.then(|| ": still there\n\n".to_owned());
                }
            }
        }
    }

    /// A read that fails leaves what is known: the next one is soon.
    async fn read(&mut self) {
        let (api, project) = (&self.api, self.member.project());
        if let Ok(Ok(Some(row))) = tokio::time::timeout(READ_EVERY, api.store.job(project, self.job)).await {
            self.row = Some(row);
        }
        self.read_at = Some(Instant::now());
    }

    /// Whether the creator is disconnected by now, if that can be read.
    async fn is_gone(&self) -> Option<bool> {
        let read = self.api.store.creator(self.member.project(), self.creator);
        Some(tokio::time::timeout(READ_EVERY, read).await.ok()?.ok()?.is_none())
    }

    /// A worker's word, unless the row is newer and says that none has the job.
    fn now(&self) -> Said {
        let row = self.row.as_ref();
        let is_running = row.is_some_and(|row| row.state == JobState::Running);
        match self.following.now() {
            Some((progress, at)) if is_running || self.read_at.is_none_or(|read| at > read) => {
                telling(progress, at.elapsed(), self.known, self.numbers)
            }
            _ => row.map_or_else(|| Said::new("progress", "Syncing", "Syncing."), standing),
        }
    }
}

/// What a worker told so long ago.
fn telling(progress: Progress, age: Duration, known: Option<u64>, numbers: Numbers) -> Said {
    let Progress { step, waits, left_ms, pages, items, of } = progress;
    // A wait that should be over says nothing any more.
    let left = left_ms.filter(|_| waits).and_then(|left| Duration::from_millis(left).checked_sub(age));
    let until = left.and_then(on_the_clock).map(written);
    let of = of.or(known).filter(|of| *of >= items);
    let number = |number: u64| numbers.exact(i64::try_from(number).unwrap_or(i64::MAX));
    let count = match of {
        Some(of) => format!("{} of {}", number(items), number(of)),
        None => number(items),
    };
    let read = match pages {
        0 if items == 0 => String::new(),
        1 => format!("1 page, {count} videos."),
        _ => format!("{} pages, {count} videos.", number(pages.into())),
    };
    let (short, words) = match (step, waits) {
        (_, true) if until.is_some() => ("Waiting for quota", format!("Waiting for quota until {{until}}. {read}")),
        (_, true) => ("Waiting for quota", format!("Waiting for a turn at the quota. {read}")),
        (Step::Starting, _) => ("Starting", "Reading the profile.".to_owned()),
        (Step::Reading, _) if read.is_empty() => ("Reading videos", "Reading the videos.".to_owned()),
        (Step::Reading, _) => ("Reading videos", format!("Reading the videos: {read}")),
        (Step::Writing, _) => ("Saving", format!("Saving what was read. {read}")),
    };
    let is_counted = !read.is_empty();
    let said = Said::new("progress", short, words.trim_end());
    Said {
        until,
        read: is_counted.then_some(items),
        count: is_counted.then_some(count).filter(|_| of.is_some()),
        of,
        ..said
    }
}

/// What an open job's row tells.
fn standing(row: &Job) -> Said {
    let due = (row.run_at > Utc::now()).then(|| written(row.run_at));
    let (short, words) = match (row.state, due.is_some()) {
        (JobState::Running, _) => ("Syncing", "Syncing."),
        (JobState::Retrying, true) => ("Retrying", "The last try failed. The next one begins at {until}."),
        (JobState::Waiting, _) => ("Sync queued", "In line: it begins when it is its turn."),
        // The row does not say which of the three it is.
        (JobState::Enqueued, true) => {
            ("Waiting", "Waiting until {until}: for the quota, for TikTok to work again, or for the creator's tokens.")
        }
        _ => ("Sync queued", "Queued: it begins when a worker is free."),
    };
    let until = due.filter(|_| words.contains("{until}"));
    Said { until, ..Said::new("progress", short, words) }
}

/// A job's last word.
fn ended(word: &Final, creator_is_gone: Option<bool>) -> Said {
    match word {
        Final::Done => Said::new("done", "Active", "Done: profile and videos are up to date."),
        Final::Cancelled => match creator_is_gone {
            Some(true) => Said::new("cancelled", "Disconnected", "The creator was disconnected."),
            Some(false) => Said::new("failed", "Discarded", "The sync was discarded by an operator."),
            None => {
                Said::new("failed", "Called off", "The creator was disconnected, or an operator discarded the sync.")
            }
        },
        Final::Failed { code } if code == "reauthorization_required" => refused(),
        Final::Failed { code } => Said::new("failed", "Last sync failed", format!("The sync failed. {}", remedy(code))),
    }
}

fn not_running(creator: &Creator) -> Said {
    match creator.status {
        Status::ReauthorizationRequired => refused(),
        Status::Active => Said::new("done", "Active", "No sync is running."),
    }
}

fn refused() -> Said {
    let words = "The platform no longer accepts the authorization: ask the creator to connect again.";
    Said::new("failed", "Must connect again", words)
}

/// In whole seconds, so that it stays what it is while it is told again and again.
fn on_the_clock(left: Duration) -> Option<DateTime<Utc>> {
    Utc::now().checked_add_signed(TimeDelta::from_std(left).ok()?)?.duration_round(TimeDelta::seconds(1)).ok()
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_was_called_off_says_by_what() {
        let words = |gone| ended(&Final::Cancelled, gone).words;
        assert_eq!(words(Some(true)), "The creator was disconnected.");
        assert_eq!(words(Some(false)), "The sync was discarded by an operator.");
        assert!(words(None).contains("disconnected, or"));
        assert!(ended(&Final::Done, None).words.contains("up to date"));
    }

    #[test]
    fn what_a_worker_tells_is_said_in_plain_words() {
        let progress = |step, pages, items, of| Progress { step, pages, items, of, ..Progress::default() };
        let telling = |progress, known| telling(progress, Duration::ZERO, known, Numbers::accepted("de"));
        let words = |progress| telling(progress, Some(50)).words;
        assert_eq!(words(progress(Step::Starting, 0, 0, None)), "Reading the profile.");
        assert_eq!(words(progress(Step::Reading, 0, 0, Some(842))), "Reading the videos.");
        let first = telling(progress(Step::Reading, 1, 20, Some(842)), None);
        assert_eq!(first.words, "Reading the videos: 1 page, 20 of 842 videos.");
        assert_eq!((first.read, first.of, first.count.as_deref()), (Some(20), Some(842), Some("20 of 842")));
        let large = telling(progress(Step::Reading, 1248, 12_480, Some(50_000)), None);
        assert_eq!(large.words, "Reading the videos: 1.248 pages, 12.480 of 50.000 videos.");
        assert_eq!((large.read, large.count.as_deref()), (Some(12_480), Some("12.480 of 50.000")));
        assert_eq!(words(progress(Step::Reading, 2, 40, None)), "Reading the videos: 2 pages, 40 of 50 videos.");
        // More than there should be: then nobody knows how many there are.
        assert_eq!(words(progress(Step::Reading, 3, 60, None)), "Reading the videos: 3 pages, 60 videos.");
        let waiting = telling(Progress { waits: true, ..progress(Step::Reading, 2, 40, None) }, None);
        assert_eq!(waiting.words, "Waiting for a turn at the quota. 2 pages, 40 videos.");
        let waiting = telling(Progress { waits: true, ..Progress::default() }, None);
        assert_eq!(waiting.words, "Waiting for a turn at the quota.");
        let long = Progress { waits: true, left_ms: Some(30_000), ..progress(Step::Reading, 2, 40, None) };
        let waiting = super::telling(long, Duration::from_secs(10), Some(50), Numbers::accepted("de"));
        assert_eq!(waiting.words, "Waiting for quota until {until}. 2 pages, 40 of 50 videos.");
        let until: DateTime<Utc> = waiting.until.as_deref().expect("a time").parse().expect("an instant");
        assert!((until - Utc::now() - TimeDelta::seconds(20)).abs() < TimeDelta::seconds(5), "{until}");
        let over = super::telling(long, Duration::from_secs(31), None, Numbers::accepted("de"));
        assert_eq!((over.words.as_str(), over.until), ("Waiting for a turn at the quota. 2 pages, 40 videos.", None));
        let text = waiting.text();
        assert!(text.starts_with("event: progress\ndata: {\"words\":\"Waiting") && text.ends_with("}\n\n"), "{text}");
        assert_eq!(text.trim_end().lines().count(), 2, "{text}");
    }
}
