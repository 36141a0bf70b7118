//! The queue on a real Redis. `METRIQLAB_TEST_REDIS_URL` says which (`make test` sets it); each test has its own prefix,
//! and those that harm Redis start one of their own.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "clippy's exception for tests ends at their helpers")]

mod at_work;
mod clocks;
mod deploys;
mod fairness;
mod gates;
mod lanes;
mod outages;
mod progress;
mod support;
mod takeover;
mod waiting;
mod wire;
