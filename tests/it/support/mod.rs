//! What the tests stand on: a whole system of one's own, and a client that speaks to it.

pub mod browser;
pub mod client;
pub mod database;
pub mod member;
pub mod process;
pub mod redis;
pub mod sandbox;
pub mod servers;
pub mod system;
pub mod terminal;

use std::future::Future;
use std::time::{Duration, Instant};

pub use client::Client;
pub use system::System;

/// How long a test waits for a condition before it fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `check` gives a value; fails with `what` after [`DEADLINE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, check: impl FnMut() -> F) -> T {
    within(DEADLINE, what, check).await
}

/// Waits until `check` gives a value, however long that takes, as long as what it has come to moves within [`DEADLINE`].
pub async fn progressing<T, P: PartialEq, F: Future<Output = Result<T, P>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let (mut moved, mut last) = (Instant::now(), None);
    loop {
        let come = match check().await {
            Ok(value) => return value,
            Err(come) => Some(come),
        };
        if come != last {
            (moved, last) = (Instant::now(), come);
        }
        assert!(moved.elapsed() < DEADLINE, "it stands still: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until `check` gives a value; fails with `what` after `limit`.
pub async fn within<T, F: Future<Output = Option<T>>>(limit: Duration, what: &str, mut check: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
