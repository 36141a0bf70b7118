//! The jobs and the tokens, on a real Postgres, a real Redis and the TikTok sandbox.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test says by a panic what is wrong"
)]

mod health;
mod outages;
mod parking;
mod poison;
mod resync;
mod revoke;
mod support;
mod sweeper;
mod sync;
mod sync_faults;
mod tokens;
mod window;
