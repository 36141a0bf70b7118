//! Login Kit: the consent page's address, and the tokens that follow a consent.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::errors::{Complaint, unreadable};
use super::http::{self, Endpoint, Reply};
use super::values::{integer_in, non_empty_text, parse, text};
use super::{Pkce, TikTok, TikTokSettings};
use crate::budget::{Admission, Class};
use crate::platforms::{AccessToken, Grant, PlatformError, RefreshToken, Scopes};

/// How long a renewal or a revocation waits for its turn at this process's own limit. Short, for it waits with the lease
/// of the account's tokens.
pub const OAUTH_TURN: Duration = Duration::from_secs(2);

/// No token lives so long: such a lifetime is a mistake, or in another unit. Ten years, in seconds.
const LONGEST_LIFE: i64 = 10 * 365 * 86_400;

impl TikTok {
    /// Where a creator's browser is sent to consent. `state` comes back with it.
    pub fn authorize_url(&self, state: &str, pkce: Option<&Pkce>) -> Url {
        authorize_url(&self.settings, state, pkce)
    }

    /// The grant that a `code` stands for; once only. `verifier` is that of the consent's [`Pkce`], if it had one.
    ///
    /// `GrantDead` if the code is expired, used or wrong. `Rejected` is a setting's fault, and not the code's.
    pub async fn exchange_code(&self, code: &str, verifier: Option<&SecretString>) -> Result<Grant, PlatformError> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.settings.redirect_uri.as_str()),
        ];
        form.extend(verifier.map(|verifier| ("code_verifier", verifier.expose_secret())));
        // An answer may leave out a scope that is as it was asked for (RFC 6749, 5.1).
        // A code is good once and for minutes: it waits for its turn rather than be lost.
        let turn = self.settings.request_timeout;
        let read = |reply: &Reply| grant(reply, Some(&self.settings.scopes)).map_err(refused_code);
        // And it is sent whatever the breaker says.
        self.ask(Endpoint::OauthToken, &form, None, &SecretString::from(code), turn, read).await
    }

    /// A new pair of tokens. The old refresh token is dead once TikTok has made them, whether its answer arrives or not.
    /// `GrantDead` is TikTok's word that the creator must connect again.
    pub async fn refresh(&self, refresh: &RefreshToken) -> Result<Grant, PlatformError> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.0.expose_secret())];
        // Somebody may wait for it, and there are few.
        let (class, read) = (Some(Class::Interactive), |reply: &Reply| grant(reply, None));
        self.ask(Endpoint::OauthToken, &form, class, &refresh.0, OAUTH_TURN, read).await
    }

    /// Ends the grant behind an access token.
    ///
    /// `TokenInvalid` if TikTok does not know the token. If it was fetched just now, the grant is gone already, which is
    /// what was wanted; if not, it may only have expired while the grant lives on: refresh, and try once more.
    pub async fn revoke(&self, access: &AccessToken) -> Result<(), PlatformError> {
        let form = [("token", access.0.expose_secret())];
        // A client's DELETE may wait for it: it goes out as soon as TikTok is back.
        self.ask(Endpoint::OauthRevoke, &form, Some(Class::Interactive), &access.0, OAUTH_TURN, revoked).await
    }

    /// Sends a request about `token`, if the breaker lets one of this `class` pass; `None`: whatever it says.
    #[tracing::instrument(level = "debug", name = "tiktok", skip_all, fields(otel.kind = "client", endpoint = endpoint.as_str()))]
    async fn ask<T>(
        &self,
        endpoint: Endpoint,
        form: &[(&str, &str)],
        class: Option<Class>,
        token: &SecretString,
        turn: Duration,
        read: impl FnOnce(&Reply) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        let mut whole = vec![
            ("client_key", self.settings.client_key.as_str()),
            ("client_secret", self.settings.client_secret.expose_secret()),
        ];
        whole.extend_from_slice(form);
        let request = self.client.post(self.address(endpoint)).header("cache-control", "no-cache").form(&whole);
        if tokio::time::timeout(turn, self.oauth_limit.until_ready()).await.is_err() {
            return Err(PlatformError::NoBudget { retry_in: turn });
        }
        let admission = match class {
            Some(class) => self.budget.admit(endpoint.as_str(), class).await,
            None => Ok(Admission::unasked()),
        };
        let admission = admission.map_err(|retry_in| PlatformError::Held { retry_in })?;
        let result = http::send(endpoint, request).await.and_then(|reply| read(&reply));
        http::record(endpoint, &result);
        match self.tell_breaker(endpoint, admission, token, &result).await {
            Some(retry_in) if class.is_some() => Err(PlatformError::Held { retry_in }),
            _ => result,
        }
    }
}

/// Where a browser is sent to consent to an app of these settings.
pub(super) fn authorize_url(settings: &TikTokSettings, state: &str, pkce: Option<&Pkce>) -> Url {
    let mut url = settings.auth_url.clone();
    url.set_path(&format!("{}/v2/auth/authorize/", url.path().trim_end_matches('/')));
    url.query_pairs_mut()
        .clear()
        .append_pair("client_key", &settings.client_key)
        .append_pair("scope", &settings.scopes.to_string())
        .append_pair("response_type", "code")
        .append_pair("redirect_uri", &settings.redirect_uri)
        .append_pair("state", state)
        // Else TikTok silently takes whichever account the browser is signed in to, and a second can't be connected.
        .append_pair("disable_auto_auth", "1");
    if let Some(pkce) = pkce {
        url.query_pairs_mut()
            .append_pair("code_challenge", pkce.challenge())
            .append_pair("code_challenge_method", "S256");
    }
    url
}

/// Reads the answer of the token endpoint, decided by its body: TikTok sends errors with status 200 too.
fn grant(reply: &Reply, default_scopes: Option<&Scopes>) -> Result<Grant, PlatformError> {
    let root = object(reply)?;
    if let Some(complaint) = Complaint::of_oauth(reply, &root) {
        return Err(complaint.about_grant(reply));
    }
    if !reply.status.is_success() {
        return Err(unreadable(reply, "neither tokens nor an error"));
    }
    let lacks = |what| unreadable(reply, what);
    let scopes = match text(&root, "scope") {
        Some(list) => Scopes::parse(&list),
        None => default_scopes.cloned().unwrap_or_default(),
    };
    Ok(Grant {
        external_id: non_empty_text(&root, "open_id").ok_or_else(|| lacks("tokens without an open_id"))?,
        access: AccessToken(token(&root, "access_token").ok_or_else(|| lacks("no access_token"))?),
        access_expires_in: lifetime(&root, "expires_in").ok_or_else(|| lacks("tokens without a sane expires_in"))?,
        refresh: token(&root, "refresh_token").map(RefreshToken),
        refresh_expires_in: lifetime(&root, "refresh_expires_in"),
        scopes,
    })
}

/// TikTok calls a code that it can't read a malformed request, and so it does a wrong redirect URI, a missing secret or a
/// verifier of the wrong kind (reference, section 2). Only the words tell them apart, and those about the code name
/// nothing: so what names a setting is the setting's fault, and all else the code's.
fn refused_code(error: PlatformError) -> PlatformError {
    match error {
        PlatformError::Rejected { code, message, log_id }
            if code == "invalid_request"
                && !["redirect", "client", "verifier"].iter().any(|word| names(&message, word)) =>
        {
            PlatformError::GrantDead { message: format!("{code}: {message}"), log_id }
        }
        other => other,
    }
}

fn names(message: &str, word: &str) -> bool {
    message.to_ascii_lowercase().contains(word)
}

/// Reads the answer of the revoke endpoint: `{}` or nothing is success.
fn revoked(reply: &Reply) -> Result<(), PlatformError> {
    if reply.status.is_success() && reply.body.trim_ascii().is_empty() {
        return Ok(());
    }
    let root = object(reply)?;
    match Complaint::of_oauth(reply, &root) {
        // How TikTok words it that it does not know the token is not documented; its sample for this endpoint is
        // invalid_request, and what else a request of ours holds is checked by other codes.
        Some(complaint) if ["invalid_grant", "invalid_request"].contains(&complaint.code.as_str()) => {
            tracing::info!(?complaint, "TikTok does not know the token that was to be revoked");
            Err(PlatformError::TokenInvalid { log_id: complaint.log_id })
        }
        Some(complaint) => Err(complaint.about_grant(reply)),
        None if reply.status.is_success() => Ok(()),
        None => Err(unreadable(reply, "neither success nor an error")),
    }
}

fn object(reply: &Reply) -> Result<Value, PlatformError> {
    parse(&reply.body).filter(Value::is_object).ok_or_else(|| unreadable(reply, "no JSON object"))
}

/// A token that a header can carry.
fn token(root: &Value, field: &str) -> Option<SecretString> {
    let token = root.get(field)?.as_str()?;
    (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())).then(|| token.into())
}

fn lifetime(root: &Value, field: &str) -> Option<Duration> {
    let seconds = integer_in(root, field).filter(|seconds| (1..=LONGEST_LIFE).contains(seconds))?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status: status.try_into().unwrap(),
            log_id: Some("header".into()),
            retry_after: None,
            body: body.into(),
        }
    }

    fn good() -> Value {
        json!({"access_token": "act.Zk3demo", "expires_in": 7200, "open_id": "demo-0f41-open",
            "refresh_expires_in": 15_552_000, "refresh_token": "rft.Qm8demo",
            "scope": "user.info.basic,video.list", "token_type": "Bearer"})
    }

    fn with(field: &str, value: Value) -> Result<Grant, PlatformError> {
        let mut body = good();
        body[field] = value;
        grant(&reply(200, &body.to_string()), None)
    }

    fn without(field: &str) -> String {
        let mut body = good();
        body.as_object_mut().unwrap().remove(field);
        body.to_string()
    }

    fn error_of(status: u16, code: &str) -> PlatformError {
        let body = json!({"error": code, "error_description": "Words.", "log_id": "20261124A"});
        grant(&reply(status, &body.to_string()), None).unwrap_err()
    }

    #[test]
    fn a_good_answer_is_a_grant() {
        for body in [good(), with_empty_error()] {
            let grant = grant(&reply(200, &body.to_string()), None).unwrap();
            assert_eq!(grant.external_id, "demo-0f41-open");
            assert_eq!(grant.access.0.expose_secret(), "act.Zk3demo");
            assert_eq!(grant.refresh.unwrap().0.expose_secret(), "rft.Qm8demo");
            assert_eq!(grant.access_expires_in, Duration::from_secs(7_200));
            assert_eq!(grant.refresh_expires_in, Some(Duration::from_secs(15_552_000)));
            assert_eq!(grant.scopes, Scopes::parse("user.info.basic,video.list"));
        }
    }

    fn with_empty_error() -> Value {
        let mut body = good();
        body["error"] = json!("");
        body["expires_in"] = json!("7200");
        body
    }

    #[test]
    fn an_empty_or_missing_refresh_token_is_none() {
        for value in [json!(""), json!(null), json!(7)] {
            assert!(with("refresh_token", value).unwrap().refresh.is_none());
        }
        assert!(grant(&reply(200, &without("refresh_token")), None).unwrap().refresh.is_none());
    }

    #[test]
    fn a_lifetime_that_can_t_be_is_said_to_be_so() {
        for value in [json!(null), json!(0), json!(-1), json!("soon"), json!(1e300), json!(i64::MAX), json!(7200.5)] {
            let error = with("expires_in", value.clone()).unwrap_err();
            assert!(matches!(&error, PlatformError::Unavailable { message, .. } if message.contains("expires_in")));
            assert_eq!(with("refresh_expires_in", value).unwrap().refresh_expires_in, None);
        }
        for field in ["expires_in", "access_token", "open_id"] {
            let error = grant(&reply(200, &without(field)), None).unwrap_err();
            assert!(error.to_string().contains(field), "{error}");
        }
        assert!(with("access_token", json!("a\nb")).is_err());
    }

    #[test]
    fn scopes_not_told_are_those_asked_for() {
        let asked = Scopes::parse("user.info.basic");
        assert_eq!(grant(&reply(200, &without("scope")), Some(&asked)).unwrap().scopes, asked);
        assert!(grant(&reply(200, &without("scope")), None).unwrap().scopes.is_empty());
        let mut none = good();
        none["scope"] = json!("");
        assert!(grant(&reply(200, &none.to_string()), Some(&asked)).unwrap().scopes.is_empty());
    }

    #[test]
    fn errors_are_told_by_their_code_whatever_the_status() {
        for status in [200, 400, 401] {
            assert_eq!(
                error_of(status, "invalid_grant"),
                PlatformError::GrantDead { message: "Words.".into(), log_id: Some("20261124A".into()) }
            );
            for code in
                ["invalid_client", "invalid_request", "unauthorized_client", "access_denied", "invalid_scope", "new"]
            {
                assert!(matches!(error_of(status, code), PlatformError::Rejected { code: c, .. } if c == code));
            }
            for code in ["server_error", "temporarily_unavailable"] {
                assert_eq!(error_of(status, code).kind(), "unavailable");
            }
        }
        assert_eq!(error_of(503, "new").kind(), "unavailable");
        assert_eq!(error_of(429, "new").kind(), "rate_limited");
        assert_eq!(error_of(500, "invalid_grant").kind(), "grant_dead");
    }

    #[test]
    fn a_code_that_tiktok_can_t_read_is_a_refused_code_and_a_wrong_setting_is_not() {
        let refused = |code: &str, words: &str| {
            let body = json!({"error": code, "error_description": words});
            refused_code(grant(&reply(400, &body.to_string()), None).unwrap_err()).kind()
        };
        assert_eq!(refused("invalid_grant", "Authorization code is expired."), "grant_dead");
        assert_eq!(refused("invalid_request", "The request parameters are malformed."), "grant_dead");
        assert_eq!(refused("invalid_request", "Code verifier or code challenge is invalid."), "rejected");
        let uri = "Redirect_uri is not matched with the uri when requesting code.";
        assert_eq!(refused("invalid_request", uri), "rejected");
        assert_eq!(refused("invalid_request", "Client secret is missed in request."), "rejected");
        assert_eq!(refused("invalid_client", "Client key or secret is incorrect."), "rejected");
    }

    #[test]
    fn what_is_no_answer_may_pass_and_kills_no_grant() {
        let half = good().to_string();
        for body in ["", "<html>Bad gateway</html>", "{", "[]", "null", "\"x\"", "{}", half.split_at(40).0] {
            for status in [200, 302, 400, 401, 403, 502] {
                let error = grant(&reply(status, body), None).unwrap_err();
                assert_eq!((error.kind(), error.log_id()), ("unavailable", Some("header")), "{status} {body}");
            }
        }
        assert_eq!(grant(&reply(404, "Unsupported path(Janus)"), None).unwrap_err().kind(), "rejected");
        // Tokens beside a failing status are none.
        assert_eq!(grant(&reply(500, &good().to_string()), None).unwrap_err().kind(), "unavailable");
    }

    #[test]
    fn a_revocation_succeeds_with_nothing_said_or_an_empty_object() {
        for body in ["", " \n", "{}", r#"{"error":""}"#] {
            assert_eq!(revoked(&reply(200, body)), Ok(()));
        }
        let error = |status, body: &str| revoked(&reply(status, body)).unwrap_err().kind();
        for status in [200, 400, 401] {
            assert_eq!(error(status, r#"{"error":"invalid_grant"}"#), "token_invalid");
            assert_eq!(error(status, r#"{"error":"invalid_request"}"#), "token_invalid");
            assert_eq!(error(status, r#"{"error":"invalid_client"}"#), "rejected");
            assert_eq!(error(status, r#"{"error":"server_error"}"#), "unavailable");
            assert_eq!(error(status, r#"{"error":{"code":"access_token_invalid"}}"#), "token_invalid");
        }
        assert_eq!(error(502, ""), "unavailable");
        assert_eq!(error(200, "<html>"), "unavailable");
        assert_eq!(error(500, "{}"), "unavailable");
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(status in 100..600_u16, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let reply = Reply { body, ..reply(status, "") };
            let _ = grant(&reply, None);
            let _ = revoked(&reply);
        }

        #[test]
        fn no_value_makes_it_panic(expires in any::<f64>(), text in ".*") {
            let _ = with("expires_in", json!(expires));
            for field in ["access_token", "open_id", "scope", "error", "expires_in", "refresh_expires_in", "log_id"] {
                let _ = with(field, json!(text));
            }
        }
    }
}
