//! The PKCE verifier of a consent under way: kept sealed to its state until the code comes.

use secrecy::SecretString;
use shared::crypto::{KeyRing, OpenError};
use shared::platforms::tiktok::Pkce;
use shared::store::states::PendingConsent;

/// What is kept of `pkce` under the hash of its consent's state.
pub fn seal(keyring: &KeyRing, state_hash: &[u8; 32], pkce: &Pkce) -> Vec<u8> {
    keyring.seal(pkce.verifier(), &identity(state_hash))
}

/// What the code is exchanged with, if the consent began with PKCE.
pub fn open(
    keyring: &KeyRing,
    state_hash: &[u8; 32],
    pending: &PendingConsent,
) -> Result<Option<SecretString>, OpenError> {
    match &pending.pkce_sealed {
        Some(sealed) => keyring.open(sealed, &identity(state_hash)).map(Some),
        None => Ok(pending.pkce_verifier.clone().map(SecretString::from)),
    }
}

/// What a verifier is sealed to: its row.
fn identity(state_hash: &[u8; 32]) -> String {
    format!("oauth_states\0{}\0pkce_sealed", hex::encode(state_hash))
}
