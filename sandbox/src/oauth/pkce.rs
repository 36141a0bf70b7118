//! PKCE as TikTok has it: desktop apps send the SHA-256 of the verifier in lowercase hex; web apps may send that, or the
//! base64url of RFC 7636, or nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::AppProfile;

/// Whether a challenge has a form that the app's profile may use.
pub(crate) fn is_challenge(profile: AppProfile, challenge: &str) -> bool {
    let hex = challenge.len() == 64 && challenge.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let base64url = challenge.len() == 43
        && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    hex || (profile == AppProfile::Web && base64url)
}

/// Whether the verifier is well-formed (43–128 unreserved characters) and the challenge was made from it.
pub(crate) fn verifies(challenge: &str, verifier: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return false;
    }
    let digest = Sha256::digest(verifier.as_bytes());
    let expected = if challenge.len() == 64 { hex::encode(digest) } else { URL_SAFE_NO_PAD.encode(digest) };
    bool::from(expected.as_bytes().ct_eq(challenge.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const HEX: &str = "13d31e961a1ad8ec2f16b10c4c982e0876a878ad6df144566ee1894acb70f9c3";
    const BASE64URL: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_vectors_hold() {
        assert!(verifies(HEX, VERIFIER));
        assert!(verifies(BASE64URL, VERIFIER));
        assert!(!verifies(HEX, &VERIFIER.replace('d', "e")));
        assert!(!verifies(BASE64URL, &VERIFIER.replace('d', "e")));
        assert!(!verifies(HEX, "short"));
    }

    #[test]
    fn a_desktop_app_sends_lowercase_hex() {
        assert!(is_challenge(AppProfile::Desktop, HEX));
        assert!(!is_challenge(AppProfile::Desktop, BASE64URL));
        assert!(!is_challenge(AppProfile::Desktop, &HEX.to_uppercase()));
        assert!(is_challenge(AppProfile::Web, HEX) && is_challenge(AppProfile::Web, BASE64URL));
        assert!(!is_challenge(AppProfile::Web, "plain"));
    }
}
