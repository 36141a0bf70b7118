//! `metriqlab up`: the whole system on one machine, with a Postgres and a Redis of its own.

mod account;
mod binaries;
mod error;
mod files;
mod greeting;
mod home;
pub mod postgres;
mod process;
pub mod redis;
mod settings;
mod supervisor;
mod temporary;

pub use error::ServerError;
pub use home::Kept;
pub use settings::Args;
pub use supervisor::{FOLDER, run};
pub use temporary::{TemporaryServers, temporary_folder};
