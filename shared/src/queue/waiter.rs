//! Waiting for the last word on jobs: one subscription and one fallback query a process, however many callers wait.
//!
//! A notice is quick but may be lost (the job ended before the caller listened, the connection was cut, Redis is away).
//! So the rows of all awaited jobs are read again every two seconds and after every (re)subscription, and a caller's own
//! row once more at its deadline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::lane::lock;
use super::{CHUNK, Final, Queue, notice, signals};
use crate::ids::JobId;

/// How often the rows of awaited jobs are read although no notice came.
const READ_EVERY: Duration = Duration::from_secs(2);

type ReadFinals = dyn Fn(Vec<JobId>) -> BoxFuture<'static, Option<Vec<(JobId, Final)>>> + Send + Sync;

/// A process's ear for completion notices. Cheap to clone; it stops listening with its last clone.
#[derive(Clone)]
pub struct Waiter {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

struct Shared {
    watched: Mutex<HashMap<JobId, watch::Sender<Option<Final>>>>,
    read_finals: Box<ReadFinals>,
    /// Rings when the rows are to be read at once.
    read: Notify,
}

/// One caller's interest in a job. Dropping it ends the interest, and nothing else.
pub struct Watching {
    id: JobId,
    last_word: watch::Receiver<Option<Final>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").field("watched", &self.watched()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watching").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Waiter {
    /// Subscribes, and goes on through every loss of Redis. `read_finals` answers, of the jobs asked for (at most 500),
    /// those whose rows are final; when it fails it is asked again two seconds later. Must be called in a tokio runtime.
    pub fn start<F, E>(queue: &Queue, read_finals: F) -> Self
    where
        F: Fn(Vec<JobId>) -> BoxFuture<'static, Result<Vec<(JobId, Final)>, E>> + Send + Sync + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let read_finals = Box::new(move |ids| {
            let read = read_finals(ids);
            let read: BoxFuture<'static, _> = Box::pin(async move {
                read.await.inspect_err(|error| debug!(%error, "can't read the rows of awaited jobs")).ok()
            });
            read
        });
        let shared = Arc::new(Shared { watched: Mutex::default(), read_finals, read: Notify::new() });
        let stop = CancellationToken::new();
        tokio::spawn(listen(queue.clone(), shared.clone(), stop.clone()));
        tokio::spawn(read_regularly(shared.clone(), stop.clone()));
        Self { shared, _stop: Arc::new(stop.drop_guard()) }
    }

    /// Registers interest in a job. Do it before the job is pushed; for a job that exists already, ask
    /// [`Watching::check_now`] once, since it may have ended before.
    pub fn watch(&self, id: JobId) -> Watching {
        let mut watched = lock(&self.shared.watched);
        let last_word = watched.entry(id).or_insert_with(|| watch::Sender::new(None)).subscribe();
        drop(watched);
        Watching { id, last_word, shared: self.shared.clone() }
    }

    /// Jobs that somebody waits for.
    pub fn watched(&self) -> usize {
        lock(&self.shared.watched).len()
    }
}

impl Watching {
    /// Reads the job's row now. `None` if it is not final, or can't be read within two seconds.
    pub async fn check_now(&self) -> Option<Final> {
        if let Some(last_word) = self.last_word.borrow().clone() {
            return Some(last_word);
        }
        let _ = tokio::time::timeout(READ_EVERY, self.shared.read(vec![self.id])).await;
        self.last_word.borrow().clone()
    }

    /// The job's last word, or `None` if there is none at the deadline, where the row is read once more: then the job
    /// goes on without this caller.
    pub async fn wait(mut self, deadline: Instant) -> Option<Final> {
        // The sender lives as long as this receiver does, so an error can't come; if it did, the row would decide.
        if let Ok(Ok(last_word)) = tokio::time::timeout_at(deadline, self.last_word.wait_for(Option::is_some)).await {
            return last_word.clone();
        }
        self.check_now().await
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watched = lock(&self.shared.watched);
        // This receiver is still counted.
        if watched.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            watched.remove(&self.id);
        }
    }
}

impl Shared {
    fn resolve(&self, id: JobId, last_word: Final) {
        if let Some(sender) = lock(&self.watched).get(&id) {
            // The first word is the last: a notice that is sent again changes nothing.
            sender.send_if_modified(|said| {
                let first = said.is_none();
                if first {
                    *said = Some(last_word);
                }
                first
            });
        }
    }

    async fn read(&self, ids: Vec<JobId>) {
        for (id, last_word) in (self.read_finals)(ids).await.unwrap_or_default() {
            self.resolve(id, last_word);
        }
    }

    fn unresolved(&self) -> Vec<JobId> {
        let watched = lock(&self.watched);
        watched.iter().filter(|(_, said)| said.borrow().is_none()).map(|(id, _)| *id).collect()
    }
}

async fn listen(queue: Queue, shared: Arc<Shared>, stop: CancellationToken) {
    let subscribed = || shared.read.notify_one();
    let message = |_: &str, payload: &str| {
        for (id, last_word) in payload.lines().filter_map(notice::decode) {
            shared.resolve(id, last_word);
        }
    };
    let channels = vec![queue.channels().done.clone()];
    signals::listen(queue.servers().clone(), channels, stop, subscribed, message).await;
}

async fn read_regularly(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.read.notified() => {}
            () = tokio::time::sleep(READ_EVERY) => {}
        }
        for chunk in shared.unresolved().chunks(CHUNK) {
            // A read that hangs, in a Postgres that fell silent, holds up nobody: there is another in two seconds.
            let _ = tokio::time::timeout(READ_EVERY, shared.read(chunk.to_vec())).await;
        }
    }
}
