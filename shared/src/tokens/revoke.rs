//! Revoking an authorization on the platform.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{ACCESS_TOKEN_INVALID, Hold, TokenError, Tokens, UsableToken, alive, expires_within};
use crate::platforms::PlatformError;
use crate::store::credentials::Credential;

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
    /// Revokes the authorization behind a credential whose lease the caller has. Tokens that the platform refuses for good
    /// count as revoked.
    ///
    /// Must run [to the end](Tokens::to_the_end), for it may renew the tokens. After `stop` it sends nothing more:
    /// `Interrupted`.
    pub async fn revoke(&self, hold: &Hold, stop: &CancellationToken) -> Result<Revoked, TokenError> {
        let token = match self.token_to_revoke(hold).await {
            Ok(token) => token,
            Err(TokenError::Dead { .. }) => return Ok(Revoked::Before),
            Err(error) => return Err(error),
        };
        match self.call_revoke(hold, stop, &token).await {
            Ok(()) => return Ok(Revoked::Now),
            Err(error) if says_unknown(&error) => {}
            Err(error) => return Err(error),
        }
        // An expired token is refused in the same words as a revoked one. A renewal tells them apart.
        self.may_call(hold, stop).await?;
        match self.refresh(&self.to_end(hold).await?).await {
            // There is nothing to renew it with.
            Ok(same) if same.version == token.version => Ok(Revoked::Before),
            // That a fresh token is refused says nothing of the grant: one that is gone says so at the next renewal.
            Ok(fresh) => self.call_revoke(hold, stop, &fresh).await.map(|()| Revoked::Now),
            Err(TokenError::Dead { .. }) => Ok(Revoked::Before),
            Err(error) => Err(error),
        }
    }

    async fn token_to_revoke(&self, hold: &Hold) -> Result<UsableToken, TokenError> {
        let credential = not_gone(hold.credential.clone())?;
        if expires_within(&credential, MARGIN) { self.refresh(&credential).await } else { self.open(&credential).await }
    }

    /// The stored pair, whose grant is to end.
    async fn to_end(&self, hold: &Hold) -> Result<Credential, TokenError> {
        not_gone(self.0.store.credential(hold.credential.id).await?.ok_or(TokenError::Gone)?)
    }

    async fn call_revoke(&self, hold: &Hold, stop: &CancellationToken, token: &UsableToken) -> Result<(), TokenError> {
        self.may_call(hold, stop).await?;
        Ok(self.0.tiktok.revoke(&token.access).await?)
    }

    /// Asked right before each call: who was paused may have lost its lease to a new connection, or its job.
    async fn may_call(&self, hold: &Hold, stop: &CancellationToken) -> Result<(), TokenError> {
        self.extend(hold).await?;
        if stop.is_cancelled() { Err(TokenError::Interrupted) } else { Ok(()) }
    }
}

/// A credential whose grant may still live. That a fresh access token was refused, which marks a creator, leaves that open.
fn not_gone(credential: Credential) -> Result<Credential, TokenError> {
    if credential.dead_reason.as_deref() == Some(ACCESS_TOKEN_INVALID) { Ok(credential) } else { alive(credential) }
}

/// Whether the platform does not know the token.
fn says_unknown(error: &TokenError) -> bool {
    matches!(error, TokenError::Platform(PlatformError::TokenInvalid { .. } | PlatformError::GrantDead { .. }))
}
