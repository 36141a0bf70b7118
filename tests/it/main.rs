//! End-to-end tests: the real program, over HTTP, on real Postgres, Redis and the TikTok sandbox.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

mod faults;
mod lanes;
mod operators;
mod races;
mod resync;
mod scale;
mod secrets;
mod single_flight;
mod tiktok;
mod walk;
