//! The queue on a real Redis. `METRIQLAB_TEST_REDIS_URL` says which (`make test` sets it); each test has its own prefix,
//! and those that harm Redis start one of their own.

mod lanes;
mod outages;
mod support;
mod takeover;
mod waiting;
