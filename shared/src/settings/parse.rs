//! From text to values, each with its one line for what is wrong.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::SettingsError;

/// Names on the wire and in the environment are short; a value beyond this is a mistake, not a setting.
const MAX_QUOTED: usize = 80;

/// The text, or the default for an empty one.
pub(super) fn or_default<'a>(text: &'a str, default: &'a str) -> &'a str {
    let text = text.trim();
    if text.is_empty() { default } else { text }
}

/// The text, unless it is absent or empty.
pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// The secret, unless it is absent or empty.
pub(super) fn given_secret(text: Option<&SecretString>) -> Option<SecretString> {
    given(text.map(ExposeSecret::expose_secret)).map(SecretString::from)
}

/// A value as a message may show it: in one line, and not without end.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(MAX_QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < text.len() { format!("`{shown}…`") } else { format!("`{shown}`") }
}

/// A whole number from `min` to `max`.
pub(super) fn number<T>(variable: &'static str, text: &str, min: T, max: T) -> Result<T, SettingsError>
where
    T: Copy + FromStr + PartialOrd + Display,
{
    match text.parse::<T>() {
        Ok(value) if value >= min && value <= max => Ok(value),
        _ => {
            let problem = format!("{} is no whole number from {min} to {max}", quoted(text));
            Err(SettingsError::wrong(variable, problem))
        }
    }
}

/// A time span such as `25s`, `1h 30m` or `500ms`, at most `max`.
pub(super) fn duration(variable: &'static str, text: &str, max: Duration) -> Result<Duration, SettingsError> {
    let wrong = |problem: String| SettingsError::wrong(variable, problem);
    let value = humantime::parse_duration(text)
        .map_err(|_| wrong(format!("{} is no time span; write one like `25s`, `500ms` or `24h`", quoted(text))))?;
    if value > max {
        return Err(wrong(format!("{} is too long; at most {}", quoted(text), humantime::format_duration(max))));
    }
    Ok(value)
}

/// An address to listen on, such as `127.0.0.1:8080`.
pub(super) fn address(variable: &'static str, text: &str) -> Result<SocketAddr, SettingsError> {
    text.parse().map_err(|_| {
        let problem = format!("{} is no address and port; write one like `127.0.0.1:8080`", quoted(text));
        SettingsError::wrong(variable, problem)
    })
}

/// The base of other URLs: `http` or `https`, no user, query or fragment, and no slash at its end.
pub(super) fn base_url(variable: &'static str, text: &str) -> Result<Url, SettingsError> {
    let wrong = |problem: String| SettingsError::wrong(variable, problem);
    let url = Url::parse(text).map_err(|error| {
        wrong(format!("{} is no URL ({error}); write one like `https://example.com`", quoted(text)))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!("{} must begin with http:// or https://", quoted(text))));
    }
    // The value is not shown: what stands before the @ may be a password.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("the URL must not hold a user name or a password".into()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(format!("{} must not have a query or a fragment", quoted(text))));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_in_one_line() {
        let error = address("METRIQLAB_BIND", &format!("a\nb{}", "x".repeat(500))).unwrap_err().to_string();
        assert!(!error.contains('\n') && error.len() < 200, "{error}");
        assert!(error.starts_with("METRIQLAB_BIND: "), "{error}");
    }

    #[test]
    fn a_password_in_a_base_url_is_not_repeated() {
        let error = base_url("TIKTOK_API_URL", "https://user:hunter2@example.com").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn numbers_and_spans_have_bounds() {
        assert_eq!(number("N", "7", 1, 9), Ok(7));
        for text in ["0", "10", "-1", "x", "1.5", "99999999999999999999"] {
            assert!(number("N", text, 1_u32, 9).is_err(), "{text}");
        }
        assert_eq!(duration("D", "1m 30s", Duration::from_secs(90)), Ok(Duration::from_secs(90)));
        for text in ["91s", "5", "soon", "-1s"] {
            assert!(duration("D", text, Duration::from_secs(90)).is_err(), "{text}");
        }
    }
}
