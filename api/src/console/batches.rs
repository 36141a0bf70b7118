//! Bulk resyncs: how far each has come, and the way to a new one.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use chrono::{DateTime, Utc};
use shared::ids::BatchId;
use shared::people::Role;
use shared::store::batches::{Batch, BatchFilter};
use shared::store::project_batches::ListedBatch;

use super::PATH;
use super::ahead::ahead;
use super::bar::Bar;
use super::error::ConsoleError;
use super::form::Form;
use super::moment::{Moment, span};
use super::numbers::Numbers;
use super::page::{Layout, answer, path_id, query, see_other};
use super::who::Member;
use crate::app::Api;
use crate::trace::TraceContext;
use crate::views::time_left;

const PAGE: usize = 25;
/// The ages that can be chosen: what the form says, and in words.
const AGES: [(&str, &str); 4] = [
    ("", "All of them"),
    ("1h", "Those last synced more than an hour ago"),
    ("24h", "Those last synced more than a day ago"),
    ("7days", "Those last synced more than a week ago"),
];

/// A batch on a page.
struct BatchLine {
    id: BatchId,
    total: String,
    done: String,
    failed: String,
    skipped: String,
    percent: String,
    bar: Bar,
    is_open: bool,
    failed_some: bool,
    made: Moment,
    /// How long ago those of it were last synced, at least; empty for all creators.
    age: String,
    finished: Option<Moment>,
}

/// What of a batch is settled.
struct Settled {
    total: i64,
    done: i64,
    failed: i64,
    skipped: i64,
}

impl Settled {
    fn all(&self) -> i64 {
        (self.done + self.failed + self.skipped).clamp(0, self.total.max(0))
    }

    /// Rounded down: 100 is the end alone.
    fn percent(&self) -> i64 {
        if self.total <= 0 { 100 } else { self.all().saturating_mul(100) / self.total }
    }

    fn bar(&self, numbers: Numbers) -> Bar {
        let Self { total, done, failed, skipped } = *self;
        let [done_words, failed_words, skipped_words, all] = [done, failed, skipped, total].map(|n| numbers.exact(n));
        let words = format!(
            "{} percent: {done_words} done, {failed_words} failed, {skipped_words} skipped of {all}",
            self.percent()
        );
        Bar::new(words, total, &[("good", done), ("bad", failed), ("muted", skipped)])
    }

    /// Creators a minute, on average since it was asked for.
    fn rate(&self, created: DateTime<Utc>, until: DateTime<Utc>, numbers: Numbers) -> String {
        let seconds = (until - created).num_seconds().max(1);
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        let rate = self.all() as f64 * 60.0 / seconds as f64;
        format!("{} a minute", numbers.rate(rate))
    }
}

impl BatchLine {
    fn new(batch: &ListedBatch, numbers: Numbers) -> Self {
        let ListedBatch { total, done, failed, skipped, .. } = *batch;
        let settled = Settled { total, done, failed, skipped };
        Self {
            id: batch.id,
            total: numbers.exact(total),
            done: numbers.exact(done),
            failed: numbers.exact(failed),
            skipped: numbers.exact(skipped),
            percent: numbers.whole_percent(settled.percent()),
            bar: settled.bar(numbers),
            is_open: settled.all() < total,
            failed_some: failed > 0,
            made: Moment::of(batch.created_at),
            age: age(batch),
            finished: batch.finished_at.map(Moment::of),
        }
    }
}

fn age(batch: &ListedBatch) -> String {
    let age = batch.stale_before.and_then(|before| (batch.created_at - before).to_std().ok());
    age.map_or_else(String::new, |age| format!("older than {}", span(age)))
}

#[derive(Template)]
#[template(path = "console/batches.html")]
struct BatchesPage {
    layout: Layout,
    base: String,
    may_change: bool,
    lines: Vec<BatchLine>,
    is_first: bool,
    /// The last batch on this page, if there are older ones.
    before: Option<BatchId>,
}

#[derive(Template)]
#[template(path = "console/batch.html")]
struct BatchPage {
    layout: Layout,
    base: String,
    jobs: String,
    line: BatchLine,
    queued: String,
    running: String,
    rate: String,
    /// When its end may be.
    estimate: Option<Moment>,
    id: BatchId,
}

/// The page that asks whether one is meant.
#[derive(Template)]
#[template(path = "console/new-batch.html")]
struct NewBatchPage {
    layout: Layout,
    base: String,
    creators: String,
    total: i64,
    count: String,
    /// How long the quota takes for all of them.
    takes: String,
    ages: [(&'static str, &'static str); 4],
}

fn base(member: &Member) -> String {
    format!("{PATH}/projects/{}/batches", member.project())
}

/// `GET /console/projects/{project}/batches?before=`.
pub async fn list(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let before: Option<BatchId> = match query(&request, "before").as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| ConsoleError::NotFound)?),
    };
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut found = api.within(api.store.project_batches(member.project(), before, limit)).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let numbers = Numbers::of(&request);
    let page = BatchesPage {
        layout: Layout::project(&member, "Batches", "batches").with_notice(&request),
        base: base(&member),
        may_change: member.may(Role::Developer),
        is_first: before.is_none(),
        before: found.last().map(|batch| batch.id).filter(|_| more),
        lines: found.iter().map(|batch| BatchLine::new(batch, numbers)).collect(),
    };
    answer(false, &page)
}

/// `GET /console/projects/{project}/batches/{batch}`.
pub async fn show(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let (id, project) = (path_id(&request, "batch")?, member.project());
    let batch = api.within(api.store.batch(project, id)).await?.ok_or(ConsoleError::NotFound)?;
    let left = if batch.open() > 0 {
        let ahead = ahead(&api, project).await?;
        chrono::Duration::from_std(time_left(batch.open(), &ahead, api.tiktok.quota())).ok()
    } else {
        None
    };
    let numbers = Numbers::of(&request);
    let (queued, running) = (numbers.exact(batch.queued()), numbers.exact(batch.running));
    let Batch { total, done, failed, skipped, created_at, finished_at, .. } = batch;
    let settled = Settled { total, done, failed, skipped };
    let line = BatchLine::new(
        &ListedBatch { id, total, done, failed, skipped, stale_before: None, created_at, finished_at },
        numbers,
    );
    let page = BatchPage {
        layout: Layout::project(&member, "A batch", "batches").with_notice(&request),
        base: base(&member),
        jobs: format!("{PATH}/projects/{project}/jobs"),
        queued,
        running,
        rate: settled.rate(created_at, finished_at.unwrap_or_else(Utc::now), numbers),
        estimate: left.and_then(|left| Utc::now().checked_add_signed(left)).map(Moment::of),
        line,
        id,
    };
    answer(false, &page)
}

/// `GET /console/projects/{project}/batches/new`: what a resync would be, before it is asked for.
pub async fn ask(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let project = member.project();
    let total = api.within(api.store.count_creators(project)).await?;
    let ahead = api.within(api.store.ahead(project)).await?;
    // Whose sync is open already has no second one.
    let takes = time_left(total, &ahead, api.tiktok.quota()).max(Duration::from_secs(1));
    let page = NewBatchPage {
        layout: Layout::project(&member, "Resync", "batches"),
        base: base(&member),
        creators: format!("{PATH}/projects/{project}/creators"),
        total,
        count: Numbers::of(&request).exact(total),
        takes: span(takes),
        ages: AGES,
    };
    answer(false, &page)
}

/// `POST /console/projects/{project}/batches`: asks for a resync of all creators, or of those that were not synced for so
/// long.
pub async fn create(
    member: Member,
    trace: TraceContext,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let chosen = form.text("age");
    let known = AGES.into_iter().find(|(age, _)| *age == chosen);
    let (age, _) = known.ok_or_else(|| ConsoleError::Malformed("there is no such age to choose".into()))?;
    let filter = BatchFilter { older_than: humantime::parse_duration(age).ok(), ..BatchFilter::default() };
    let (work, who, project) = (Data::clone(&api), member.who.clone(), member.project());
    let new = api.detached(async move {
        work.within(work.store.open_batch_as(project, who.by(), &filter, Some(trace.as_str()))).await
    });
    let id = new.await?.id;
    Ok(see_other(&format!("{}/{id}?done=resync", base(&member))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(total: i64, done: i64, failed: i64, skipped: i64) -> Settled {
        Settled { total, done, failed, skipped }
    }

    #[test]
    fn a_hundred_percent_is_the_end_alone() {
        assert_eq!(settled(1_000_000, 999_999, 0, 0).percent(), 99);
        assert_eq!(settled(3, 1, 1, 1).percent(), 100);
        assert_eq!(settled(0, 0, 0, 0).percent(), 100);
        assert_eq!(settled(i64::MAX, 1, 0, 0).percent(), 0);
    }

    #[test]
    fn a_rate_is_per_minute_since_it_began() {
        let began = DateTime::UNIX_EPOCH;
        let rate = |done, seconds| {
            settled(100_000, done, 0, 0).rate(
                began,
                began + chrono::Duration::seconds(seconds),
                Numbers::accepted("en"),
            )
        };
        assert_eq!(rate(0, 0), "0 a minute");
        assert_eq!(rate(3, 60), "3 a minute");
        assert_eq!(rate(3, 120), "1.5 a minute");
        assert_eq!(rate(5, 600), "0.5 a minute");
        assert_eq!(rate(60_000, 600), "6,000 a minute");
    }

    #[test]
    fn numbers_are_the_readers_own() {
        let german = Numbers::accepted("de");
        let rate = settled(100_000, 3, 0, 0).rate(
            DateTime::UNIX_EPOCH,
            DateTime::UNIX_EPOCH + chrono::Duration::minutes(2),
            german,
        );
        assert_eq!(rate, "1,5 a minute");
        let bar = settled(100_000, 12_345, 0, 0).bar(german).to_string();
        assert!(bar.contains("12 percent: 12.345 done, 0 failed, 0 skipped of 100.000"), "{bar}");
        assert_eq!(german.whole_percent(12), "12\u{a0}%");
    }

    #[test]
    fn every_age_that_can_be_chosen_is_a_span() {
        for (age, words) in AGES {
            assert_eq!(humantime::parse_duration(age).is_ok(), !age.is_empty(), "{words}");
        }
    }
}
