//! `metriqlab up` as people run it: its start, its end however it comes, and what the next start finds.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod places;
mod restarts;
mod secrets;
mod servers;
mod support;
