//! Postgres: what was promised and what is true. Queries by diesel, named for what they return.
