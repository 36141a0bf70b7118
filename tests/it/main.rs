//! End-to-end tests: the real program, over HTTP, on real Postgres, Redis and the TikTok sandbox.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

#[path = "../../shared/tests/redis_servers/servers.rs"]
#[allow(dead_code, reason = "these tests need the cluster alone")]
mod redis_servers;
mod support;
#[path = "../../shared/tests/queue/wire.rs"]
mod wire;

mod cluster;
mod dashboard;
mod deaf;
mod deeds;
mod doctor;
mod faults;
mod history;
mod lanes;
mod metrics;
mod operators;
mod pgbouncer;
mod postgres_tls;
mod progress;
mod promql;
mod races;
mod resync;
mod rotation;
mod scale;
mod secrets;
mod single_flight;
mod stopping;
mod terminals;
mod tiktok;
mod traces;
mod walk;
