//! Servers of a test's own, which it may stop, flush and start again.

use tempfile::TempDir;
