//! TikTok's JSON, read as it comes: the documentation's types where they hold, and what may stand in their place.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// The last second that RFC 3339 can write; also far below what a time in milliseconds would be.
const LAST_SECOND: i64 = 253_402_300_799;

/// A body as JSON, if it is. Text that no JSON may hold (half a surrogate pair, where a caption was cut through an emoji;
/// bytes that are not UTF-8) is replaced by U+FFFD instead of spoiling the whole answer.
pub(super) fn parse(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body)
        .ok()
        .or_else(|| serde_json::from_str(&without_lone_surrogates(&String::from_utf8_lossy(body))).ok())
}

/// A text, without U+0000, which Postgres refuses. `None` if it is missing or no text.
pub(super) fn text(object: &Value, field: &str) -> Option<String> {
    object.get(field).and_then(Value::as_str).map(clean)
}

/// A text of which an empty one says nothing: a link, a handle, an id.
pub(super) fn non_empty_text(object: &Value, field: &str) -> Option<String> {
    text(object, field).filter(|text| !text.is_empty())
}

/// An id, whether it came as text or as a number.
pub(super) fn id(object: &Value, field: &str) -> Option<String> {
    match object.get(field)? {
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => non_empty_text(object, field),
    }
}

/// A yes or no.
pub(super) fn flag(object: &Value, field: &str) -> Option<bool> {
    object.get(field).and_then(Value::as_bool)
}

/// A counter. What is negative, too large or no whole number is as good as not said: never 0.
pub(super) fn count(object: &Value, field: &str) -> Option<i64> {
    integer_in(object, field).filter(|count| *count >= 0)
}

/// A moment in seconds since 1970, after 1970 and before the year 10,000.
pub(super) fn time(object: &Value, field: &str) -> Option<DateTime<Utc>> {
    let seconds = integer_in(object, field).filter(|seconds| (1..=LAST_SECOND).contains(seconds))?;
    DateTime::from_timestamp(seconds, 0)
}

/// A whole number, also as text or in exponent form.
pub(super) fn integer_in(object: &Value, field: &str) -> Option<i64> {
    match object.get(field)? {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| text.parse().ok().and_then(whole))
        }
        _ => None,
    }
}

/// Drops what Postgres refuses in a text.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "")
}

fn whole(number: f64) -> Option<i64> {
    // i64::MIN as f64, which is exact; 2^63 is the first that does not fit.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within i64")]
    (number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number)).then_some(number as i64)
}

/// Replaces escapes like `\ud83d` that are not followed, or preceded, by their other half.
fn without_lone_surrogates(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (is_lone, length) = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (false, 12),
            (Some(0xd800..=0xdfff), _) => (true, 6),
            (Some(_), _) => (false, 6),
            (None, _) => (false, escape.chars().take(2).map(char::len_utf8).sum()),
        };
        let (escape, after) = escape.split_at(length);
        out.push_str(if is_lone { "\\ufffd" } else { escape });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The UTF-16 unit of an escape that the text starts with.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn counted(json: &str) -> Option<i64> {
        count(&parse(format!("{{\"n\":{json}}}").as_bytes()).unwrap(), "n")
    }

    #[test]
    fn numbers_come_in_many_forms() {
        for (json, expected) in [
            ("0", Some(0)),
            ("-0.0", Some(0)),
            ("12400", Some(12_400)),
            ("1.24e4", Some(12_400)),
            ("12400.0", Some(12_400)),
            ("\"12400\"", Some(12_400)),
            ("\" 1.24e4 \"", Some(12_400)),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("9223372036854775807", Some(i64::MAX)),
            ("\"9223372036854775807\"", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("1e300", None),
            ("-1", None),
            ("0.5", None),
            ("\"NaN\"", None),
            ("\"inf\"", None),
            ("\"many\"", None),
            ("\"\"", None),
            ("null", None),
            ("true", None),
            ("[1]", None),
        ] {
            assert_eq!(counted(json), expected, "{json}");
        }
        assert_eq!(count(&json!({}), "n"), None);
        assert_eq!(count(&json!([]), "n"), None);
    }

    #[test]
    fn text_is_clean_and_half_an_emoji_spoils_nothing() {
        let at = |json: &[u8]| text(&parse(json).unwrap(), "t").unwrap();
        assert_eq!(at(br#"{"t":"a\u0000b"}"#), "ab");
        assert_eq!(at(br#"{"t":"\ud83d\ude00 \ud83d"}"#), "😀 \u{fffd}");
        assert_eq!(at(br#"{"t":"\ude00\ud83d\ud83d\ude00\\ud83d"}"#), "\u{fffd}\u{fffd}😀\\ud83d");
        assert_eq!(at(b"{\"t\":\"caf\xe9\"}"), "caf\u{fffd}");
        assert_eq!(text(&json!({"t": 1}), "t"), None);
        assert_eq!(non_empty_text(&json!({"t": "\0"}), "t"), None);
    }

    #[test]
    fn ids_are_texts_or_numbers() {
        let id_of = |value: Value| id(&json!({"id": value}), "id");
        assert_eq!(id_of(json!("7512345678901234567")).unwrap(), "7512345678901234567");
        assert_eq!(id_of(json!(7_512_345_678_901_234_567_u64)).unwrap(), "7512345678901234567");
        for nothing in [json!(""), json!(null), json!(1.5), json!(-3), json!({})] {
            assert_eq!(id_of(nothing), None);
        }
    }

    #[test]
    fn a_time_is_in_seconds_and_sane() {
        let time_of = |value: Value| time(&json!({"t": value}), "t").map(|time| time.timestamp());
        assert_eq!(time_of(json!(1_763_970_000)), Some(1_763_970_000));
        assert_eq!(time_of(json!("1763970000")), Some(1_763_970_000));
        for nothing in [json!(0), json!(-5), json!(1_763_970_000_000_i64), json!(i64::MAX), json!(null)] {
            assert_eq!(time_of(nothing), None);
        }
    }

    fn escaped(units: impl IntoIterator<Item = u16>) -> String {
        units.into_iter().flat_map(|unit| format!("\\u{unit:04x}").into_bytes()).map(char::from).collect()
    }

    proptest! {
        #[test]
        fn every_counter_comes_through(number in 0..=i64::MAX) {
            prop_assert_eq!(counted(&number.to_string()), Some(number));
            prop_assert_eq!(counted(&format!("\"{number}\"")), Some(number));
        }

        #[test]
        fn whole_floats_come_through(number in 0..(1_i64 << 49)) {
            prop_assert_eq!(counted(&format!("{number}.0")), Some(number));
            prop_assert_eq!(counted(&format!("{number}e0")), Some(number));
        }

        #[test]
        fn good_json_is_left_alone(text in any::<String>()) {
            let json = format!("{{\"t\":\"{}\",\"\\\\u\":\"\\\\ud83d\"}}", escaped(text.encode_utf16()));
            prop_assert_eq!(&without_lone_surrogates(&json), &json);
        }

        #[test]
        fn any_units_can_be_read(units in proptest::collection::vec(any::<u16>(), 0..20)) {
            let expected = clean(&String::from_utf16_lossy(&units));
            let json = format!("{{\"t\":\"{}\"}}", escaped(units));
            prop_assert_eq!(text(&parse(json.as_bytes()).unwrap(), "t"), Some(expected));
        }

        #[test]
        fn nothing_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), json in r#"[\\u0-9a-fD"{}:€ ]{0,60}"#) {
            let _ = parse(&body);
            let _ = parse(json.as_bytes());
        }
    }
}
