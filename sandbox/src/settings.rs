//! What tests switch while the sandbox runs.

use serde::{Deserialize, Serialize};

use crate::StartError;
use crate::config::{Latency, SandboxConfig};
use crate::scopes::Scopes;

/// Whether a refresh replaces the refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rotation {
    Always,
    /// At every second refresh of a grant.
    Sometimes,
    Never,
}

/// Whether a refresh starts the refresh token's life anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefreshExpiry {
    Sliding,
    Absolute,
}

/// What a field costs whose scope was not granted. TikTok does not say, and all three were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MissingScope {
    /// 401 `scope_not_authorized`.
    NotAuthorized,
    /// 400 `scope_permission_missed`.
    PermissionMissed,
    /// 200, the field left out.
    Omit,
}

/// Whom the rate limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RateKey {
    Client,
    Token,
}

/// What the cursor of a page does with videos of its last second that did not fit the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PageEdge {
    /// They are skipped: the cursor is the last video's second, and pages start before their cursor.
    Skip,
    /// They are shown, and those of the same second before them again.
    Repeat,
}

/// What an answer of the API holds beside its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorData {
    Empty,
    Absent,
}

/// How the signature's header is spelled on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeaderCase {
    /// `Tiktok-Signature`.
    Title,
    /// `tiktok-signature`.
    Lower,
}

/// All switches, as `GET /control/settings` shows them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Settings {
    /// Seconds.
    pub(crate) access_lifetime: i64,
    /// Seconds.
    pub(crate) refresh_lifetime: i64,
    /// Seconds.
    pub(crate) code_lifetime: i64,
    pub(crate) rotation: Rotation,
    /// Seconds for which the refresh token before the last one still works.
    pub(crate) grace: i64,
    pub(crate) refresh_expiry: RefreshExpiry,
    /// Whether a refresh ends the grant's older access tokens.
    pub(crate) refresh_ends_access: bool,
    /// HTTP status of the errors of the OAuth endpoints: 200, 400 or 401.
    pub(crate) oauth_error_status: u16,
    /// Whether a revocation is answered with `{}`, or with nothing.
    pub(crate) revoke_answers_object: bool,
    pub(crate) approved_scopes: Scopes,
    pub(crate) missing_scope: MissingScope,
    pub(crate) error_data: ErrorData,
    pub(crate) page_edge: PageEdge,
    /// Requests let through per endpoint and window; 0 turns the limit off.
    pub(crate) rate_limit: u32,
    /// Milliseconds.
    pub(crate) rate_window_ms: u64,
    pub(crate) rate_key: RateKey,
    /// Whether a 429 carries `Retry-After`.
    pub(crate) retry_after: bool,
    pub(crate) latency: Latency,
    pub(crate) webhook_url: Option<String>,
    pub(crate) webhook_header: HeaderCase,
    /// Whether a revocation through the API, and one through the control API, sends `authorization.removed`.
    pub(crate) webhooks_auto: bool,
    /// Whether a redelivery is signed anew, with a `t` of its own.
    pub(crate) webhook_fresh_t: bool,
}

impl Settings {
    pub(crate) fn new(config: &SandboxConfig) -> Self {
        let (access_lifetime, refresh_lifetime) = LIFETIMES_2026_11;
        Self {
            access_lifetime,
            refresh_lifetime,
            code_lifetime: 300,
            rotation: Rotation::Always,
            grace: 0,
            refresh_expiry: RefreshExpiry::Sliding,
            refresh_ends_access: false,
            oauth_error_status: 200,
            revoke_answers_object: true,
            approved_scopes: Scopes::all(),
            missing_scope: MissingScope::NotAuthorized,
            error_data: ErrorData::Empty,
            page_edge: PageEdge::Skip,
            rate_limit: config.rate_limit,
            rate_window_ms: u64::try_from(config.rate_window.as_millis()).unwrap_or(u64::MAX).max(1),
            rate_key: RateKey::Client,
            retry_after: false,
            latency: config.latency,
            webhook_url: config.webhook_url.clone(),
            webhook_header: HeaderCase::Title,
            webhooks_auto: true,
            webhook_fresh_t: true,
        }
    }

    /// Says what cannot be.
    pub(crate) fn validate(&self) -> Result<(), StartError> {
        let wrong = |what: &str| Err(StartError::Invalid(what.to_owned()));
        if self.access_lifetime < 1 || self.refresh_lifetime < 1 || self.code_lifetime < 1 || self.grace < 0 {
            return wrong("lifetimes are at least 1 second, and grace is not negative");
        }
        if ![200, 400, 401].contains(&self.oauth_error_status) {
            return wrong("oauth_error_status is 200, 400 or 401");
        }
        if self.rate_window_ms == 0 {
            return wrong("rate_window_ms is at least 1");
        }
        if matches!(self.latency, Latency::Between { min_ms, max_ms } if min_ms > max_ms) {
            return wrong("latency: min_ms is above max_ms");
        }
        Ok(())
    }
}

/// Access and refresh token lifetimes of TikTok's pages of November 2026, in seconds.
pub(crate) const LIFETIMES_2026_11: (i64, i64) = (7_200, 15_552_000);
/// Those of the pages before.
pub(crate) const LIFETIMES_CLASSIC: (i64, i64) = (86_400, 31_536_000);
