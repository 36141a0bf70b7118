//! End-to-end tests: the real program, over HTTP, on real Postgres, Redis and the TikTok sandbox.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "tests")]

mod support;

mod walk;
