//! The client of TikTok against the sandbox, and against a server that answers what no sandbox would.
#![allow(missing_docs, reason = "tests")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that can't go on must panic, in its helpers too"
)]

mod api;
mod budget;
mod helpers;
mod listing;
mod oauth;
mod webhooks;
mod wire;
