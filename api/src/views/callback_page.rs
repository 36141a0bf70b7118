//! The page at the end of a consent. It is shown to people, in a popup or in a tab, and carries what anybody may have put
//! into a URL: askama escapes every value, the script reads values from attributes alone, and the policy lets nothing else
//! run or load.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::Rng as _;
use shared::ids::CreatorId;
use shared::settings::PublicUrl;
use shared::store::states::PendingConsent;
use url::Url;

use crate::redirect;

/// How a consent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentOutcome {
    /// The creator is stored.
    Connected {
        /// The creator.
        creator: CreatorId,
        /// What they did not allow, in words.
        missing: Vec<String>,
    },
    /// The creator said no.
    Declined,
    /// The state is unknown, used or expired.
    UnknownState,
    /// TikTok refuses the code, or gave none.
    Refused,
    /// TikTok failed.
    PlatformFailed,
    /// TikTok refuses our app: the operator has to mend it.
    AppRefused,
    /// Too many unknown states came from there.
    TooMany,
    /// Postgres is out of reach.
    Unavailable,
    /// A bug.
    Broken,
}

impl ConsentOutcome {
    /// The page's status (CONTRACT: 400, but 200 for a creator who declined).
    fn status(&self) -> StatusCode {
        match self {
            Self::Connected { .. } | Self::Declined => StatusCode::OK,
            Self::UnknownState | Self::Refused => StatusCode::BAD_REQUEST,
            Self::PlatformFailed | Self::AppRefused => StatusCode::BAD_GATEWAY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The `reason` that the app behind `redirectUrl` is told.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Connected { .. } => None,
            Self::Declined => Some("access_denied"),
            Self::UnknownState => Some("invalid_state"),
            Self::Refused => Some("code_refused"),
            Self::PlatformFailed | Self::AppRefused => Some("platform_error"),
            Self::TooMany => Some("rate_limited"),
            Self::Unavailable => Some("unavailable"),
            Self::Broken => Some("internal"),
        }
    }

    /// When to ask again, in seconds, where that is said.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany => Some(60),
            Self::Unavailable => Some(2),
            _ => None,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "You're connected",
            Self::Declined => "Not connected",
            Self::UnknownState => "This link no longer works",
            Self::Refused => "TikTok did not confirm the connection",
            Self::PlatformFailed => "TikTok is not answering",
            Self::AppRefused => "This app can't connect to TikTok right now",
            Self::TooMany => "Too many requests",
            Self::Unavailable | Self::Broken => "Something went wrong",
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "Your TikTok account is connected. Your profile and videos are being read now.",
            Self::Declined => "You chose not to connect your TikTok account. Nothing was stored.",
            Self::UnknownState => {
                "It was used already, is older than ten minutes, or is not complete. Nothing was changed. Go back to the \
                 app that you came from, and start again."
            }
            Self::Refused => "Nothing was stored. Go back to the app that you came from, and start again.",
            Self::PlatformFailed => {
                "Nothing was stored. Wait a moment, go back to the app that you came from, and start again."
            }
            Self::AppRefused => {
                "Nothing was stored. TikTok does not accept how the app is set up, which only the people who run it can \
                 mend: please tell them."
            }
            Self::TooMany => "Nothing was changed. Wait a minute, then open the link again.",
            Self::Unavailable | Self::Broken => {
                "The connection could not be completed. Wait a moment, go back to the app that you came from, and start \
                 again."
            }
        }
    }
}

/// The page, ready to be rendered.
#[derive(Template)]
#[template(path = "callback.html")]
pub struct CallbackPage<'a> {
    code: StatusCode,
    /// Seconds, for the header.
    retry_after: Option<u64>,
    nonce: String,
    title: &'static str,
    text: &'static str,
    missing: &'a [String],
    status: &'static str,
    creator_id: String,
    reason: &'static str,
    /// The client's own name for the creator; empty if it gave none.
    external_ref: String,
    /// The one origin that is told by `postMessage`.
    target_origin: String,
    /// Where the browser goes next, with the answer in its query; empty if nowhere.
    next: String,
}

impl<'a> CallbackPage<'a> {
    /// The page for `outcome` of what was promised, if that is known.
    pub fn new(public_url: &PublicUrl, pending: Option<&PendingConsent>, outcome: &'a ConsentOutcome) -> Self {
        // What is stored was checked when the consent began; a URL that would not pass any more is not followed.
        let redirect_url = pending.and_then(|pending| pending.redirect_url.as_deref());
        let external_ref = pending.and_then(|pending| pending.external_ref.clone()).unwrap_or_default();
        let redirect_url =
            redirect_url.and_then(|text| redirect::parse(text).ok().or_else(|| own_page(public_url, text)));
        let (status, creator_id, missing) = match outcome {
            ConsentOutcome::Connected { creator, missing } => ("connected", creator.to_string(), missing.as_slice()),
            _ => ("failed", String::new(), [].as_slice()),
        };
        let reason = outcome.reason().unwrap_or_default();
        let detail = if reason.is_empty() { ("creatorId", creator_id.as_str()) } else { ("reason", reason) };
        let mut answer = vec![("status", status), detail];
        if !external_ref.is_empty() {
            answer.push(("externalRef", &external_ref));
        }
        let next = redirect_url.as_ref().map(|url| redirect::with_answer(url, &answer));
        Self {
            code: outcome.status(),
            retry_after: outcome.retry_after(),
            nonce: STANDARD.encode(rand::rng().random::<[u8; 16]>()),
            title: outcome.title(),
            text: outcome.text(),
            missing,
            status,
            target_origin: redirect_url.as_ref().map_or_else(|| public_url.origin(), origin),
            next: next.map(String::from).unwrap_or_default(),
            creator_id,
            reason,
            external_ref,
        }
    }

    /// The answer, never to be stored, framed, or to say where it came from.
    pub fn respond(&self) -> HttpResponse {
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            nonce = self.nonce
        );
        match self.render() {
            Ok(page) => {
                let mut response = HttpResponse::build(self.code);
                if let Some(seconds) = self.retry_after {
                    response.insert_header((header::RETRY_AFTER, seconds));
                }
                response
                    .content_type("text/html; charset=utf-8")
                    .insert_header((header::CONTENT_SECURITY_POLICY, policy))
                    .insert_header((header::CACHE_CONTROL, "no-store"))
                    .body(page)
            }
            Err(error) => {
                tracing::error!(%error, "the page could not be rendered");
                HttpResponse::InternalServerError().content_type("text/plain").body(self.text)
            }
        }
    }
}

/// The dashboard's way back: a page of our own, also where people reach us by plain http.
fn own_page(public_url: &PublicUrl, text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| origin(url) == public_url.origin() && url.username().is_empty())
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use shared::settings::ApiArgs;

    use super::*;

    #[test]
    fn a_page_of_our_own_is_a_way_back_and_no_other_one_by_plain_http() {
        let args = ApiArgs {
            bind: None,
            public_url: Some("http://metriqlab.lan:8080".to_owned()),
            sync_wait: String::new(),
            api_rate: String::new(),
            cors_origins: None,
            trusted_proxies: None,
        };
        let public_url = args.check().expect("settings").public_url;
        assert!(own_page(&public_url, "http://metriqlab.lan:8080/console/projects/1/creators").is_some());
        for other in [
            "http://metriqlab.lan/",
            "http://metriqlab.lan:8080@evil.example/",
            "http://x@metriqlab.lan:8080/",
            "javascript:1",
        ] {
            assert!(own_page(&public_url, other).is_none(), "{other}");
        }
    }
}
