//! The fleet's one budget of requests to a platform.
