//! What TikTok says of an app without any creator's consent.
//!
//! Nothing of TikTok's answers to such questions is documented but that a wrong key or secret is `invalid_client`. So each
//! question is asked twice, as the settings are and as they are certainly wrong: what counts is the difference.

use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::errors::Complaint;
use super::http::{self, Endpoint, Reply, SetupError};
use super::{Pkce, TikTokSettings, oauth};
use crate::platforms::PlatformError;

/// No refresh token of anybody's; and no secret, no state.
const NOBODYS: &str = "metriqlab-doctor";
/// A redirect URI that nobody can have registered: the name is kept free for such uses (RFC 2606).
const UNREGISTERED: &str = "https://metriqlab-doctor.invalid/callback";

/// What TikTok's token endpoint says of the client key and secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppVerdict {
    /// It refuses a token that does not exist, and not the app.
    Accepted,
    /// It refuses the app, in these words.
    Refused(String),
    /// It says the same of a secret that is certainly wrong.
    Unclear(String),
}

/// What TikTok's consent page says of the redirect URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectVerdict {
    /// It takes this one and refuses another.
    Registered,
    /// It refuses this one.
    Refused(StatusCode),
    /// It answers the same for one that is certainly wrong: only a browser that is signed in will see.
    Unclear(StatusCode),
}

/// Asks TikTok about an app. It spends nothing of the quota: the endpoints that it asks have none.
pub struct AppCheck {
    settings: TikTokSettings,
    client: reqwest::Client,
}

impl AppCheck {
    /// Connects to nothing yet.
    pub fn new(settings: TikTokSettings) -> Result<Self, SetupError> {
        Ok(Self { client: http::client(settings.request_timeout)?, settings })
    }

    /// Asks for the renewal of a token that does not exist.
    pub async fn app(&self) -> Result<AppVerdict, PlatformError> {
        let ours = self.renewal(&self.settings.client_secret).await?;
        if ours.code == "invalid_client" {
            return Ok(AppVerdict::Refused(ours.to_string()));
        }
        let wrong = self.renewal(&SecretString::from(NOBODYS)).await?;
        Ok(if wrong.code == ours.code { AppVerdict::Unclear(ours.to_string()) } else { AppVerdict::Accepted })
    }

    /// Opens the consent page as a browser that nobody is signed in to.
    pub async fn redirect_uri(&self) -> Result<RedirectVerdict, PlatformError> {
        let ours = self.consent_page(&self.settings.redirect_uri).await?;
        if ours.is_client_error() {
            return Ok(RedirectVerdict::Refused(ours));
        }
        let wrong = self.consent_page(UNREGISTERED).await?;
        Ok(if wrong == ours { RedirectVerdict::Unclear(ours) } else { RedirectVerdict::Registered })
    }

    async fn renewal(&self, secret: &SecretString) -> Result<Complaint, PlatformError> {
        let form = [
            ("client_key", self.settings.client_key.as_str()),
            ("client_secret", secret.expose_secret()),
            ("grant_type", "refresh_token"),
            ("refresh_token", NOBODYS),
        ];
        let endpoint = Endpoint::OauthToken;
        let address = format!("{}{}", self.settings.api_url.as_str().trim_end_matches('/'), endpoint.path());
        let reply = http::send(endpoint, self.client.post(address).form(&form)).await?;
        complaint(&reply)
    }

    async fn consent_page(&self, redirect_uri: &str) -> Result<StatusCode, PlatformError> {
        let settings = TikTokSettings { redirect_uri: redirect_uri.to_owned(), ..self.settings.clone() };
        let url = oauth::authorize_url(&settings, NOBODYS, Pkce::generate(settings.pkce).as_ref());
        let answer = self.client.get(url).send().await.map_err(|error| super::errors::no_answer(&error))?;
        if answer.status().is_server_error() {
            let message = format!("the consent page answers {}", answer.status());
            return Err(PlatformError::Unavailable { message, log_id: None });
        }
        Ok(answer.status())
    }
}

fn complaint(reply: &Reply) -> Result<Complaint, PlatformError> {
    let unreadable = || super::errors::unreadable(reply, "neither tokens nor an error");
    let root: Value = serde_json::from_slice(&reply.body).map_err(|_| unreadable())?;
    let complaint = Complaint::of_oauth(reply, &root).ok_or_else(unreadable)?;
    if reply.status.is_server_error() || complaint.code == "server_error" {
        return Err(complaint.about_grant(reply));
    }
    Ok(complaint)
}
