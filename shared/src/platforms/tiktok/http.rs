//! How TikTok is called: one client, with a bound on everything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::{counter, describe_counter, describe_histogram, histogram};
use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::errors;
use crate::platforms::{Platform, PlatformError};
use crate::trace;

/// Twenty videos take about 30 KiB: this is far above what TikTok answers, and far below what would hurt.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_IDLE_FOR: Duration = Duration::from_secs(60);
const KEEP_IDLE: usize = 64;
/// The longest wait that TikTok's headers can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Not documented, but seen: the second is looked for by other clients (reference: API errors).
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const LOG_ID: HeaderName = HeaderName::from_static("x-tt-logid");

/// TikTok's endpoints, as the metrics and the budget name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    OauthToken,
    OauthRevoke,
    UserInfo,
    VideoList,
}

impl Endpoint {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::OauthToken => "oauth_token",
            Self::OauthRevoke => "oauth_revoke",
            Self::UserInfo => "user_info",
            Self::VideoList => "video_list",
        }
    }

    /// With the slash at the end, without which TikTok answers 404.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::OauthToken => "/v2/oauth/token/",
            Self::OauthRevoke => "/v2/oauth/revoke/",
            Self::UserInfo => "/v2/user/info/",
            Self::VideoList => "/v2/video/list/",
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// From the headers; a body's own goes before it.
    pub(super) log_id: Option<String>,
    /// How long TikTok asks to wait.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: Vec<u8>, now: DateTime<Utc>) -> Self {
        let header = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let retry_after = header(&RETRY_AFTER).and_then(|value| wait(value, now));
        Self {
            status,
            log_id: header(&LOG_ID).filter(|id| !id.is_empty()).map(|id| id.chars().take(64).collect()),
            retry_after: retry_after.or_else(|| header(&RESET).and_then(|value| wait(value, now))),
            body,
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// rustls and ring do not agree on a version of TLS.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The client refuses its settings.
    #[error("the HTTP client can't be set up: {0}")]
    Client(#[from] reqwest::Error),
}

/// The client: no redirects, no retries and no proxies, for one permit is one request to one host.
pub(super) fn client(timeout: Duration) -> Result<Client, SetupError> {
    describe_metrics();
    Ok(Client::builder()
        .user_agent(concat!("MetriqLab/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls()?)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .timeout(timeout)
        .pool_idle_timeout(KEEP_IDLE_FOR)
        .pool_max_idle_per_host(KEEP_IDLE)
        .build()?)
}

fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        // No reason to stop: a sandbox is called without TLS.
        tracing::warn!("this system has no CA certificates: TikTok can't be called over https");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Sends a request and reads its answer, whatever it is.
pub(super) async fn send(endpoint: Endpoint, request: RequestBuilder) -> Result<Reply, PlatformError> {
    let began = Instant::now();
    let reply = exchange(request).await;
    histogram!("metriqlab_platform_request_seconds", "platform" => Platform::Tiktok.as_ref().to_owned(),
        "endpoint" => endpoint.as_str())
    .record(began.elapsed());
    reply
}

async fn exchange(request: RequestBuilder) -> Result<Reply, PlatformError> {
    let mut response: Response = request.send().await.map_err(|error| errors::no_answer(&error))?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| errors::no_answer(&error))? {
        if body.len() + chunk.len() > LARGEST_BODY {
            let message = format!("the answer is larger than {LARGEST_BODY} bytes");
            return Err(PlatformError::Unavailable { message, log_id: None });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply::new(response.status(), response.headers(), body, Utc::now()))
}

/// Counts what became of a request that was sent, and says so in the log.
pub(super) fn record<T>(endpoint: Endpoint, result: &Result<T, PlatformError>) {
    let outcome = result.as_ref().map_or_else(PlatformError::kind, |_| "ok");
    counter!("metriqlab_platform_requests_total", "platform" => Platform::Tiktok.as_ref().to_owned(),
        "endpoint" => endpoint.as_str(), "outcome" => outcome)
    .increment(1);
    let span = tracing::Span::current();
    trace::rename(&span, format_args!("tiktok {}", endpoint.as_str()));
    trace::attribute(&span, "outcome", outcome);
    if result.is_err() {
        trace::failed(&span, outcome);
    }
    match result {
        Ok(_) => tracing::debug!(endpoint = endpoint.as_str(), "TikTok answered"),
        Err(error) => tracing::info!(endpoint = endpoint.as_str(), %error, "TikTok failed"),
    }
}

fn describe_metrics() {
    describe_counter!("metriqlab_platform_requests_total", "Requests to a platform, by endpoint and outcome");
    describe_histogram!("metriqlab_platform_request_seconds", "How long a platform's answers take to their end");
}

/// A wait in seconds, a date, or a moment in seconds since 1970; bounded. One that is over asks for nothing.
fn wait(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    // No wait is thirty years long: such a number is a moment.
    const FIRST_MOMENT: u64 = 1_000_000_000;
    let until = |seconds: i64| u64::try_from(seconds.saturating_sub(now.timestamp())).ok();
    let seconds = match value.parse::<u64>() {
        Ok(seconds) if seconds < FIRST_MOMENT => Some(seconds),
        Ok(moment) => until(i64::try_from(moment).unwrap_or(i64::MAX)),
        Err(_) => until(DateTime::parse_from_rfc2822(value).ok()?.timestamp()),
    };
    seconds.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waits(value: &str) -> Option<u64> {
        wait(value, DateTime::from_timestamp(1_764_000_000, 0).unwrap()).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_comes_in_three_forms_and_is_bounded() {
        for (value, seconds) in [
            ("7", Some(7)),
            ("0", None),
            ("999999999", Some(3600)),
            ("1764000030", Some(30)),
            ("1763999999", None),
            ("18446744073709551615", Some(3600)),
            ("Mon, 24 Nov 2025 16:00:42 GMT", Some(42)),
            ("Mon, 24 Nov 2025 15:00:00 GMT", None),
            ("-3", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(waits(value), seconds, "{value}");
        }
    }

    #[test]
    fn headers_say_the_wait_and_the_log_id() {
        let headers = |pairs: &[(&HeaderName, &str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| ((*name).clone(), value.parse().unwrap())).collect()
        };
        let reply = |headers: &HeaderMap| Reply::new(StatusCode::OK, headers, Vec::new(), DateTime::UNIX_EPOCH);
        let both = reply(&headers(&[(&RETRY_AFTER, "3"), (&RESET, "9"), (&LOG_ID, "20261124083501A1")]));
        assert_eq!(
            (both.retry_after, both.log_id.as_deref()),
            (Some(Duration::from_secs(3)), Some("20261124083501A1"))
        );
        let one = reply(&headers(&[(&RETRY_AFTER, "soon"), (&RESET, "9"), (&LOG_ID, "")]));
        assert_eq!((one.retry_after, one.log_id), (Some(Duration::from_secs(9)), None));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in ".*", number in any::<u64>()) {
            let _ = waits(&value);
            let _ = waits(&number.to_string());
        }
    }
}
