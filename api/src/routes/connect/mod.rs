//! Beginning a consent, one file a platform.

pub mod tiktok;
