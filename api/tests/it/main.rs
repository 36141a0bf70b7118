//! The API over HTTP, on a real Postgres and Redis, with the sandbox as TikTok. Where a job must be done, the test does it
//! through the store and the queue, as a worker would: the API and the workers never see each other.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

mod auth;
mod bulk;
mod callback;
mod connect;
mod consent;
mod console;
mod creators;
mod docs;
mod errors;
mod etag;
mod external_ref;
mod filters;
mod harness;
mod health;
mod history;
mod idempotency;
mod jobs;
mod limits;
mod openapi;
mod outage;
mod schema;
mod scopes;
mod server;
mod videos;
mod webhook;
