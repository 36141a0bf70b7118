//! Revoking an authorization on the platform.

use std::time::Duration;

use super::{Hold, TokenError, Tokens, UsableToken, expires_within};
use crate::platforms::PlatformError;

/// A token that expires sooner is renewed before it is revoked: an expired one is refused, and leaves the grant alive.
const MARGIN: Duration = Duration::from_secs(60);

/// How an authorization ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// By this call.
    Now,
    /// The platform refused the tokens already.
    Before,
}

impl Tokens {
    /// Revokes the authorization behind a credential whose lease the caller has. Tokens that the platform refuses count as
    /// revoked.
    pub async fn revoke(&self, hold: &Hold) -> Result<Revoked, TokenError> {
        let token = match self.token_to_revoke(hold).await {
            Ok(token) => token,
            Err(TokenError::Dead { .. }) => return Ok(Revoked::Before),
            Err(error) => return Err(error),
        };
        if self.call_revoke(hold, &token).await? {
            return Ok(Revoked::Now);
        }
        // An expired token is refused in the same words as a revoked one. A renewal tells them apart.
        self.extend(hold).await?;
        let current = self.stored(hold.credential.id).await;
        let renewed = match current {
            Ok(credential) => self.refresh(&credential).await,
            Err(error) => Err(error),
        };
        match renewed {
            Ok(token) => Ok(if self.call_revoke(hold, &token).await? { Revoked::Now } else { Revoked::Before }),
            Err(TokenError::Dead { .. }) => Ok(Revoked::Before),
            Err(error) => Err(error),
        }
    }

    async fn token_to_revoke(&self, hold: &Hold) -> Result<UsableToken, TokenError> {
        let credential = super::alive(hold.credential.clone())?;
        if expires_within(&credential, MARGIN) { self.refresh(&credential).await } else { self.open(&credential).await }
    }

    /// Whether the platform accepted the revocation; `false`: it does not know the token.
    async fn call_revoke(&self, hold: &Hold, token: &UsableToken) -> Result<bool, TokenError> {
        self.extend(hold).await?;
        match self.0.tiktok.revoke(&token.access).await {
            Ok(()) => Ok(true),
            Err(PlatformError::TokenInvalid { .. } | PlatformError::GrantDead { .. }) => Ok(false),
            Err(error) => Err(TokenError::Platform(error)),
        }
    }
}
