//! PKCE (RFC 7636), and TikTok's variant of it for desktop apps, which writes the challenge in hex.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng as _;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use strum::{Display, EnumString};

/// How an authorization code is bound to who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum PkceMode {
    /// It is not: TikTok's web apps.
    Off,
    /// Lowercase hex of the SHA-256: TikTok's desktop apps (reference: Login Kit for Desktop).
    Hex,
    /// RFC 7636's own encoding; TikTok's web apps accept it.
    Base64url,
}

/// The secret of one consent, and what TikTok is shown of it beforehand.
#[derive(Debug, Clone)]
pub struct Pkce {
    verifier: SecretString,
    challenge: String,
}

impl Pkce {
    /// A fresh one of 256 random bits; `None` if `mode` is off.
    pub fn generate(mode: PkceMode) -> Option<Self> {
        // 43 characters of the alphabet that RFC 7636 allows: the shortest verifier, and as random as the hash is long.
        let verifier = URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; 32]>());
        let challenge = challenge(mode, &verifier)?;
        Some(Self { verifier: verifier.into(), challenge })
    }

    /// What is kept until the code comes.
    pub fn verifier(&self) -> &SecretString {
        &self.verifier
    }

    /// What the consent page is given.
    pub fn challenge(&self) -> &str {
        &self.challenge
    }
}

fn challenge(mode: PkceMode, verifier: &str) -> Option<String> {
    let hash = Sha256::digest(verifier);
    match mode {
        PkceMode::Off => None,
        PkceMode::Hex => Some(hex::encode(hash)),
        PkceMode::Base64url => Some(URL_SAFE_NO_PAD.encode(hash)),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn the_vectors_hold() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(PkceMode::Off, verifier), None);
        assert_eq!(
            challenge(PkceMode::Hex, verifier).unwrap(),
            "13d31e961a1ad8ec2f16b10c4c982e0876a878ad6df144566ee1894acb70f9c3"
        );
        assert_eq!(challenge(PkceMode::Base64url, verifier).unwrap(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn a_verifier_is_what_the_rfc_allows_new_each_time_and_not_shown() {
        assert!(Pkce::generate(PkceMode::Off).is_none());
        let (one, other) = (Pkce::generate(PkceMode::Hex).unwrap(), Pkce::generate(PkceMode::Hex).unwrap());
        let verifier = one.verifier().expose_secret();
        assert_ne!(verifier, other.verifier().expose_secret());
        assert!((43..=128).contains(&verifier.len()));
        assert!(verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)));
        assert!(!format!("{one:?}").contains(verifier));
    }

    #[test]
    fn modes_are_spelled_as_the_contract_spells_them() {
        for (text, mode) in [("off", PkceMode::Off), ("hex", PkceMode::Hex), ("base64url", PkceMode::Base64url)] {
            assert_eq!(text.parse::<PkceMode>().unwrap(), mode);
        }
    }
}
