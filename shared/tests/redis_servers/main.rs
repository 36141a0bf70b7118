//! Queue and budget on a Redis that is more than one plain server: a cluster, Sentinel, TLS with users.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod cluster;
mod load;
mod sentinel;
mod servers;
mod tls;
