//! Numbers as the reader's language writes them: how digits are grouped, by what, and the decimal sign. The words of the pages
//! are English; only what a reader could misread follows the browser (`Accept-Language`, RFC 9110, section 12.5.4).
//!
//! The conventions are those of the CLDR, for the languages in which many people read. A crate with all of its data would be
//! larger than the rest of the dashboard, for a handful of separators.

use std::fmt;

use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT_LANGUAGE;
use askama::filters::HtmlSafe;

/// A space that breaks no line, and a narrow one.
const NBSP: &str = "\u{a0}";
const NARROW: &str = "\u{202f}";
const MINUS: &str = "\u{2212}";
/// What stands for a number that the platform did not say.
pub const UNKNOWN: &str = "–";
/// Numbers below this are short enough to be written out.
const SHORT: u64 = 10_000;
const UNITS: [(u64, &str); 4] = [(1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1000, "K")];
/// A header may be as long as a client likes; nobody reads more languages than this.
const MAX_LANGUAGES: usize = 20;

/// A way of writing numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    group: &'static str,
    decimal: &'static str,
    grouping: Grouping,
    /// What stands before the sign for per cent.
    before_percent: &'static str,
}

/// Where digits are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grouping {
    /// 1,234,567
    Threes,
    /// 1234, but 12.345: four digits stay together.
    ThreesFromFive,
    /// 12,34,567: lakh and crore.
    Lakh,
}

/// A number in few characters, the exact one on hover. Nothing in it comes from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    value: Option<i64>,
    text: String,
    exact: String,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) if self.text != self.exact => {
                write!(f, "<data value=\"{value}\" title=\"{}\">{}</data>", self.exact, self.text)
            }
            _ => f.write_str(&self.exact),
        }
    }
}

impl HtmlSafe for Short {}

impl Default for Numbers {
    fn default() -> Self {
        Self::ENGLISH
    }
}

impl Numbers {
    /// What nobody has asked to be otherwise.
    const ENGLISH: Self = Self::new(",", ".", Grouping::Threes, "");

    const fn new(group: &'static str, decimal: &'static str, grouping: Grouping, before_percent: &'static str) -> Self {
        Self { group, decimal, grouping, before_percent }
    }

    /// As the reader's browser asks for.
    pub fn of(request: &HttpRequest) -> Self {
        let accepted = request.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Self::accepted(accepted.unwrap_or_default())
    }

    /// That of the language that is liked best among those that we know.
    pub(super) fn accepted(header: &str) -> Self {
        let mut best = (0.0, Self::ENGLISH);
        for range in header.split(',').take(MAX_LANGUAGES) {
            let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
            let weight = match weight.trim().strip_prefix("q=") {
                Some(q) => q.trim().parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
                None => 1.0,
            };
            if let Some(numbers) = Self::language(tag.trim()).filter(|_| weight > best.0) {
                best = (weight, numbers);
            }
        }
        best.1
    }

    fn language(tag: &str) -> Option<Self> {
        use Grouping::{Lakh, Threes, ThreesFromFive};
        let tag = tag.to_ascii_lowercase();
        let mut parts = tag.split('-');
        let language = parts.next()?;
        // Of script and region, the region has two letters or three digits.
        let region = parts.find(|part| matches!(part.len(), 2 | 3) && *part != "419").unwrap_or_default();
        Some(match (language, region) {
            ("de" | "it" | "rm", "ch" | "li") | ("gsw", _) => Self::new("\u{2019}", ".", Threes, ""),
            ("en", "in") | ("hi" | "bn" | "gu" | "mr" | "pa" | "ta" | "te" | "kn", _) => Self::new(",", ".", Lakh, ""),
            ("en" | "ja" | "zh" | "ko" | "th" | "he" | "ms", _) => Self::ENGLISH,
            ("es", "mx" | "us" | "gt" | "hn" | "ni" | "pa" | "pr" | "sv" | "do") => Self::new(",", ".", Threes, NBSP),
            ("es", _) => Self::new(".", ",", ThreesFromFive, NBSP),
            ("pt", "pt") | ("pl", _) => Self::new(NBSP, ",", ThreesFromFive, ""),
            ("it" | "nl" | "el" | "id" | "vi" | "tr" | "pt", _) => Self::new(".", ",", Threes, ""),
            ("fr", _) => Self::new(NARROW, ",", Threes, NARROW),
            ("uk" | "hu", _) => Self::new(NBSP, ",", Threes, ""),
            ("de", "at") | ("ru" | "sv" | "nb" | "nn" | "no" | "fi" | "cs" | "sk", _) => {
                Self::new(NBSP, ",", Threes, NBSP)
            }
            ("de" | "da" | "ro" | "sl" | "hr", _) => Self::new(".", ",", Threes, NBSP),
            _ => return None,
        })
    }

    /// All digits.
    pub fn exact(self, number: i64) -> String {
        let sign = if number < 0 { MINUS } else { "" };
        format!("{sign}{}", self.grouped(number.unsigned_abs()))
    }

    /// All digits, or a dash.
    pub fn exact_or_dash(self, number: Option<i64>) -> String {
        number.map_or_else(|| UNKNOWN.to_owned(), |number| self.exact(number))
    }

    /// In few characters, or a dash.
    pub fn short(self, number: Option<i64>) -> Short {
        let exact = self.exact_or_dash(number);
        let text = number.map_or_else(|| UNKNOWN.to_owned(), |number| self.compact(number));
        Short { value: number, text, exact }
    }

    /// A change, with its sign, in few characters.
    pub fn short_change(self, change: i64) -> Short {
        let plus = if change > 0 { "+" } else { "" };
        let (short, exact) = (self.compact(change), self.exact(change));
        Short { value: Some(change), text: format!("{plus}{short}"), exact: format!("{plus}{exact}") }
    }

    /// With one decimal, and a second one where the first would say nothing.
    pub fn decimal(self, number: f64) -> String {
        if !number.is_finite() {
            return UNKNOWN.to_owned();
        }
        let text = if number != 0.0 && number.abs() < 0.95 { format!("{number:.2}") } else { format!("{number:.1}") };
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| (MINUS, whole));
        let part = part.trim_end_matches('0');
        // What has more digits than that is nothing that anybody counts.
        let whole = whole.parse().map_or_else(|_| whole.to_owned(), |whole| self.grouped(whole));
        match (whole.as_str(), part) {
            ("0", "") => "0".to_owned(),
            (_, "") => format!("{sign}{whole}"),
            _ => format!("{sign}{whole}{}{part}", self.decimal),
        }
    }

    /// So much at a time: with decimals only where they say something.
    pub fn rate(self, number: f64) -> String {
        if number.abs() < 10.0 { self.decimal(number) } else { self.decimal(number.round()) }
    }

    /// A part of a whole, in per cent.
    pub fn percent(self, part: f64) -> String {
        format!("{}{}%", self.decimal(part * 100.0), self.before_percent)
    }

    /// The same of one that is counted in whole per cent.
    pub fn whole_percent(self, percent: i64) -> String {
        format!("{}{}%", self.exact(percent), self.before_percent)
    }

    /// A mark of an axis whose marks are `step` apart and reach up to `largest`: all of them in one unit, with as few digits as
    /// tell them apart.
    pub fn mark(self, value: i64, step: u64, largest: u64) -> String {
        let fitting = UNITS.into_iter().filter(|(unit, _)| *unit <= largest);
        for (unit, name) in fitting {
            let decimals =
                (0..=2_u32).find(|decimals| (u128::from(step) * 10_u128.pow(*decimals)).is_multiple_of(unit.into()));
            let Some(decimals) = decimals else { continue };
            let scale = 10_u64.pow(decimals);
            let all = u128::from(value.unsigned_abs()) * u128::from(scale) / u128::from(unit);
            let Ok(all) = u64::try_from(all) else { continue };
            let sign = if value < 0 { MINUS } else { "" };
            let whole = self.grouped(all / scale);
            let part = match decimals {
                0 => String::new(),
                _ => format!("{}{:0width$}", self.decimal, all % scale, width = decimals as usize),
            };
            return if value == 0 { "0".to_owned() } else { format!("{sign}{whole}{part}{name}") };
        }
        self.exact(value)
    }

    fn compact(self, number: i64) -> String {
        let size = number.unsigned_abs();
        if size < SHORT {
            return self.exact(number);
        }
        let sign = if number < 0 { MINUS } else { "" };
        // From the smallest unit up: the first in which three digits before the sign are enough.
        for (unit, name) in UNITS.into_iter().rev() {
            let tenths = (u128::from(size) * 10 + u128::from(unit) / 2) / u128::from(unit);
            let whole = (size + unit / 2) / unit;
            if tenths < 1000 {
                let (whole, tenth) = (tenths / 10, tenths % 10);
                let part = if tenth == 0 { String::new() } else { format!("{}{tenth}", self.decimal) };
                return format!("{sign}{whole}{part}{name}");
            }
            if whole < 1000 || name == "T" {
                return format!("{sign}{}{name}", self.grouped(whole));
            }
        }
        self.exact(number)
    }

    fn grouped(self, number: u64) -> String {
        let digits = number.to_string();
        if self.grouping == Grouping::ThreesFromFive && digits.len() < 5 {
            return digits;
        }
        let mut text = String::with_capacity(digits.len() * 2);
        for (position, digit) in digits.chars().enumerate() {
            let left = digits.len() - position;
            let apart = match self.grouping {
                Grouping::Lakh => left == 3 || (left > 3 && left % 2 == 1),
                Grouping::Threes | Grouping::ThreesFromFive => left.is_multiple_of(3),
            };
            if position > 0 && apart {
                text.push_str(self.group);
            }
            text.push(digit);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &str, number: i64) -> String {
        Numbers::accepted(header).exact(number)
    }

    #[test]
    fn each_language_has_its_own_way() {
        for (header, expected) in [
            ("", "1,234,567"),
            ("en-GB,en;q=0.9", "1,234,567"),
            ("de", "1.234.567"),
            ("de-CH, de;q=0.9", "1\u{2019}234\u{2019}567"),
            ("de-AT", "1\u{a0}234\u{a0}567"),
            ("fr-FR", "1\u{202f}234\u{202f}567"),
            ("es", "1.234.567"),
            ("es-419", "1.234.567"),
            ("es-MX", "1,234,567"),
            ("it", "1.234.567"),
            ("pt-BR", "1.234.567"),
            ("pt-PT", "1\u{a0}234\u{a0}567"),
            ("ja", "1,234,567"),
            ("zh-Hans-CN", "1,234,567"),
            ("ru", "1\u{a0}234\u{a0}567"),
            ("hi", "12,34,567"),
            ("en-IN", "12,34,567"),
            ("sv", "1\u{a0}234\u{a0}567"),
            ("nb-NO", "1\u{a0}234\u{a0}567"),
            ("tlh, de;q=0.5, fr;q=0.7", "1\u{202f}234\u{202f}567"),
            ("de;q=0, *", "1,234,567"),
            ("de;q=x, ;;, \u{7f}", "1,234,567"),
            ("de;q=nan", "1,234,567"),
        ] {
            assert_eq!(read(header, 1_234_567), expected, "{header}");
        }
        assert_eq!(read("es", 1234), "1234");
        assert_eq!(read("es", 12_345), "12.345");
        assert_eq!(read("hi", 12_345_678_901), "12,34,56,78,901");
        assert_eq!(read("en", i64::MIN), "\u{2212}9,223,372,036,854,775,808");
        assert_eq!(Numbers::ENGLISH.exact_or_dash(None), "–");
    }

    #[test]
    fn a_number_is_short_where_space_is() {
        for (number, expected) in [
            (0, "0"),
            (9_999, "9,999"),
            (10_000, "10K"),
            (12_345, "12.3K"),
            (99_949, "99.9K"),
            (99_950, "100K"),
            (123_456, "123K"),
            (999_499, "999K"),
            (999_500, "1M"),
            (1_234_567, "1.2M"),
            (-12_345, "\u{2212}12.3K"),
            (i64::MAX, "9,223,372T"),
        ] {
            assert_eq!(Numbers::ENGLISH.compact(number), expected, "{number}");
        }
        let german = Numbers::accepted("de");
        assert_eq!(german.short(Some(12_345)).to_string(), "<data value=\"12345\" title=\"12.345\">12,3K</data>");
        assert_eq!(german.short(Some(12)).to_string(), "12");
        assert_eq!(german.short(None).to_string(), "–");
        assert_eq!(german.short_change(5).to_string(), "+5");
        assert_eq!(german.short_change(-5).to_string(), "\u{2212}5");
        assert_eq!(german.percent(0.0423), "4,2\u{a0}%");
        assert_eq!(Numbers::ENGLISH.percent(0.004_23), "0.42%");
        assert_eq!(Numbers::ENGLISH.percent(12.5), "1,250%");
        assert_eq!(Numbers::ENGLISH.decimal(-0.001), "0");
        assert_eq!(Numbers::ENGLISH.decimal(f64::NAN), "–");
        assert_eq!([4.26, 159.3, -12_345.6].map(|rate| Numbers::ENGLISH.rate(rate)), ["4.3", "159", "\u{2212}12,346"]);
    }

    #[test]
    fn marks_of_an_axis_differ() {
        let marks =
            |values: [i64; 3], step| values.map(|value| Numbers::ENGLISH.mark(value, step, values[2].unsigned_abs()));
        assert_eq!(marks([0, 5, 10], 5), ["0", "5", "10"]);
        assert_eq!(marks([0, 500, 1000], 500), ["0", "0.5K", "1.0K"]);
        assert_eq!(marks([1_234_000, 1_234_200, 1_234_400], 200), ["1,234.0K", "1,234.2K", "1,234.4K"]);
        assert_eq!(marks([1_234_000, 1_234_002, 1_234_004], 2), ["1,234,000", "1,234,002", "1,234,004"]);
        assert_eq!(marks([2_000_000, 2_500_000, 3_000_000], 500_000), ["2.0M", "2.5M", "3.0M"]);
    }

    proptest! {
        #[test]
        fn digits_are_never_lost(number: i64, header in "(de|fr|es|hi|en|ru|ja|pt-PT|de-CH)") {
            let text = read(&header, number);
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            prop_assert_eq!(digits, number.unsigned_abs().to_string());
        }

        #[test]
        fn no_header_and_no_number_breaks_it(header in "\\PC*", number: i64, other: f64, step in 1_u64.., largest: u64) {
            let numbers = Numbers::accepted(&header);
            let short = numbers.compact(number);
            prop_assert!(short.chars().count() <= 12, "{}", short);
            numbers.decimal(other);
            numbers.mark(number, step, largest);
        }
    }
}
