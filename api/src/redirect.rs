//! `redirectUrl`: where a creator's browser goes after a consent.

use url::{Host, Url};

use crate::error::ApiError;

const FIELD: &str = "redirectUrl";
const MAX_LENGTH: usize = 2048;

/// Reads a `redirectUrl`: `https`, or `http` on this machine; anything else could leak the answer or run a script.
pub fn parse(text: &str) -> Result<Url, ApiError> {
    if text.len() > MAX_LENGTH {
        return Err(ApiError::field(FIELD, &format!("longer than {MAX_LENGTH} bytes")));
    }
    let url = Url::parse(text).map_err(|error| ApiError::field(FIELD, &error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ApiError::field(FIELD, "must not carry a user name or a password"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_local(&url) => Ok(url),
        _ => Err(ApiError::field(FIELD, "must be https, or http on localhost, 127.0.0.1 or [::1]")),
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        None => false,
    }
}

/// The URL with the answer added to its query; what was there stays, and a fragment stays behind it.
pub fn with_answer(url: &Url, answer: &[(&str, &str)]) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().extend_pairs(answer);
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_https_and_this_machine() {
        for good in [
            "https://example.com",
            "https://example.com:8443/a?b=c#d",
            "http://localhost:3000/done",
            "http://LOCALHOST/",
            "http://127.0.0.1:1/",
            "http://[::1]:3000/",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "example.com",
            "/done",
            "//example.com",
            "http://example.com",
            "http://localhost.example.com",
            "http://127.0.0.2",
            "http://127.0.0.1.example.com",
            "http://user@localhost",
            "https://user:password@example.com",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://localhost",
            "file:///etc/passwd",
            "https://",
            "myapp://done",
        ] {
            let error = parse(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("redirectUrl: "), "{error}");
        }
        assert!(parse(&format!("https://example.com/{}", "a".repeat(MAX_LENGTH))).is_err());
    }

    #[test]
    fn the_answer_goes_between_query_and_fragment() {
        let answer = [("status", "failed"), ("reason", "a b&c#d")];
        let added = |url: &str| with_answer(&Url::parse(url).expect("a URL"), &answer).to_string();
        assert_eq!(added("https://a.example"), "https://a.example/?status=failed&reason=a+b%26c%23d");
        assert_eq!(added("https://a.example/x?y=z"), "https://a.example/x?y=z&status=failed&reason=a+b%26c%23d");
        assert_eq!(added("https://a.example/x?#f"), "https://a.example/x?status=failed&reason=a+b%26c%23d#f");
        assert_eq!(
            added("https://a.example/#/route?x=1"),
            "https://a.example/?status=failed&reason=a+b%26c%23d#/route?x=1"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC*|https?://\\PC*") {
            if let Ok(url) = parse(&text) {
                prop_assert!(url.scheme() == "https" || is_local(&url));
            }
        }
    }
}
