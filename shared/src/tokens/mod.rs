//! The one place that opens, renews, replaces and seals tokens.
//!
//! Who changes an account's tokens holds its lease in Postgres (`store::credentials`), so that over the whole fleet one
//! renews, revokes or replaces them at a time. No transaction is open across a call to the platform: the lease ends by
//! itself when its holder dies, and every new pair is saved by compare-and-set on the version of the pair that it renews.

mod lease;
mod measure;
mod renew;
mod revoke;
mod rotate;
mod seal;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::crypto::{KeyRing, OpenError};
use crate::ids::{CredentialId, ProjectId};
use crate::platforms::tiktok::TikTok;
use crate::platforms::{AccessToken, Grant, Platform, PlatformError, Scopes};
use crate::store::connections::{Connected, NewConnection};
use crate::store::credentials::{Account, Credential};
use crate::store::{Store, StoreError};

pub use lease::Hold;
pub use revoke::Revoked;
pub use rotate::{KeyUse, Rotation, WRITERS, count_damaged, rotate};

/// Why a pair was declared dead whose access token the platform refuses although it was fetched just now.
pub const ACCESS_TOKEN_INVALID: &str = "access_token_invalid";

/// How long a connection waits for a renewal or a revocation of the same account. Longer than a lease, so that a holder
/// that died is waited out.
const CONNECT_WAIT: Duration = Duration::from_secs(20);
/// How long who needs a new pair waits for another's work on the same tokens. Longer than a lease, too.
const RENEW_WAIT: Duration = Duration::from_secs(16);
/// The same, while the stored token still works.
const EARLY_RENEW_WAIT: Duration = Duration::from_secs(3);

/// How long a connection erases what a disconnect under way has left, before it leaves the rest to that.
const ERASE_FOR: Duration = Duration::from_secs(2);
/// How long a connection waits for a Postgres that is away, and how long between two tries.
const STORE_WAIT: Duration = Duration::from_secs(5);
const STORE_PAUSE: Duration = Duration::from_millis(250);

/// Opens, renews, replaces and seals tokens; cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    store: Store,
    tiktok: TikTok,
    keyring: Arc<KeyRing>,
    app: String,
    /// Renewals under way: they go on when the job that wanted them is cancelled, because a pair that was fetched and not
    /// saved is lost, and its predecessor dead.
    renewals: TaskTracker,
}

/// A token that can be used now, as far as anybody knows.
#[derive(Debug, Clone)]
pub struct UsableToken {
    /// What to call with.
    pub access: AccessToken,
    /// Which pair it is of: to name it if the platform refuses it.
    pub version: i64,
    /// What the creator granted.
    pub scopes: Scopes,
}

/// Why there is no usable token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The platform has refused the tokens for good. No call was made with them.
    #[error("the creator must connect again: {reason}")]
    Dead {
        /// The platform's code, or what it said by webhook.
        reason: String,
        /// The platform's own id of the exchange in which it said so, if that was just now.
        log_id: Option<String>,
    },
    /// There is no such row: the account was disconnected everywhere.
    #[error("the account is not connected any more")]
    Gone,
    /// Somebody else works on these tokens, for longer than one waits for.
    #[error("the account's tokens are in use by another worker")]
    Busy,
    /// The platform did not give a new pair. The stored one is neither dead nor usable.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored tokens do not open: a wrong `METRIQLAB_ENCRYPTION_KEY`, or a changed row.
    #[error("the stored tokens do not open: {0}")]
    Sealed(#[from] OpenError),
    /// The renewal ended without a result; the process is about to end.
    #[error("the renewal was interrupted")]
    Interrupted,
    /// A bug: the log says where.
    #[error("the work on the tokens panicked")]
    Panicked,
}

/// A consent that became a grant.
pub struct NewGrant<'a> {
    /// Whose creator it becomes.
    pub project: ProjectId,
    /// What the platform gave.
    pub grant: &'a Grant,
    /// The scopes that were asked for.
    pub requested: &'a Scopes,
    /// When the code was exchanged.
    pub exchanged: Instant,
    /// The client's own name for the creator.
    pub external_ref: Option<&'a str>,
    /// Who began the consent, as the log calls them.
    pub begun_by: Option<&'a str>,
}

impl Tokens {
    /// Tokens of the TikTok app with the client key `app`.
    pub fn new(store: Store, tiktok: TikTok, keyring: Arc<KeyRing>, app: impl Into<String>) -> Self {
        measure::describe();
        Self(Arc::new(Inner { store, tiktok, keyring, app: app.into(), renewals: TaskTracker::new() }))
    }

    /// A token that has not lived more than 80 % of its life, renewed if it must be. If the platform is down while the
    /// stored token still lives, that one.
    pub async fn usable(&self, id: CredentialId) -> Result<UsableToken, TokenError> {
        self.usable_as_read(self.0.store.credential(id).await?.ok_or(TokenError::Gone)?).await
    }

    /// The same for tokens that were just read.
    pub async fn usable_as_read(&self, credential: Credential) -> Result<UsableToken, TokenError> {
        let credential = alive(credential)?;
        let id = credential.id;
        if !is_due(&credential) {
            return self.open(&credential).await;
        }
        let alive = !expires_within(&credential, Duration::ZERO);
        let wait = if alive { EARLY_RENEW_WAIT } else { RENEW_WAIT };
        match self.renew(id, renew::Renews::Due, wait).await {
            Err(error @ (TokenError::Platform(_) | TokenError::Busy)) if alive => {
                tracing::warn!(credential = %id, %error, "the access token is not renewed yet, and still lives");
                self.open(&credential).await
            }
            renewed => renewed,
        }
    }

    /// A newer token than the one of `refused`, which the platform did not accept: the one that somebody has stored in the
    /// meantime, or a new one.
    pub async fn renewed(&self, id: CredentialId, refused: i64) -> Result<UsableToken, TokenError> {
        self.renew(id, renew::Renews::Refused(refused), RENEW_WAIT).await
    }

    /// The platform has refused even a fresh token: declares the pair of that version dead, and no newer one. Gives the
    /// reason to stop with, or nothing if there is a newer pair to try.
    pub async fn give_up(
        &self,
        id: CredentialId,
        version: i64,
        reason: &str,
        log_id: Option<&str>,
    ) -> Result<(), TokenError> {
        if self.0.store.mark_dead(id, version, reason).await? {
            tracing::info!(credential = %id, reason, "the platform refuses the tokens for good");
            return Err(TokenError::Dead { reason: reason.to_owned(), log_id: log_id.map(str::to_owned) });
        }
        Ok(())
    }

    /// Stores what a consent gave, with its creator and the first sync. A renewal or a revocation of the same account that
    /// is on its way is awaited first, so that it can't harm the new grant. A Postgres that is away for a moment is
    /// awaited too: a code is exchanged once only.
    pub async fn connect(&self, new: &NewGrant<'_>, trace: Option<&str>) -> Result<Connected, TokenError> {
        let lease_owner = Uuid::new_v4();
        let deadline = Instant::now() + STORE_WAIT;
        loop {
            match self.connect_once(new, lease_owner, trace).await {
                Err(TokenError::Store(error)) if error.is_unavailable() && Instant::now() < deadline => {
                    tracing::warn!(%error, "a new connection waits for Postgres");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn connect_once(
        &self,
        new: &NewGrant<'_>,
        lease_owner: Uuid,
        trace: Option<&str>,
    ) -> Result<Connected, TokenError> {
        let account =
            Account { platform: Platform::Tiktok, app: self.0.app.clone(), external_id: new.grant.external_id.clone() };
        if !self.lease_account(&account, lease_owner, CONNECT_WAIT).await? {
            // A grant in hand is not thrown away. What the holder does to it, the next sync finds out.
            tracing::warn!("connecting an account whose tokens are still in use elsewhere");
        }
        let connection = NewConnection {
            project: new.project,
            pair: self.seal_pair(&account, new.grant, &Scopes::default()),
            account,
            granted_at: self.0.store.now().await? - new.exchanged.elapsed(),
            missing_scopes: new.requested.missing_from(&new.grant.scopes).to_string(),
            external_ref: new.external_ref.map(str::to_owned),
            begun_by: new.begun_by.map(str::to_owned),
            lease_owner,
        };
        // It only makes the transaction that follows shorter. The code is spent by now: this must not fail the consent.
        if let Err(error) = self.erase_leaving(&connection).await {
            tracing::debug!(%error, "what is on its way out is left to its disconnect");
        }
        Ok(self.0.store.connect(&connection, trace).await?)
    }

    /// Erases what it can, within a while, of who is on the way out and would go with this connection's transaction.
    async fn erase_leaving(&self, new: &NewConnection) -> Result<(), StoreError> {
        let began = Instant::now();
        for creator in self.0.store.leaving_creators(new.project, &new.account).await? {
            let mut after = None;
            while began.elapsed() < ERASE_FOR {
                after = self.0.store.erase_video_history(creator, after.as_deref()).await?;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Waits for the renewals that are under way: before the process ends, so that no fetched pair is lost.
    pub async fn settle(&self) {
        self.0.renewals.close();
        self.0.renewals.wait().await;
        self.0.renewals.reopen();
    }

    /// Runs `work` to its end, whoever waits for it: a job may be stopped between two steps that belong together. It is
    /// awaited by [`Tokens::settle`].
    pub async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, TokenError> {
        self.0
            .renewals
            .spawn(work.in_current_span())
            .await
            .map_err(|error| if error.is_panic() { TokenError::Panicked } else { TokenError::Interrupted })
    }

    async fn stored(&self, id: CredentialId) -> Result<Credential, TokenError> {
        alive(self.0.store.credential(id).await?.ok_or(TokenError::Gone)?)
    }
}

/// A credential that the platform has not refused for good.
fn alive(mut credential: Credential) -> Result<Credential, TokenError> {
    match credential.dead_reason.take() {
        Some(reason) => Err(TokenError::Dead { reason, log_id: None }),
        None => Ok(credential),
    }
}

/// Whether the access token has lived 80 % of the life that the platform gave it. All times are by Postgres's clock.
fn is_due(credential: &Credential) -> bool {
    let life = credential.access_expires_at - credential.issued_at;
    credential.read_at - credential.issued_at >= life * 4 / 5
}

/// Whether the access token will have expired by then.
fn expires_within(credential: &Credential, margin: Duration) -> bool {
    let left = credential.access_expires_at - credential.read_at;
    left <= TimeDelta::from_std(margin).unwrap_or(TimeDelta::MAX)
}
