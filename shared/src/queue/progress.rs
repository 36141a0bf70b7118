//! How far a running job is, told to who watches it, and said to nobody else.
//!
//! ```text
//!  API process                        Redis, pub/sub alone              worker process
//!  ───────────                        ──────────────────────            ──────────────
//!  ProgressEar::watch ──────────────▶ PUBLISH watched "id" ───────────▶ the holder of the job notes: watched
//!    again every 2 s, all ids at once                                     and tells at once what it knows
//!  Following::changed ◀────────────── PUBLISH progress "id {…}" ◀────── each change, four times a second at most
//! ```
//!
//! Who watches asks for it, and asks again every two seconds; a worker that was not asked for six says nothing. So a fleet
//! that nobody watches sends Redis nothing, and a page costs a job a lock in its own process. A notice that is lost, a job
//! that another worker takes over, a worker or an API process that starts later: the next question makes up for all of it.
//! Nothing is stored, so nothing has to be taken away. Where a job stands that no worker holds, its row says.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::lane::lock;
use super::{CHUNK, Lane, Queue, signals};
use crate::ids::JobId;

/// How often an ear says whom it listens for.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long a worker goes on telling after it was asked last: two questions may be lost.
const ASKED_FOR: Duration = Duration::from_secs(6);
/// The time between two tellings of a process.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// A wait for a turn that is over sooner is not worth a word.
const NOT_WORTH_A_WORD: Duration = Duration::from_millis(250);
/// How often it is looked up until when a wait may take.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It has begun.
    #[default]
    Starting,
    /// It reads pages.
    Reading,
    /// It has read all, and writes.
    Writing,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// What it is at.
    pub step: Step,
    /// Whether it only waits for its turn at the platform's quota just now.
    #[serde(default)]
    pub waits: bool,
    /// How long that may take from now on, in milliseconds: an estimate, if there is one. Not until when: the clocks of two
    /// machines differ.
    #[serde(default)]
    pub left_ms: Option<u64>,
    /// Pages that this start of the job has read.
    #[serde(default)]
    pub pages: u32,
    /// Things that were read, by earlier starts too.
    #[serde(default)]
    pub items: u64,
    /// How many there may be, if somebody has said so.
    #[serde(default)]
    pub of: Option<u64>,
}

/// A worker process's voice. Cheap to clone; it falls silent with its last clone.
#[derive(Clone)]
pub struct ProgressVoice {
    jobs: Arc<Jobs>,
    _stop: Arc<DropGuard>,
}

impl std::fmt::Debug for ProgressVoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProgressVoice").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Jobs {
    running: Mutex<HashMap<JobId, Running>>,
    /// Rings when there is something to tell.
    tell: Notify,
}

#[derive(Default)]
struct Running {
    /// Of the start that began last: the job may come back while an earlier start still ends.
    line: Weak<Line>,
    now: Progress,
    /// Somebody asked, and this is when they are forgotten.
    asked_until: Option<Instant>,
    /// Not told yet.
    is_news: bool,
}

/// A running job's own line. The default is nobody's, and tells nothing.
#[derive(Clone, Default)]
pub struct Telling(Option<Arc<Line>>);

struct Line {
    id: JobId,
    jobs: Arc<Jobs>,
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Telling").field(&self.0.as_ref().map(|line| line.id)).finish()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut running = lock(&self.jobs.running);
        if running.get(&self.id).is_some_and(|job| job.is_of(self)) {
            running.remove(&self.id);
        }
    }
}

impl ProgressVoice {
    /// Listens for questions, and goes on through every loss of Redis. Must be called in a tokio runtime.
    pub fn start(queue: &Queue) -> Self {
        let (jobs, stop) = (Arc::<Jobs>::default(), CancellationToken::new());
        tokio::spawn(hear_questions(queue.clone(), Arc::clone(&jobs), stop.clone()));
        tokio::spawn(stop.clone().run_until_cancelled_owned(tell(queue.clone(), Arc::clone(&jobs))));
        Self { jobs, _stop: Arc::new(stop.drop_guard()) }
    }

    /// A job that this process begins. It is told of until its line and all clones are gone.
    pub fn job(&self, id: JobId) -> Telling {
        begin(&self.jobs, id)
    }
}

fn begin(jobs: &Arc<Jobs>, id: JobId) -> Telling {
    let line = Arc::new(Line { id, jobs: Arc::clone(jobs) });
    lock(&jobs.running).insert(id, Running { line: Arc::downgrade(&line), ..Running::default() });
    Telling(Some(line))
}

impl Telling {
    /// Changes what is told.
    pub fn update(&self, change: impl FnOnce(&mut Progress)) {
        let Some(line) = &self.0 else { return };
        let mut running = lock(&line.jobs.running);
        let Some(job) = running.get_mut(&line.id).filter(|job| job.is_of(line)) else { return };
        change(&mut job.now);
        if job.is_asked_for() {
            job.is_news = true;
            line.jobs.tell.notify_one();
        }
    }

    /// Awaits `turn`, and says so if that takes long, and `until` when it may.
    pub async fn waiting<T>(&self, turn: impl Future<Output = T>, until: impl Fn() -> Option<Instant>) -> T {
        if self.0.is_none() {
            return turn.await;
        }
        let mut turn = pin!(turn);
        tokio::select! {
            biased;
            turn = &mut turn => return turn,
            () = tokio::time::sleep(NOT_WORTH_A_WORD) => {}
        }
        let turn = loop {
            let left = until().map(|at| at.saturating_duration_since(Instant::now()));
            let left_ms = left.and_then(|left| u64::try_from(left.as_millis()).ok());
            self.update(|now| (now.waits, now.left_ms) = (true, left_ms));
            tokio::select! {
                biased;
                turn = &mut turn => break turn,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        };
        self.update(|now| (now.waits, now.left_ms) = (false, None));
        turn
    }
}

impl Running {
    fn is_of(&self, line: &Line) -> bool {
        std::ptr::eq(self.line.as_ptr(), line)
    }

    fn is_asked_for(&self) -> bool {
        self.asked_until.is_some_and(|until| Instant::now() < until)
    }
}

async fn hear_questions(queue: Queue, jobs: Arc<Jobs>, stop: CancellationToken) {
    let message = |_: &str, payload: &str| {
        let mut running = lock(&jobs.running);
        for id in payload.lines().filter_map(|line| line.parse::<JobId>().ok()) {
            if let Some(job) = running.get_mut(&id) {
                (job.asked_until, job.is_news) = (Some(Instant::now() + ASKED_FOR), true);
                jobs.tell.notify_one();
            }
        }
    };
    let channels = vec![queue.channels().watched.clone()];
    signals::listen(queue.servers().clone(), channels, stop, || {}, message).await;
}

async fn tell(queue: Queue, jobs: Arc<Jobs>) {
    loop {
        jobs.tell.notified().await;
        let news = news(&mut lock(&jobs.running));
        for chunk in news.chunks(CHUNK) {
            publish(&queue, &queue.channels().progress, chunk).await;
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}

/// What is not told yet, as lines.
fn news(running: &mut HashMap<JobId, Running>) -> Vec<String> {
    let line = |(id, job): (&JobId, &mut Running)| {
        let is_news = std::mem::take(&mut job.is_news);
        let now = serde_json::to_string(&job.now).ok().filter(|_| is_news)?;
        Some(format!("{id} {now}"))
    };
    running.iter_mut().filter_map(line).collect()
}

/// What a line says; `None` for one that this version does not understand.
fn heard(line: &str) -> Option<(JobId, Progress)> {
    let (id, progress) = line.split_once(' ')?;
    Some((id.parse().ok()?, serde_json::from_str(progress).ok()?))
}

/// One that is lost is made up for by the next question.
async fn publish(queue: &Queue, channel: &str, lines: &[String]) {
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(channel).arg(lines.join("\n"));
    // Any node of a cluster passes it on to all.
    if let Err(error) = queue.link(Lane::Sync).command::<()>(&publish).await {
        debug!(%error, "how far jobs are was not asked or told");
    }
}

/// A process's ear for how far jobs are. Cheap to clone; it stops listening with its last clone.
#[derive(Clone)]
pub struct ProgressEar {
    ears: Arc<Ears>,
    _stop: Arc<DropGuard>,
}

impl std::fmt::Debug for ProgressEar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProgressEar").finish_non_exhaustive()
    }
}

/// What was heard of a job, and when.
pub type Heard = Option<(Progress, Instant)>;

#[derive(Default)]
struct Ears {
    watched: Mutex<HashMap<JobId, watch::Sender<Heard>>>,
    /// Rings when somebody begins to watch.
    ask: Notify,
}

/// One who watches a job. Dropping it ends that.
pub struct Following {
    id: JobId,
    heard: watch::Receiver<Heard>,
    ears: Arc<Ears>,
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Following").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ProgressEar {
    /// Subscribes, and goes on through every loss of Redis. Must be called in a tokio runtime.
    pub fn start(queue: &Queue) -> Self {
        let (ears, stop) = (Arc::<Ears>::default(), CancellationToken::new());
        tokio::spawn(listen(queue.clone(), Arc::clone(&ears), stop.clone()));
        tokio::spawn(stop.clone().run_until_cancelled_owned(ask(queue.clone(), Arc::clone(&ears))));
        Self { ears, _stop: Arc::new(stop.drop_guard()) }
    }

    /// Watches a job, whoever runs it, and whether it runs yet or not.
    pub fn watch(&self, id: JobId) -> Following {
        let mut watched = lock(&self.ears.watched);
        let heard = watched.entry(id).or_insert_with(|| watch::Sender::new(None)).subscribe();
        drop(watched);
        self.ears.ask.notify_one();
        Following { id, heard, ears: Arc::clone(&self.ears) }
    }
}

impl Following {
    /// What its worker told last, unless that is so long ago that the job may be elsewhere by now.
    pub fn now(&self) -> Heard {
        let heard = *self.heard.borrow();
        heard.filter(|(_, at)| at.elapsed() < ASKED_FOR)
    }

    /// Until something new is told.
    pub async fn changed(&mut self) {
        // The sender lives as long as this receiver does; if it did not, there would be nothing to wait for.
        if self.heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut watched = lock(&self.ears.watched);
        // This receiver is still counted.
        if watched.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            watched.remove(&self.id);
        }
    }
}

async fn listen(queue: Queue, ears: Arc<Ears>, stop: CancellationToken) {
    let message = |_: &str, payload: &str| {
        let watched = lock(&ears.watched);
        for (id, progress) in payload.lines().filter_map(heard) {
            if let Some(sender) = watched.get(&id) {
                sender.send_replace(Some((progress, Instant::now())));
            }
        }
    };
    let channels = vec![queue.channels().progress.clone()];
    // Who was told nothing while it was not up asks at once.
    signals::listen(queue.servers().clone(), channels, stop, || ears.ask.notify_one(), message).await;
}

async fn ask(queue: Queue, ears: Arc<Ears>) {
    loop {
        let ids: Vec<String> = lock(&ears.watched).keys().map(ToString::to_string).collect();
        for chunk in ids.chunks(CHUNK) {
            publish(&queue, &queue.channels().watched, chunk).await;
        }
        if ids.is_empty() {
            ears.ask.notified().await;
        } else {
            let _ = tokio::time::timeout(ASK_EVERY, ears.ask.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_another_versions_harms_nobody() {
        let now =
            Progress { step: Step::Reading, waits: true, left_ms: Some(30_000), pages: 3, items: 60, of: Some(842) };
        let id = JobId::new();
        let mut running = HashMap::from([(id, Running { now, is_news: true, ..Running::default() })]);
        let lines = news(&mut running);
        assert_eq!(lines.iter().filter_map(|line| heard(line)).collect::<Vec<_>>(), [(id, now)]);
        assert!(news(&mut running).is_empty(), "once");
        let later = format!("{id} {{\"step\":\"writing\",\"shoes\":2}}");
        assert_eq!(heard(&later), Some((id, Progress { step: Step::Writing, ..Progress::default() })));
        for wrong in ["", "x", &id.to_string(), &format!("{id} {{\"step\":\"dancing\"}}"), &format!("{id} 1")] {
            assert_eq!(heard(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_start_that_ends_late_does_not_silence_the_one_after_it() {
        let jobs = Arc::<Jobs>::default();
        let id = JobId::new();
        let pages = || lock(&jobs.running).get(&id).map(|job| job.now.pages);
        let (first, second) = (begin(&jobs, id), begin(&jobs, id));
        second.update(|now| now.pages = 2);
        first.update(|now| now.pages = 9);
        assert_eq!(pages(), Some(2));
        drop(first);
        assert_eq!(pages(), Some(2));
        drop(second);
        assert_eq!(pages(), None);
    }

    #[tokio::test]
    async fn only_a_wait_that_takes_long_is_told() {
        let jobs = Arc::<Jobs>::default();
        let id = JobId::new();
        let telling = begin(&jobs, id);
        let waits = || lock(&jobs.running)[&id].now.waits;
        let until = || Some(Instant::now() + Duration::from_secs(30));
        telling.waiting(async { assert!(!waits()) }, until).await;
        let long = async {
            while !waits() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let left = lock(&jobs.running)[&id].now.left_ms.expect("a time");
            assert!((29_000..=30_000).contains(&left), "{left}");
        };
        tokio::time::timeout(Duration::from_secs(60), telling.waiting(long, until)).await.expect("it is told");
        assert!(!waits() && lock(&jobs.running)[&id].now.left_ms.is_none());
        drop(telling);
        assert!(lock(&jobs.running).is_empty());
    }
}
