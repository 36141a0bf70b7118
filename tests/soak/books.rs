//! What clients were told, and whether it was true.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use crate::audit::Seen;

/// Clocks of one machine, read in different processes.
const SLACK: Duration = Duration::from_secs(1);
/// Postgres is back, and the pools find out.
const HEALING: Duration = Duration::from_secs(10);

/// From an instant to another one, or to now.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: SystemTime,
    to: Option<SystemTime>,
}

impl Span {
    fn meets(&self, from: SystemTime, to: SystemTime) -> bool {
        self.from <= to && self.to.is_none_or(|end| end >= from)
    }
}

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    Sync,
    Disconnect,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Told {
    pub request: Request,
    pub creator: String,
    pub asked: SystemTime,
    pub answered: SystemTime,
    /// How long the client was ready to wait.
    pub patience: Duration,
    /// 0: none came.
    pub status: u16,
    /// The job of a 202.
    pub job: Option<String>,
}

impl Told {
    /// How long the answer took beyond the wait that was asked for.
    pub fn overdue(&self) -> Duration {
        self.answered.duration_since(self.asked).unwrap_or_default().saturating_sub(self.patience)
    }
}

/// All that was said, and what the soak itself did that explains it.
#[derive(Debug, Default)]
pub struct Books(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    told: Vec<Told>,
    /// When TikTok refused a creator's tokens, or may have.
    withdrawn: HashMap<String, Vec<Span>>,
    postgres_away: Vec<Span>,
    others: BTreeMap<(&'static str, u16), usize>,
    wrong: Vec<String>,
}

impl Books {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().expect("no panic under the lock")
    }

    pub fn told(&self, told: Told) {
        self.entries().told.push(told);
    }

    /// An answer whose truth is judged on the spot, or not at all.
    pub fn count(&self, what: &'static str, status: u16) {
        *self.entries().others.entry((what, status)).or_default() += 1;
    }

    pub fn wrong(&self, what: String) {
        self.entries().wrong.push(what);
    }

    pub fn withdraws(&self, creator: &str) {
        let span = Span { from: SystemTime::now(), to: None };
        self.entries().withdrawn.entry(creator.to_owned()).or_default().push(span);
    }

    /// A consent that was given while a revocation of the same account was on its way. If TikTok took the revocation for the
    /// later word, the creator must connect again, and is told so (docs/internals.md: never silently dead).
    pub fn consents_in_a_hurry(&self, creator: &str, from: SystemTime) {
        self.entries().withdrawn.entry(creator.to_owned()).or_default().push(Span { from, to: None });
    }

    /// Whether TikTok may refuse the creator's tokens now.
    pub fn may_be_refused(&self, creator: &str) -> bool {
        self.entries().withdrawn.get(creator).is_some_and(|spans| spans.iter().any(|span| span.to.is_none()))
    }

    pub fn consents_again(&self, creator: &str) {
        for span in self.entries().withdrawn.get_mut(creator).into_iter().flatten() {
            span.to.get_or_insert_with(SystemTime::now);
        }
    }

    pub fn postgres_leaves(&self) {
        self.entries().postgres_away.push(Span { from: SystemTime::now(), to: None });
    }

    pub fn postgres_returns(&self) {
        if let Some(span) = self.entries().postgres_away.last_mut() {
            span.to = Some(SystemTime::now() + HEALING);
        }
    }

    /// Whether a 503 is right at this time.
    pub fn postgres_is_away(&self, from: SystemTime, to: SystemTime) -> bool {
        self.entries().postgres_away.iter().any(|span| span.meets(from, to))
    }

    /// How many answers there were, by what was asked for and status.
    pub fn answers(&self) -> BTreeMap<(&'static str, u16), usize> {
        let entries = self.entries();
        let mut answers = entries.others.clone();
        for told in &entries.told {
            let what = if told.request == Request::Sync { "sync" } else { "disconnect" };
            *answers.entry((what, told.status)).or_default() += 1;
        }
        answers
    }

    /// The longest time that an answer took beyond the wait that its client had asked for, and the longest wait at all.
    pub fn worst_waits(&self) -> (Duration, Duration) {
        let entries = self.entries();
        let overdue = entries.told.iter().map(Told::overdue).max().unwrap_or_default();
        let waited = entries.told.iter().filter_map(|told| told.answered.duration_since(told.asked).ok()).max();
        (overdue, waited.unwrap_or_default())
    }

    /// Every answer that was not true, by what Postgres witnessed of syncs and revocations.
    pub fn untrue(&self, syncs: &[Seen], revocations: &[Seen]) -> Vec<String> {
        let (syncs, revocations) = (Witness::of(syncs), Witness::of(revocations));
        let entries = self.entries();
        let mut wrong = entries.wrong.clone();
        for told in &entries.told {
            let own = if told.request == Request::Sync { &syncs } else { &revocations };
            let true_word = match told.status {
                200 => own.said(told, "done"),
                202 => told.job.as_ref().is_some_and(|job| own.has_its_last_word(job, told)),
                // Gone: a disconnect was accepted before the answer.
                404 => revocations.was_made_before(&told.creator, told.answered),
                409 => entries
                    .withdrawn
                    .get(&told.creator)
                    .is_some_and(|spans| spans.iter().any(|span| span.meets(told.asked - SLACK, told.answered))),
                502 => own.said(told, "failed"),
                503 => entries.postgres_away.iter().any(|span| span.meets(told.asked, told.answered)),
                _ => false,
            };
            if !true_word {
                let withdrawn = entries.withdrawn.get(&told.creator);
                wrong.push(format!("{told:?}; TikTok refused its tokens {withdrawn:?}"));
            }
        }
        wrong
    }
}

/// What was seen of one kind of job, by creator and by job.
struct Witness<'a> {
    creators: HashMap<&'a str, Vec<&'a Seen>>,
    jobs: HashMap<&'a str, Vec<&'a Seen>>,
}

impl<'a> Witness<'a> {
    fn of(seen: &'a [Seen]) -> Self {
        let (mut creators, mut jobs) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for one in seen {
            creators.entry(one.creator.as_str()).or_default().push(one);
            jobs.entry(one.job.as_str()).or_default().push(one);
        }
        Self { creators, jobs }
    }

    /// Whether a job of the creator ended so between question and answer.
    fn said(&self, told: &Told, event: &str) -> bool {
        let between = |seen: &&Seen| seen.at >= told.asked - SLACK && seen.at <= told.answered + SLACK;
        self.creators
            .get(told.creator.as_str())
            .is_some_and(|all| all.iter().any(|seen| seen.event == event && between(seen)))
    }

    /// Whether the job is this creator's, was open when it was asked for, and was not forgotten.
    fn has_its_last_word(&self, job: &str, told: &Told) -> bool {
        self.jobs.get(job).is_some_and(|all| {
            all.iter().all(|seen| seen.creator == told.creator)
                && all.iter().any(|seen| seen.event != "made" && seen.at >= told.asked - SLACK)
        })
    }

    fn was_made_before(&self, creator: &str, at: SystemTime) -> bool {
        self.creators
            .get(creator)
            .is_some_and(|all| all.iter().any(|seen| seen.event == "made" && seen.at <= at + SLACK))
    }
}
