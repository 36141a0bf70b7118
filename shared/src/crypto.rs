//! Tokens at rest: sealed with the first key of a list, opened with any.
