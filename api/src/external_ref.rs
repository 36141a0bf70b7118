//! `externalRef`: a client's own name for a creator. People read it in a page and in a list, and a query asks for it.

use shared::people::is_unfit;

use crate::error::ApiError;

/// The longest, in characters.
const LONGEST: usize = 255;

/// A name that can be seen, and shown in one line as it is: no control character, nothing that turns the text around or has
/// no width, and no U+FFFD, which in a query stands for what was no UTF-8. The schemas of the bodies say the same.
pub fn parse(text: &str) -> Result<&str, ApiError> {
    let good = (1..=LONGEST).contains(&text.chars().count()) && !text.trim().is_empty() && !text.chars().any(is_unfit);
    let wrong = || {
        let wanted = format!("must have 1 to {LONGEST} characters that can be seen in one line, not spaces alone");
        ApiError::field("externalRef", &wanted)
    };
    good.then_some(text).ok_or_else(wrong)
}
