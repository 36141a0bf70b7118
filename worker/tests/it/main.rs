//! The jobs and the tokens, on a real Postgres, a real Redis and the TikTok sandbox.

mod revoke;
mod support;
mod sweeper;
mod sync;
mod tokens;
