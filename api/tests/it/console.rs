//! The dashboard, as a browser without JavaScript meets it.

mod browser;
mod hostile;
mod keys;
mod people;
mod sessions;
