//! The signals that ask the program to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from the moment it is made, so that nothing is missed while the program starts.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to listen for SIGINT (ctrl-C), SIGTERM and SIGHUP (the terminal is gone), which from now on end nothing by
    /// themselves.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
