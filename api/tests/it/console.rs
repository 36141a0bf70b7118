//! The dashboard, as a browser without JavaScript meets it.

mod browser;
mod creator;
mod creators;
mod hostile;
mod keys;
mod people;
mod sessions;
