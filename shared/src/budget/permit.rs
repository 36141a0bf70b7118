//! A permit: on its way to a caller, in its hands, and back.

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::FRESH_FOR;
use super::coordinator::Command;
use super::log::PermitNumber;

/// The right to one request. Consumed by [`settle`](Self::settle) or [`give_back`](Self::give_back); one that is dropped
/// counts as used and unanswered, and frees itself after request timeout and window.
#[derive(Debug)]
#[must_use = "a permit that is dropped blocks its entry for longer than one that is settled or given back"]
pub struct Permit {
    pub(super) number: PermitNumber,
    /// Taken before the log was asked, so the grant is no older than this says.
    pub(super) asked_at: Instant,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

impl Permit {
    /// Whether the request may still be sent with it. If not, give it back and ask for another.
    pub fn fresh(&self) -> bool {
        self.asked_at.elapsed() < FRESH_FOR
    }

    /// The response has come, or the request has failed after it may have left: the entry is free a window later.
    /// Returns at once; the log is told in the background, and until then holds the entry for longer.
    #[expect(clippy::unused_async, reason = "whether it waits for Redis is not the caller's business")]
    pub async fn settle(self) {
        let _ = self.commands.send(Command::Settled(self.number));
    }

    /// No request was sent: the entry is free at once, for this process's next caller or for anybody's.
    #[expect(clippy::unused_async, reason = "whether it waits for Redis is not the caller's business")]
    pub async fn give_back(self) {
        self.return_unused();
    }

    pub(super) fn return_unused(self) {
        let commands = self.commands.clone();
        // If the coordinator is gone, so is the process: the entry then frees itself.
        let _ = commands.send(Command::Unused(self));
    }
}

/// A permit on its way to a caller: given back if nobody takes it.
pub(super) struct Offer(pub(super) Option<Permit>);

impl Offer {
    pub(super) fn take(mut self) -> Option<Permit> {
        self.0.take()
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(permit) = self.0.take() {
            permit.return_unused();
        }
    }
}

/// Tells the coordinator that a caller was dropped while it waited, so that it does not hold others back.
pub(super) struct Leaving<'a>(pub(super) Option<&'a mpsc::UnboundedSender<Command>>);

impl Leaving<'_> {
    pub(super) fn stay(mut self) {
        self.0 = None;
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(commands) = self.0 {
            let _ = commands.send(Command::Left);
        }
    }
}
