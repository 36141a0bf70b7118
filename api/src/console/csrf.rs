//! What tells a form of ours from one that another site makes a browser send.
//!
//! Two walls, each enough by itself: what the browser says about where a request comes from, and a token in the form that
//! only a page of this very session knows.

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use shared::secret_token::SecretToken;
use shared::settings::PublicUrl;
use url::Url;

/// The field of the form that carries the token.
pub const FIELD: &str = "csrf";
/// W3C Fetch Metadata: sent by every browser since 2023, to https and localhost.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The token of a session's forms. It can be made of the cookie alone, so nothing is stored; and tells nothing about it.
pub fn token(session: &SecretToken) -> String {
    hex::encode(mac(session).finalize().into_bytes())
}

/// Whether a form carries its session's token. Takes the same time whatever is wrong with it.
pub fn is_token(session: &SecretToken, sent: &str) -> bool {
    hex::decode(sent).is_ok_and(|sent| mac(session).verify_slice(&sent).is_ok())
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104, section 2)")]
fn mac(session: &SecretToken) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(session.expose().as_bytes()).expect("a key");
    mac.update(b"metriqlab console form");
    mac
}

/// Whether a request may have come from a page of ours: no browser says that it came from elsewhere.
pub fn is_ours(request: &HttpRequest, public_url: &PublicUrl) -> bool {
    let header = |name: &HeaderName| text(request.headers(), name);
    if let Some(site) = header(&SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    match header(&ORIGIN) {
        // No browser of today: the token alone decides.
        None => !request.headers().contains_key(ORIGIN),
        Some(origin) => origin == public_url.origin() || is_host(origin, header(&HOST)),
    }
}

/// Whether an origin is the host that the request was sent to.
fn is_host(origin: &str, host: Option<&str>) -> bool {
    let Ok(origin) = Url::parse(origin) else { return false };
    let named = origin.host_str().map(|name| match origin.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    });
    named.as_deref() == host
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use shared::settings::ApiArgs;

    #[test]
    fn a_token_is_good_for_its_session_alone() {
        let (session, other) = (SecretToken::generate(), SecretToken::generate());
        assert!(is_token(&session, &token(&session)));
        assert!(!is_token(&other, &token(&session)));
        for wrong in ["", "00", "nonsense", &token(&session)[2..]] {
            assert!(!is_token(&session, wrong), "{wrong}");
        }
    }

    #[test]
    fn what_a_browser_says_about_another_site_is_believed() {
        let args = ApiArgs {
            bind: None,
            public_url: Some("https://metriq.example".into()),
            sync_wait: String::new(),
            api_rate: String::new(),
            cors_origins: None,
            trusted_proxies: None,
        };
        let public_url = args.check().unwrap().public_url;
        let ours = |headers: &[(&'static str, &str)]| {
            let start = TestRequest::post().insert_header(("host", "127.0.0.1:8080"));
            let request = headers.iter().fold(start, |request, header| request.insert_header(*header));
            is_ours(&request.to_http_request(), &public_url)
        };
        assert!(ours(&[]));
        assert!(ours(&[("sec-fetch-site", "same-origin"), ("origin", "null")]));
        assert!(ours(&[("origin", "https://metriq.example")]));
        assert!(ours(&[("origin", "http://127.0.0.1:8080")]));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!ours(&[("sec-fetch-site", site), ("origin", "https://metriq.example")]), "{site}");
        }
        for origin in
            ["null", "", "https://metriq.example.evil", "http://metriq.example", "http://127.0.0.1", "http://evil:8080"]
        {
            assert!(!ours(&[("origin", origin)]), "{origin}");
        }
    }
}
