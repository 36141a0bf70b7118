//! The TikTok app: whether TikTok takes its key and secret, and whether its redirect URI can work.

use std::time::Duration;

use api::CALLBACK_PATH;
use shared::platforms::PlatformError;
use shared::platforms::tiktok::{AppCheck, AppVerdict, PkceMode, RedirectVerdict, TikTokSettings as App};
use shared::settings::TikTokSettings;
use url::{Host, Url};

use super::report::Check;
use super::settings::Settings;
use super::within;

const APP: &str = "TikTok app";
const REDIRECT: &str = "redirect URI";
const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn check(settings: &Settings) -> Vec<Check> {
    let (Some(tiktok), Some(api)) = (&settings.tiktok, &settings.api) else { return Vec::new() };
    let redirect_uri = api.public_url.with_path(CALLBACK_PATH);
    let asked = match AppCheck::new(app(tiktok, redirect_uri.clone())) {
        Ok(asked) => asked,
        Err(error) => return vec![Check::fail(APP, error.to_string(), "this is a bug: please report it")],
    };
    let app = async { asked.app().await.map_err(words) };
    let page = async { asked.redirect_uri().await.map_err(words) };
    let (app, page) = tokio::join!(within(app), within(page));
    let place = if settings.is_sandbox { "the sandbox".to_owned() } else { tiktok.api_url.to_string() };
    vec![judge_app(&tiktok.client_key, &place, app), judge_redirect(&redirect_uri, tiktok, page)]
}

/// What an operator has use for: there is no exchange of his to look up by its log id.
fn words(error: PlatformError) -> String {
    match error {
        PlatformError::Unavailable { message, .. } => message,
        other => other.to_string(),
    }
}

fn app(settings: &TikTokSettings, redirect_uri: String) -> App {
    App {
        client_key: settings.client_key.clone(),
        client_secret: settings.client_secret.clone(),
        auth_url: settings.auth_url.clone(),
        api_url: settings.api_url.clone(),
        pkce: settings.pkce,
        scopes: settings.scopes.clone(),
        redirect_uri,
        request_timeout: ANSWER,
    }
}

fn judge_app(client_key: &str, place: &str, verdict: Result<AppVerdict, String>) -> Check {
    match verdict {
        Ok(AppVerdict::Accepted) => {
            Check::ok(APP, format!("{client_key} is known at {place}, and its secret is right"))
        }
        Ok(AppVerdict::Refused(words)) => Check::fail(
            APP,
            format!("refused at {place}: {words}"),
            "copy TIKTOK_CLIENT_KEY and TIKTOK_CLIENT_SECRET anew from TikTok's developer portal",
        ),
        Ok(AppVerdict::Unclear(words)) => Check::warn(
            APP,
            format!("can't be told: {place} says the same to a wrong secret ({words})"),
            "connect a creator: that shows it",
        ),
        Err(error) => Check::fail(
            APP,
            format!("{place}: {error}"),
            "see to it that this machine reaches TikTok (TIKTOK_API_URL, firewall, DNS)",
        ),
    }
}

fn judge_redirect(uri: &str, tiktok: &TikTokSettings, page: Result<RedirectVerdict, String>) -> Check {
    if let Some((found, remedy)) = unsound(uri, tiktok) {
        return Check::fail(REDIRECT, found, remedy);
    }
    match page {
        Ok(RedirectVerdict::Registered) => Check::ok(REDIRECT, format!("{uri} is registered")),
        Ok(RedirectVerdict::Refused(status)) => Check::fail(
            REDIRECT,
            format!("the consent page refuses {uri} with status {}", status.as_u16()),
            "register exactly this URI for the app in TikTok's developer portal; check TIKTOK_CLIENT_KEY, TIKTOK_SCOPES and TIKTOK_PKCE, too",
        ),
        Ok(RedirectVerdict::Unclear(_)) => Check::ok(
            REDIRECT,
            format!("{uri}; whether it is registered in TikTok's developer portal shows only to who is signed in"),
        ),
        Err(error) => Check::warn(
            REDIRECT,
            format!("{uri}; the consent page: {error}"),
            "see to it that this machine and the creators' browsers reach TIKTOK_AUTH_URL",
        ),
    }
}

/// TikTok's rules, as far as the URI alone shows them. A sandbox has no rules for its address: it is on loopback itself.
fn unsound(uri: &str, tiktok: &TikTokSettings) -> Option<(String, &'static str)> {
    let url = Url::parse(uri).ok()?;
    if is_loopback(&tiktok.auth_url) {
        return None;
    }
    let loopback = is_loopback(&url);
    if loopback && tiktok.pkce != PkceMode::Hex {
        return Some((
            format!("{uri}: TikTok allows this machine's own address to desktop apps alone"),
            "set METRIQLAB_PUBLIC_URL to where browsers reach the API; or, with a desktop app, TIKTOK_PKCE=hex",
        ));
    }
    if !loopback && url.scheme() != "https" {
        return Some((format!("{uri}: TikTok wants https"), "set METRIQLAB_PUBLIC_URL to an https address"));
    }
    None
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
