//! TikTok's webhooks: who sent one, and what it says.

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha2::Sha256;

use super::values::{integer_in, non_empty_text, parse, time};

/// What TikTok's clients commonly take for old. It is only said in the log: see [`read`].
const COMMON_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// A webhook that TikTok signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookEvent {
    /// A creator's authorization is gone; its tokens are already dead.
    AuthorizationRemoved {
        /// The creator, by TikTok's id.
        open_id: String,
        /// When it happened. One from before the present connection says nothing about it: deliveries come late, twice
        /// and in any order.
        at: DateTime<Utc>,
        /// Why.
        reason: RemovalReason,
    },
    /// One that says nothing to us: to be acknowledged, so that TikTok does not send it again.
    Ignored {
        /// Its name.
        event: String,
    },
}

/// Why an authorization is gone (reference: webhook events).
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::AsRefStr, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum RemovalReason {
    /// TikTok does not say, or in a way unknown to us.
    Unknown,
    /// The creator disconnected the app in TikTok.
    DisconnectedByCreator,
    /// The account was deleted.
    AccountDeleted,
    /// The creator's age changed.
    AgeChanged,
    /// The account was banned.
    AccountBanned,
    /// We revoked it.
    RevokedByUs,
}

/// Why a webhook is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// TikTok did not sign this: no signature, a malformed one, or a wrong one.
    #[error("the signature is missing or wrong")]
    BadSignature,
    /// It was meant for another app.
    #[error("the webhook is for another app")]
    OtherApp,
    /// TikTok signed it, but it is not what its documentation says.
    #[error("the webhook is malformed: {0}")]
    Malformed(&'static str),
}

/// Checks the `TikTok-Signature` of a raw `body` and reads it.
///
/// A good signature is accepted however old its `t` is: TikTok sends a webhook again for up to 72 hours, and does not
/// say whether it signs it anew, so a window would drop genuine deliveries. A replay does no harm: the one event that we
/// act on is idempotent, and is judged by the time that it tells.
pub(super) fn read(
    client_key: &str,
    secret: &SecretString,
    signature: &str,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<WebhookEvent, WebhookError> {
    let t = verify(secret, signature, body).ok_or(WebhookError::BadSignature)?;
    let signed_at = t.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let root = parse(body).ok_or(WebhookError::Malformed("it is not JSON"))?;
    if root.get("client_key").and_then(Value::as_str) != Some(client_key) {
        return Err(WebhookError::OtherApp);
    }
    let event = non_empty_text(&root, "event").ok_or(WebhookError::Malformed("it has no event"))?;
    if signed_at.is_none_or(|at| (now - at).abs() > COMMON_TOLERANCE) {
        tracing::warn!(%event, ?signed_at, "a webhook was signed long ago, or the clocks differ");
    }
    if event != "authorization.removed" {
        return Ok(WebhookEvent::Ignored { event });
    }
    let open_id = non_empty_text(&root, "user_openid").ok_or(WebhookError::Malformed("it has no user_openid"))?;
    let at = time(&root, "create_time").ok_or(WebhookError::Malformed("it has no create_time"))?;
    Ok(WebhookEvent::AuthorizationRemoved { open_id, at, reason: reason(root.get("content")) })
}

/// The `t` that was signed along, if the signature is good: HMAC-SHA256 over it, a dot and the raw body.
fn verify<'a>(secret: &SecretString, header: &'a str, body: &[u8]) -> Option<&'a str> {
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let (_, t) = parts().find(|(name, _)| *name == "t")?;
    let (_, s) = parts().find(|(name, _)| *name == "s")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(t.as_bytes());
    mac.update(b".");
    mac.update(body);
    // Compares in constant time.
    mac.verify_slice(&hex::decode(s).ok()?).ok()?;
    Some(t)
}

/// `content` is JSON in a string. Whatever it is, the authorization is gone: the reason is only told.
fn reason(content: Option<&Value>) -> RemovalReason {
    let inner = match content {
        Some(Value::String(text)) => parse(text.as_bytes()),
        other => other.cloned(),
    };
    match inner.as_ref().and_then(|inner| integer_in(inner, "reason")) {
        Some(1) => RemovalReason::DisconnectedByCreator,
        Some(2) => RemovalReason::AccountDeleted,
        Some(3) => RemovalReason::AgeChanged,
        Some(4) => RemovalReason::AccountBanned,
        Some(5) => RemovalReason::RevokedByUs,
        _ => RemovalReason::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const BODY: &str = r#"{"client_key":"aw1demo","event":"authorization.removed","create_time":1764000000,"user_openid":"demo-open-id-1","content":"{\"reason\":1}"}"#;
    const SIGNED: &str = "t=1764000005,s=0cf8c2f22ba14fb87cb5308f5db8c4547e32890e7d347ae6997128b358e0a856";

    fn secret() -> SecretString {
        SecretString::from("demo-secret")
    }

    fn read_at(signature: &str, body: &[u8], seconds: i64) -> Result<WebhookEvent, WebhookError> {
        read("aw1demo", &secret(), signature, body, DateTime::from_timestamp(seconds, 0).unwrap())
    }

    fn signed(body: &str) -> Result<WebhookEvent, WebhookError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"demo-secret").unwrap();
        mac.update(format!("7.{body}").as_bytes());
        read_at(&format!("t=7,s={}", hex::encode(mac.finalize().into_bytes())), body.as_bytes(), 7)
    }

    fn removal(reason: RemovalReason) -> WebhookEvent {
        let at = DateTime::from_timestamp(1_764_000_000, 0).unwrap();
        WebhookEvent::AuthorizationRemoved { open_id: "demo-open-id-1".into(), at, reason }
    }

    #[test]
    fn the_vector_is_accepted_whenever_it_comes_and_however_it_is_written() {
        let expected = removal(RemovalReason::DisconnectedByCreator);
        let (t, s) = SIGNED.split_once(',').unwrap();
        for header in
            [SIGNED.to_owned(), format!("{s}, {t}"), SIGNED.replace("s=0cf8", "s=0CF8"), format!("{SIGNED},v=2")]
        {
            for now in [0, 1_764_000_005, 1_764_300_000] {
                assert_eq!(read_at(&header, BODY.as_bytes(), now).unwrap(), expected, "{header}");
            }
        }
    }

    #[test]
    fn what_tiktok_did_not_sign_is_refused() {
        let (t, s) = SIGNED.split_once(',').unwrap();
        let wrong = [
            String::new(),
            t.to_owned(),
            s.to_owned(),
            format!("{t},s="),
            format!("{t},s=zz"),
            format!("t=1764000006,{s}"),
            format!("t=01764000005,{s}"),
            SIGNED.trim_end_matches('6').to_owned(),
            format!("{SIGNED}00"),
        ];
        for header in wrong {
            assert_eq!(read_at(&header, BODY.as_bytes(), 0), Err(WebhookError::BadSignature), "{header}");
        }
        assert_eq!(read_at(SIGNED, format!("{BODY}\n").as_bytes(), 0), Err(WebhookError::BadSignature));
    }

    #[test]
    fn the_reason_is_told_where_it_can_be_read() {
        for (content, reason) in [
            (json!(r#"{"reason": 4 }"#), RemovalReason::AccountBanned),
            (json!(r#"{"reason":"5"}"#), RemovalReason::RevokedByUs),
            (json!({"reason": 2}), RemovalReason::AccountDeleted),
            (json!(r#"{"reason":0}"#), RemovalReason::Unknown),
            (json!(r#"{"reason":77}"#), RemovalReason::Unknown),
            (json!("no json"), RemovalReason::Unknown),
            (json!(null), RemovalReason::Unknown),
        ] {
            let body = json!({"client_key": "aw1demo", "event": "authorization.removed", "create_time": "1764000000",
                "user_openid": "demo-open-id-1", "content": content});
            assert_eq!(signed(&body.to_string()).unwrap(), removal(reason), "{content}");
        }
    }

    #[test]
    fn other_events_are_ignored_and_other_apps_refused() {
        let ignored =
            json!({"client_key": "aw1demo", "event": "portability.download.ready", "create_time": 1, "content": "{}"});
        let event = "portability.download.ready".to_owned();
        assert_eq!(signed(&ignored.to_string()).unwrap(), WebhookEvent::Ignored { event });
        assert_eq!(signed(&BODY.replace("aw1demo", "other")), Err(WebhookError::OtherApp));
        assert_eq!(signed("{}"), Err(WebhookError::OtherApp));
        for (field, other) in [("user_openid", "x"), ("create_time", "x"), ("event", "x")] {
            let body = BODY.replace(field, other);
            assert!(matches!(signed(&body), Err(WebhookError::Malformed(_))), "{body}");
        }
        assert!(matches!(signed("hello"), Err(WebhookError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(header in ".*", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read_at(&header, &body, 0).is_err());
        }

        #[test]
        fn nothing_signed_makes_it_panic(content in ".*", time in any::<i64>()) {
            let body = json!({"client_key": "aw1demo", "event": "authorization.removed", "create_time": time,
                "user_openid": "x", "content": content});
            let _ = signed(&body.to_string());
        }
    }
}
