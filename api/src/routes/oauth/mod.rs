//! Where platforms send a creator's browser back, one file a platform.

pub mod tiktok_callback;
