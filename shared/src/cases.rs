//! How often a property is tried that needs servers, or time.

use proptest::prelude::ProptestConfig;

/// As often as `PROPTEST_CASES` says, else so often. proptest itself asks it only where the number is left open.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(usual))
}
