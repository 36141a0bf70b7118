//! The dashboard, as a browser without JavaScript meets it.

mod browser;
mod creators;
mod docs_key;
mod hostile;
mod keys;
mod live;
mod people;
mod sessions;
