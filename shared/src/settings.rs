//! Settings: environment variables and flags, validated together.
