//! The signals that ask the program to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from the moment it is made, so that nothing is missed while the program starts.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None where whoever started us had it ignored, as `nohup` does.
    hangup: Option<Signal>,
}

impl Signals {
    /// Begins to listen for SIGINT (ctrl-C), SIGTERM and SIGHUP (the terminal is gone), which from now on end nothing by
    /// themselves.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Waits for one of them.
    pub async fn stop(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether SIGHUP, signal 1, is in the mask of ignored signals (proc(5), `SigIgn`). Elsewhere than on Linux: no.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
