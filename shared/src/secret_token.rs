//! Secrets that a browser or a link carries: a session, an invitation, the setting of a password.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// 256 random bits: more than anybody can guess, so that a fast hash is enough to store.
const RANDOM_BYTES: usize = 32;

/// A token in the clear, in base64url. Whether it is known is the store's word, which has its SHA-256 alone.
#[derive(Clone)]
pub struct SecretToken(SecretString);

impl SecretToken {
    /// A new random token.
    pub fn generate() -> Self {
        Self(SecretString::from(URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; RANDOM_BYTES]>())))
    }

    /// Reads a token as a browser sends it; `None` if it can't be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == RANDOM_BYTES).then(|| Self(SecretString::from(text)))
    }

    /// What is stored, and what it is looked up by.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret()).into()
    }

    /// The token, for the cookie or the link alone. It needs no escaping in either.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Shows nothing.
impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_shows_nothing() {
        let token = SecretToken::generate();
        let read = SecretToken::parse(token.expose()).expect("a token");
        assert_eq!((token.hash(), token.expose().len()), (read.hash(), 43));
        assert_eq!(format!("{token:?}"), "SecretToken(…)");
        for wrong in ["", "x", &token.expose()[1..], &format!("{}=", token.expose()), &"+".repeat(43), "é"] {
            assert!(SecretToken::parse(wrong).is_none(), "{wrong}");
        }
    }
}
