//! The dashboard, as a browser without JavaScript meets it.

mod batches;
mod browser;
mod creators;
mod hostile;
mod jobs;
mod keys;
mod operations;
mod people;
mod sessions;
