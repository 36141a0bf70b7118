//! Tokens at rest: sealed to the row and the column that they stand in, and resealed when they are read under an old key.

use secrecy::{ExposeSecret as _, SecretString};

use super::{TokenError, Tokens, UsableToken};
use crate::crypto::{KeyRing, OpenError};
use crate::platforms::{AccessToken, Grant, Platform, RefreshToken, Scopes};
use crate::store::credentials::{Account, Credential, SealedPair};

const ACCESS: &str = "access_token";
const REFRESH: &str = "refresh_token";

/// What a token is sealed to. Postgres stores no U+0000, so none of the parts can contain one, and no two rows or columns
/// share an identity.
fn identity(platform: Platform, app: &str, external_id: &str, column: &str) -> String {
    format!("{platform}\0{app}\0{external_id}\0{column}")
}

impl Tokens {
    /// The stored access token, opened; the pair is sealed anew if its key is not the current one.
    pub(super) async fn open(&self, credential: &Credential) -> Result<UsableToken, TokenError> {
        let access = self.open_column(credential, &credential.access_token, ACCESS)?;
        let sealed = [Some(&credential.access_token), credential.refresh_token.as_ref()];
        if sealed.into_iter().flatten().any(|token| !self.0.keyring.is_current(token)) {
            let (access, refresh) = seal_anew(&self.0.keyring, credential)?;
            // Unless there is a newer pair by now.
            self.0.store.reseal_pair(credential.id, credential.version, &access, refresh.as_deref()).await?;
        }
        Ok(UsableToken {
            access: AccessToken(access),
            version: credential.version,
            scopes: Scopes::parse(&credential.scopes),
        })
    }

    /// The stored refresh token, if there is one.
    pub(super) fn open_refresh(&self, credential: &Credential) -> Result<Option<RefreshToken>, TokenError> {
        let sealed = credential.refresh_token.as_deref();
        sealed.map(|sealed| self.open_column(credential, sealed, REFRESH).map(RefreshToken)).transpose()
    }

    /// Seals what the platform gave. Where an answer names no scopes, `scopes` are what is known.
    pub(super) fn seal_pair(&self, account: &Account, grant: &Grant, scopes: &Scopes) -> SealedPair {
        let Account { platform, app, external_id } = account;
        let seal =
            |token: &SecretString, column| self.0.keyring.seal(token, &identity(*platform, app, external_id, column));
        // An empty refresh token never overwrites the stored one.
        let refresh = grant.refresh.as_ref().filter(|token| !token.0.expose_secret().is_empty());
        let scopes = if grant.scopes.is_empty() { scopes } else { &grant.scopes };
        SealedPair {
            access_token: seal(&grant.access.0, ACCESS),
            refresh_token: refresh.map(|token| seal(&token.0, REFRESH)),
            scopes: scopes.to_string(),
            access_expires_in: grant.access_expires_in,
            refresh_expires_in: grant.refresh_expires_in,
        }
    }

    fn open_column(&self, credential: &Credential, sealed: &[u8], column: &str) -> Result<SecretString, TokenError> {
        Ok(open_column(&self.0.keyring, credential, sealed, column)?)
    }
}

/// The same pair under the current key: the access token and the refresh token, if there is one.
pub(super) fn seal_anew(keyring: &KeyRing, credential: &Credential) -> Result<(Vec<u8>, Option<Vec<u8>>), OpenError> {
    let Credential { platform, app, external_id, .. } = credential;
    let again = |sealed: &[u8], column| {
        let token = open_column(keyring, credential, sealed, column)?;
        Ok(keyring.seal(&token, &identity(*platform, app, external_id, column)))
    };
    let refresh = credential.refresh_token.as_deref();
    Ok((again(&credential.access_token, ACCESS)?, refresh.map(|sealed| again(sealed, REFRESH)).transpose()?))
}

fn open_column(
    keyring: &KeyRing,
    credential: &Credential,
    sealed: &[u8],
    column: &str,
) -> Result<SecretString, OpenError> {
    let Credential { platform, app, external_id, .. } = credential;
    keyring.open(sealed, &identity(*platform, app, external_id, column))
}
