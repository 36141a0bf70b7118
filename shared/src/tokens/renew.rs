//! Renewing: one at a time over the fleet, saved before it is used, and never lost with the job that wanted it.

use std::time::Duration;

use tokio::time::Instant;

use super::{ACCESS_TOKEN_INVALID, TokenError, Tokens, UsableToken, alive, is_due, measure};
use crate::ids::CredentialId;
use crate::platforms::{Grant, PlatformError, Scopes};
use crate::store::StoreError;
use crate::store::credentials::{Credential, SealedPair};

/// How long a fetched pair is kept in memory while Postgres is away. The refresh token that it replaces is dead already.
const SAVE_WAIT: Duration = Duration::from_secs(300);
/// The pause between two tries to save it.
const SAVE_PAUSE: Duration = Duration::from_millis(500);

/// Why a new pair is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Renews {
    /// The stored one is old.
    Due,
    /// The platform refused the one of this version.
    Refused(i64),
}

impl Renews {
    /// Whether the stored pair is still the one that was to be renewed: somebody may have done it.
    fn applies_to(self, credential: &Credential) -> bool {
        match self {
            Self::Due => is_due(credential),
            Self::Refused(version) => credential.version == version,
        }
    }
}

impl Tokens {
    /// A newer pair, by the lease, in a task of its own: whoever waits for it may be cancelled, the new pair is saved.
    pub(super) async fn renew(
        &self,
        id: CredentialId,
        renews: Renews,
        wait: Duration,
    ) -> Result<UsableToken, TokenError> {
        let tokens = self.clone();
        let renewal = async move {
            let hold = tokens.hold(id, wait).await?;
            let result = match alive(hold.credential.clone()) {
                Ok(credential) if renews.applies_to(&credential) => {
                    let renewed = tokens.refresh(&credential).await;
                    measure::renewed(&renewed);
                    renewed
                }
                Ok(credential) => tokens.open(&credential).await,
                Err(dead) => Err(dead),
            };
            tokens.release(hold).await;
            result
        };
        self.to_the_end(renewal).await?
    }

    /// Fetches and saves a new pair. The caller has the lease.
    pub(super) async fn refresh(&self, credential: &Credential) -> Result<UsableToken, TokenError> {
        let Some(refresh) = self.open_refresh(credential)? else {
            return self.without_refresh_token(credential).await;
        };
        match self.0.tiktok.refresh(&refresh).await {
            Ok(grant) if grant.external_id == credential.external_id => self.save(credential, grant).await,
            Ok(_) => Err(TokenError::Platform(PlatformError::Rejected {
                code: "other_account".to_owned(),
                message: "the renewed tokens are another account's".to_owned(),
                log_id: None,
            })),
            Err(PlatformError::GrantDead { log_id, .. }) => {
                self.declare_dead(credential, "invalid_grant", log_id.as_deref()).await
            }
            Err(error) => Err(TokenError::Platform(error)),
        }
    }

    /// Saves the pair by compare-and-set, for as long as it takes Postgres to come back. If somebody stored another pair
    /// meanwhile, that one is newer.
    async fn save(&self, credential: &Credential, grant: Grant) -> Result<UsableToken, TokenError> {
        let scopes = Scopes::parse(&credential.scopes);
        let pair = self.seal_pair(&credential.account(), &grant, &scopes);
        match self.save_patiently(credential, &pair).await? {
            Some(version) => {
                tracing::debug!(credential = %credential.id, version, "the tokens are renewed");
                Ok(UsableToken { access: grant.access, version, scopes: Scopes::parse(&pair.scopes) })
            }
            None => self.open(&self.stored(credential.id).await?).await,
        }
    }

    async fn save_patiently(&self, credential: &Credential, pair: &SealedPair) -> Result<Option<i64>, StoreError> {
        let deadline = Instant::now() + SAVE_WAIT;
        loop {
            match self.0.store.save_pair(credential.id, credential.version, pair).await {
                Err(error) if error.is_unavailable() && Instant::now() < deadline => {
                    tracing::warn!(credential = %credential.id, %error, "a renewed pair of tokens waits for Postgres");
                    tokio::time::sleep(SAVE_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    /// The platform's clear word about this pair. If another one is stored by now, the word says nothing about that one.
    async fn declare_dead(
        &self,
        credential: &Credential,
        reason: &str,
        log_id: Option<&str>,
    ) -> Result<UsableToken, TokenError> {
        self.give_up(credential.id, credential.version, reason, log_id).await?;
        self.open(&self.stored(credential.id).await?).await
    }

    /// Nothing to renew with: an access token that the platform refuses is the end.
    async fn without_refresh_token(&self, credential: &Credential) -> Result<UsableToken, TokenError> {
        if is_due(credential) {
            // It is used until the platform refuses it.
            return self.open(credential).await;
        }
        self.declare_dead(credential, ACCESS_TOKEN_INVALID, None).await
    }
}
