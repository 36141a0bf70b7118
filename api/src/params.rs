//! Query parameters: read by name, each error naming its own; unknown ones are ignored.

use std::future::{Ready, ready};
use std::ops::RangeInclusive;
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, Utc};
use shared::platforms::Platform;
use strum::VariantArray;

use crate::error::ApiError;

/// The parameters of a query string, decoded.
#[derive(Debug)]
pub struct Params(Vec<(String, String)>);

/// From an instant on, and before another; without end where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// Not before this.
    pub from: Option<DateTime<Utc>>,
    /// Before this.
    pub to: Option<DateTime<Utc>>,
}

impl FromRequest for Params {
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::parse(request.query_string())))
    }
}

impl Params {
    fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value of that name, whatever it is.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may come once, and holds text that Postgres can compare with.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let value = values.next();
        if values.next().is_some() {
            return Err(ApiError::field(name, "given more than once"));
        }
        // U+FFFD stands for what was no UTF-8.
        if value.is_some_and(|value| value.contains(['\0', '\u{fffd}'])) {
            return Err(ApiError::field(name, "not valid text"));
        }
        Ok(value)
    }

    /// `limit`, if it is there.
    pub fn limit(&self, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text("limit")? else { return Ok(None) };
        let wrong =
            || ApiError::field("limit", &format!("must be a whole number from {} to {}", range.start(), range.end()));
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let limit = digits.then(|| text.parse().ok()).flatten().filter(|limit| range.contains(limit));
        limit.map(Some).ok_or_else(wrong)
    }

    /// An instant in RFC 3339, or a date, which stands for its first moment in UTC.
    pub fn instant(&self, name: &str) -> Result<Option<DateTime<Utc>>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let wrong =
            || ApiError::field(name, "must be a time such as `2026-05-01T00:00:00Z`, or a date such as `2026-05-01`");
        // A `+` that was not encoded arrives as a space.
        let at = DateTime::parse_from_rfc3339(&text.replace(' ', "+")).map(|at| at.with_timezone(&Utc)).ok();
        let at = at.or_else(|| Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN).and_utc()));
        // Postgres knows fewer years than chrono.
        at.filter(|at| (1..=9999).contains(&at.year())).map(Some).ok_or_else(wrong)
    }

    /// `from` and `to`, as far as they are there.
    pub fn range(&self) -> Result<TimeRange, ApiError> {
        let (from, to) = (self.instant("from")?, self.instant("to")?);
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(ApiError::field("from", "must not be later than `to`"));
        }
        Ok(TimeRange { from, to })
    }

    /// One of the words that `T` has.
    pub fn word<T: VariantArray + AsRef<str> + FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let words = || T::VARIANTS.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
        text.parse().map(Some).map_err(|_| ApiError::field(name, &format!("must be one of {}", words())))
    }

    /// `platform`, if it is there.
    pub fn platform(&self) -> Result<Option<Platform>, ApiError> {
        self.text("platform")?.map(platform).transpose()
    }
}

/// A platform by the contract's word for it.
pub fn platform(text: &str) -> Result<Platform, ApiError> {
    text.parse().map_err(|_| ApiError::field("platform", "must be one of TIKTOK, INSTAGRAM, YOUTUBE"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::store::videos::SortOrder;

    fn limit(query: &str) -> Result<Option<i64>, String> {
        Params::parse(query).limit(1..=100).map_err(|error| error.to_string())
    }

    #[test]
    fn limits_are_whole_numbers_in_range() {
        assert_eq!(limit(""), Ok(None));
        assert_eq!(limit("limit=1&x=y"), Ok(Some(1)));
        assert_eq!(limit("limit=100"), Ok(Some(100)));
        let wrong =
            ["0", "101", "-1", "", "1.0", "1e1", "0x1", "%2B1", " 1", "99999999999999999999", "1&limit=1", "%00"];
        for text in wrong {
            let error = limit(&format!("limit={text}")).expect_err(text);
            assert!(error.starts_with("limit: "), "{error}");
        }
    }

    #[test]
    fn platforms_are_the_contracts_words() {
        assert_eq!(Params::parse("platform=TIKTOK").platform().unwrap(), Some(Platform::Tiktok));
        for wrong in ["tiktok", "", "MYSPACE", "TIKTOK,YOUTUBE"] {
            assert!(Params::parse(&format!("platform={wrong}")).platform().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_instant_is_rfc_3339_or_a_date() {
        let instant =
            |text: &str| Params::parse(&format!("from={text}")).instant("from").map_err(|error| error.to_string());
        let at = |text: &str| Ok(Some(text.parse::<DateTime<Utc>>().unwrap()));
        assert_eq!(instant("2026-05-01"), at("2026-05-01T00:00:00Z"));
        assert_eq!(instant("2026-05-01T12:00:00.5Z"), at("2026-05-01T12:00:00.5Z"));
        for offset in ["2026-05-01T12:00:00%2B02:00", "2026-05-01T12:00:00+02:00"] {
            assert_eq!(instant(offset), at("2026-05-01T10:00:00Z"), "{offset}");
        }
        for wrong in
            ["", "yesterday", "2026-13-01", "2026-05-01T12:00:00", "1777593600", "-0001-01-01", "99999-01-01", "%00"]
        {
            assert!(instant(wrong).unwrap_err().starts_with("from: "), "{wrong}");
        }
    }

    #[test]
    fn words_are_named_where_one_is_wrong() {
        let order = |query: &str| Params::parse(query).word::<SortOrder>("order").map_err(|error| error.to_string());
        assert_eq!(order(""), Ok(None));
        assert_eq!(order("order=asc"), Ok(Some(SortOrder::Asc)));
        for wrong in ["ASC", "", "up"] {
            assert_eq!(order(&format!("order={wrong}")), Err("order: must be one of asc, desc".to_owned()));
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(query in "\\PC*|(limit|cursor|platform|externalId|from|order)=[%0-9A-Fa-f&=+]*") {
            let params = Params::parse(&query);
            let _ = (params.limit(1..=100), params.platform(), params.text("externalId"), params.first("cursor"));
            let _ = (params.instant("from"), params.word::<SortOrder>("order"));
        }
    }
}
