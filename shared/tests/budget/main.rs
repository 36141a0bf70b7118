//! The budget as its callers see it, on a real Redis and in real time: windows of a second or two, so that it takes seconds.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that can't go on must panic, in its helpers too"
)]

mod helpers;
mod outage;
mod permits;
mod quota;
