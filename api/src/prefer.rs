//! The `Prefer` header (RFC 7240): how long a client wants its answer waited for.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpRequest, HttpResponse};

/// The header of a request.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The header of an answer that honoured it.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The longest wait that a client gets (CONTRACT: "at most 60").
pub const MAX_WAIT: u64 = 60;

/// The preferences that we know; others are ignored, as the RFC wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prefer {
    wait: Option<u64>,
    respond_async: bool,
}

impl Prefer {
    /// Reads all `Prefer` headers; of a preference that comes twice, the first one counts (RFC 7240, section 2), also if
    /// it makes no sense.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let mut waits = false;
        let values = headers.get_all(PREFER).filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| split(value, ',')) {
            // Parameters after a semicolon belong to preferences that we do not know.
            let preference = split(preference, ';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                prefer.respond_async = true;
            }
            if name.eq_ignore_ascii_case("wait") && !waits {
                waits = true;
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                prefer.wait = digits.then(|| value.parse().unwrap_or(u64::MAX).min(MAX_WAIT));
            }
        }
        prefer
    }

    /// How long to wait for the job. With both, the client waits for so long and then takes an answer of 202.
    pub fn wait(self, default: Duration) -> Duration {
        match (self.wait, self.respond_async) {
            (Some(seconds), _) => Duration::from_secs(seconds),
            (None, true) => Duration::ZERO,
            (None, false) => default,
        }
    }

    /// Says in the answer which preferences were honoured.
    pub fn say(self, mut response: HttpResponse) -> HttpResponse {
        if let Some(value) = self.applied().and_then(|applied| HeaderValue::from_str(&applied).ok()) {
            response.headers_mut().insert(PREFERENCE_APPLIED, value);
        }
        response
    }

    /// What `Preference-Applied` says.
    pub fn applied(self) -> Option<String> {
        let wait = self.wait.map(|seconds| format!("wait={seconds}"));
        match (self.respond_async, wait) {
            (true, Some(wait)) => Some(format!("respond-async, {wait}")),
            (true, None) => Some("respond-async".to_owned()),
            (false, wait) => wait,
        }
    }
}

/// The parts between separators that do not stand in a quoted string (RFC 9110, section 5.6.4).
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let ends = c == separator && !quoted;
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && quoted && !escaped;
        ends
    })
}

impl FromRequest for Prefer {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request.headers())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefer(values: &[&str]) -> (Duration, Option<String>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_str(value).expect("a header value"));
        }
        let prefer = Prefer::of(&headers);
        (prefer.wait(Duration::from_secs(25)), prefer.applied())
    }

    fn seconds(seconds: u64, applied: Option<&str>) -> (Duration, Option<String>) {
        (Duration::from_secs(seconds), applied.map(str::to_owned))
    }

    #[test]
    fn preferences_are_read_as_the_rfc_says() {
        assert_eq!(prefer(&[]), seconds(25, None));
        assert_eq!(prefer(&["wait=3"]), seconds(3, Some("wait=3")));
        assert_eq!(prefer(&["WAIT = \"3\""]), seconds(3, Some("wait=3")));
        assert_eq!(prefer(&["wait=0"]), seconds(0, Some("wait=0")));
        assert_eq!(prefer(&["wait=3, wait=4"]), seconds(3, Some("wait=3")));
        assert_eq!(prefer(&["x=\"a, wait=4; \\\", wait=5\", wait=3"]), seconds(3, Some("wait=3")));
        assert_eq!(prefer(&["x; y=\"respond-async, wait=0\""]), seconds(25, None));
        assert_eq!(prefer(&["wait=soon, wait=4"]), seconds(25, None));
        assert_eq!(prefer(&["respond-async"]), seconds(0, Some("respond-async")));
        assert_eq!(prefer(&["Respond-Async; x=y", "wait=10"]), seconds(10, Some("respond-async, wait=10")));
        assert_eq!(prefer(&["handling=lenient, return=minimal"]), seconds(25, None));
    }

    #[test]
    fn a_wait_is_at_most_a_minute_and_nonsense_is_ignored() {
        assert_eq!(prefer(&["wait=61"]), seconds(60, Some("wait=60")));
        assert_eq!(prefer(&["wait=99999999999999999999999"]), seconds(60, Some("wait=60")));
        for nonsense in ["wait", "wait=", "wait=-1", "wait=1.5", "wait=ten", "=", ",,;"] {
            assert_eq!(prefer(&[nonsense]), seconds(25, None), "{nonsense}");
        }
    }
}
