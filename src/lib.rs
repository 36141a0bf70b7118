//! The program's own library: private servers, and the whole system in one process.

pub mod parts;
pub mod signals;
pub mod up;
