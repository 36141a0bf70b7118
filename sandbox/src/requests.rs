//! The log of requests, so that tests can count calls. Bounded.

use std::collections::VecDeque;

use serde::Serialize;

/// One request that was answered, or whose connection was dropped on purpose (status 0).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// 1 for the first request of this sandbox.
    pub(crate) seq: u64,
    /// Virtual time, milliseconds since 1970.
    pub(crate) at_ms: i64,
    pub(crate) method: String,
    pub(crate) path: String,
    /// `error.code` or `error` of a refusal.
    pub(crate) error: Option<String>,
    pub(crate) open_id: Option<String>,
    pub(crate) grant_type: Option<String>,
    pub(crate) status: u16,
}

const KEPT: usize = 10_000;

#[derive(Default)]
pub(crate) struct RequestLog {
    entries: VecDeque<Entry>,
    seq: u64,
}

impl RequestLog {
    pub(crate) fn push(&mut self, mut entry: Entry) {
        self.seq += 1;
        entry.seq = self.seq;
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// How many requests there were, those that are no longer kept included.
    pub(crate) fn total(&self) -> u64 {
        self.seq
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
