//! Bars: how much of something there is, as a picture with words.

use std::fmt;

use askama::filters::HtmlSafe;

/// A bar of parts, drawn to the thousandth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// For who does not see it.
    words: String,
    parts: Vec<(&'static str, u32)>,
}

impl Bar {
    /// A bar whose parts, each with its colour, are such numbers of `all`.
    pub fn new(words: String, all: i64, parts: &[(&'static str, i64)]) -> Self {
        Self { words, parts: parts.iter().map(|(class, part)| (*class, thousandths(*part, all))).collect() }
    }
}

/// How much of `all` a part is. Something that is there is seen.
fn thousandths(part: i64, all: i64) -> u32 {
    let (part, all) = (i128::from(part.max(0)), i128::from(all.max(1)));
    let exact = u32::try_from(part * 1000 / all).unwrap_or(1000).min(1000);
    if part > 0 { exact.max(5) } else { exact }
}

/// An image. Nothing in it comes from outside: the words are numbers and words of ours.
impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = &self.words;
        write!(
            f,
            "<svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{words}\">"
        )?;
        let mut at = 0;
        for (class, width) in &self.parts {
            let width = (*width).min(1000 - at);
            write!(f, "<rect class=\"{class}\" x=\"{at}\" width=\"{width}\" height=\"10\"/>")?;
            at += width;
        }
        f.write_str("</svg>")
    }
}

impl HtmlSafe for Bar {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_never_longer_than_it_is() {
        let widths = |all, parts: &[(&'static str, i64)]| {
            let drawn = Bar::new(String::new(), all, parts).to_string();
            let widths = drawn.split(" width=\"").skip(1).filter_map(|rest| rest.split_once('"')?.0.parse().ok());
            widths.collect::<Vec<u32>>()
        };
        assert_eq!(widths(100, &[("good", 50), ("bad", 25)]), [500, 250]);
        assert_eq!(widths(i64::MAX, &[("good", 1), ("bad", 0)]), [5, 0]);
        assert_eq!(widths(0, &[("good", 7)]), [1000]);
        assert_eq!(widths(10, &[("good", 9), ("bad", 9)]), [900, 100]);
        assert_eq!(widths(10, &[("good", -9)]), [0]);
    }
}
