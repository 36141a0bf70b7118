//! The lease of an account's tokens: who has it may renew, revoke or replace them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::Rng as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::{TokenError, Tokens, measure};
use crate::ids::CredentialId;
use crate::store::credentials::{Account, Credential, Lease};

/// How long a lease lasts: a call to the platform's token endpoint, which takes at most 10 s, what it may wait for its turn
/// before (2 s), and what is written after it. One that ends too soon does no harm that a saved pair does not heal.
const TERM: Duration = Duration::from_secs(14);
/// The first and the longest pause between two looks at a lease that another holds.
const POLLS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// The lease of a credential. It ends by [`Tokens::release`], with the row, or by itself after 14 s. Not when it is dropped:
/// a call that was cut off may still be on its way to the platform, and nobody may connect the account before it is there.
pub struct Hold {
    /// The tokens as they were when the lease was taken.
    pub(super) credential: Credential,
    owner: Uuid,
}

impl Hold {
    /// Who holds it, for the store's check.
    pub fn owner(&self) -> Uuid {
        self.owner
    }

    /// Whose tokens they are.
    pub fn account(&self) -> Account {
        self.credential.account()
    }

    /// Of which consent they were when the lease was taken: a renewal keeps it, a new connection does not.
    pub fn granted_at(&self) -> DateTime<Utc> {
        self.credential.granted_at
    }
}

impl Tokens {
    /// Takes the lease of a credential, waiting at most `wait` for who has it.
    pub async fn hold(&self, id: CredentialId, wait: Duration) -> Result<Hold, TokenError> {
        let began = Instant::now();
        let held = self.try_hold(id, wait).await;
        measure::waited_for_lease(began.elapsed());
        held
    }

    async fn try_hold(&self, id: CredentialId, wait: Duration) -> Result<Hold, TokenError> {
        let owner = Uuid::new_v4();
        let mut polls = Polls::new(wait);
        loop {
            match self.0.store.lease_credential(id, owner, TERM).await? {
                Lease::Taken(credential) => return Ok(Hold { credential: *credential, owner }),
                Lease::Held if polls.pause().await => {}
                Lease::Held => return Err(TokenError::Busy),
                Lease::NoCredential => return Err(TokenError::Gone),
            }
        }
    }

    /// Begins the lease's term anew, before one more call to the platform. `Busy`: it is another's by now, or was.
    pub(super) async fn extend(&self, hold: &Hold) -> Result<(), TokenError> {
        let extended = self.0.store.extend_lease(hold.credential.id, hold.owner, TERM).await?;
        if extended { Ok(()) } else { Err(TokenError::Busy) }
    }

    /// Whether the lease is still the holder's, so that nobody has changed the account's tokens since it was taken.
    pub async fn still_holds(&self, hold: &Hold) -> Result<bool, TokenError> {
        match self.extend(hold).await {
            Ok(()) => Ok(true),
            Err(TokenError::Busy) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the lease back. If that fails it ends by itself.
    pub async fn release(&self, hold: Hold) {
        if let Err(error) = self.0.store.release_lease(hold.credential.id, hold.owner).await {
            tracing::debug!(credential = %hold.credential.id, %error, "a lease is left to expire");
        }
    }

    /// Takes the lease of an account's tokens if there are any. `false`: another still has it after `wait`.
    pub(super) async fn lease_account(
        &self,
        account: &Account,
        owner: Uuid,
        wait: Duration,
    ) -> Result<bool, TokenError> {
        let began = Instant::now();
        let mut polls = Polls::new(wait);
        let leased = loop {
            match self.0.store.lease_account(account, owner, TERM).await? {
                Lease::Held if polls.pause().await => {}
                lease => break !matches!(lease, Lease::Held),
            }
        };
        measure::waited_for_lease(began.elapsed());
        Ok(leased)
    }
}

/// The pauses of who waits for a lease, up to a deadline.
struct Polls {
    deadline: Instant,
    pause: Duration,
}

impl Polls {
    fn new(wait: Duration) -> Self {
        Self { deadline: Instant::now() + wait, pause: POLLS.0 }
    }

    /// Pauses before the next look; `false`: there is no time for another one.
    async fn pause(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        // Half of it random, so that those who wait do not look all at once.
        let jittered = self.pause.mul_f64(rand::rng().random_range(0.5..=1.0));
        tokio::time::sleep(jittered.min(self.deadline - now)).await;
        self.pause = (self.pause * 2).min(POLLS.1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::BudgetSettings;
    use crate::platforms::tiktok::OAUTH_TURN;

    #[test]
    fn a_lease_outlives_the_call_that_it_covers() {
        assert!(TERM > OAUTH_TURN + BudgetSettings::per_minute(1).request_timeout);
    }
}
