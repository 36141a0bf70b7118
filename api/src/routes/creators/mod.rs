//! A project's creators.

pub mod bulk;
pub mod change;
pub mod disconnect;
pub mod history;
pub mod list;
pub mod one;
pub mod profile;
pub mod sync;
pub mod videos;
