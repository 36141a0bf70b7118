//! The tree of URLs, one file a route.

pub mod batches;
pub mod connect;
pub mod creators;
pub mod health;
pub mod jobs;
pub mod oauth;
pub mod webhooks;
