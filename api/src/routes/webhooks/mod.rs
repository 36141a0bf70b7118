//! What platforms tell by themselves, one file a platform.

pub mod tiktok;
