//! MetriqLab's API: HTTP in, HTTP out. It knows no platform's facts and writes no SQL.
//!
//! A request's way: `observe` (id, log, figures) → CORS → `auth` (key, limit) → a route → the store, or a job that is
//! waited for. [`start`] runs it. People's pages are in `console`, with a guard of their own.

mod app;
mod assets;
mod auth;
mod body;
mod client;
mod console;
mod conventions;
mod cursor;
mod dispatch;
mod docs;
mod envelope;
mod error;
mod error_docs;
mod etag;
mod external_ref;
mod idempotency;
mod limits;
mod links;
mod observe;
mod openapi;
mod overtaken;
mod params;
mod path;
mod prefer;
mod redirect;
mod request_id;
mod routes;
mod server;
mod strangers;
mod trace;
mod unread;
mod verifier;
mod views;
mod waiting;
mod words;

pub use console::{FormQuota, invitation_path, password_path};
pub use routes::oauth::tiktok_callback::PATH as CALLBACK_PATH;
pub use server::{ApiConfig, ApiServer, start, start_on};
