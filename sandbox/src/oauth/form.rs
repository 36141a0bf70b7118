//! The form bodies of the OAuth endpoints.

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_TYPE;

use crate::answer::OauthError;

/// A form without repeated or unknown fields.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a body that says to be a form. JSON and credentials in the query are not TikTok's way.
    pub(super) fn read(request: &HttpRequest, body: &[u8], known: &[&str]) -> Result<Self, OauthError> {
        let sent = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let form = sent.split(';').next().unwrap_or_default().trim();
        if !form.eq_ignore_ascii_case("application/x-www-form-urlencoded") || !request.query_string().is_empty() {
            return Err(OauthError::malformed());
        }
        let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(body).map_err(|_| OauthError::malformed())?;
        let mut seen = std::collections::HashSet::new();
        if fields.iter().any(|(name, _)| !known.contains(&name.as_str()) || !seen.insert(name.as_str())) {
            return Err(OauthError::malformed());
        }
        Ok(Self(fields))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, OauthError> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(OauthError::malformed)
    }
}
