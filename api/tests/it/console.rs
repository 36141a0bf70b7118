//! The dashboard, as a browser without JavaScript meets it.

mod batches;
mod browser;
mod confirm;
mod creator;
mod creators;
mod deeds;
mod docs_key;
mod exports;
mod forms;
mod hostile;
mod jobs;
mod keys;
mod live;
mod operations;
mod people;
mod sessions;
mod walk;
