//! `metriqlab up`: the whole system on one machine, with a Postgres and a Redis of its own.

mod account;
mod binaries;
mod error;
mod files;
mod home;
pub mod postgres;
mod process;
pub mod redis;
mod temporary;

pub use error::ServerError;
pub use temporary::{TemporaryServers, temporary_folder};
