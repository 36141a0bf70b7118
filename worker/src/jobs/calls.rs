//! A sync's calls to the platform: a permit each, one renewal of a refused token, and no attempt spent on a wait.

use std::time::Duration;

use shared::budget::Permit;
use shared::ids::CredentialId;
use shared::platforms::tiktok::{USER_INFO, VIDEO_LIST};
use shared::platforms::{PageCursor, PlatformError, Profile, Scopes, VideoPage};
use shared::queue::Delivery;
use shared::tokens::UsableToken;

use super::{Context, Halt};

/// How long a job waits for its first permit before it gives its slot back. Later ones it waits for: what it has read
/// already would have to be read, and paid for, again.
const INTERACTIVE_WAIT: Duration = Duration::from_secs(5);
/// The same for a job that nobody waits for. A whole fleet of slots can wait for its turn in this time.
const BULK_WAIT: Duration = Duration::from_secs(15);

/// The platform as one sync sees it.
pub(super) struct Calls<'a> {
    context: &'a Context,
    delivery: &'a Delivery,
    credential: CredentialId,
    token: UsableToken,
    /// The token was refused once and renewed; the next refusal is the last.
    renewed: bool,
    /// A call has succeeded.
    begun: bool,
}

impl<'a> Calls<'a> {
    pub(super) fn new(
        context: &'a Context,
        delivery: &'a Delivery,
        credential: CredentialId,
        token: UsableToken,
    ) -> Self {
        Self { context, delivery, credential, token, renewed: false, begun: false }
    }

    pub(super) fn context(&self) -> &'a Context {
        self.context
    }

    /// What the creator granted, by the newest token.
    pub(super) fn granted(&self) -> &Scopes {
        &self.token.scopes
    }

    /// The profile's part that `scopes` open; `None` if the platform says that they do not.
    pub(super) async fn profile(&mut self, scopes: &Scopes) -> Result<Option<Profile>, Halt> {
        loop {
            let permit = self.permit(USER_INFO).await?;
            match self.context.tiktok.profile(&self.token.access, scopes, permit).await {
                Ok(profile) => {
                    self.begun = true;
                    return Ok(Some(profile));
                }
                Err(PlatformError::ScopeMissing { .. }) => return Ok(None),
                Err(error) => self.recover(USER_INFO, error).await?,
            }
        }
    }

    /// A page of the listing; `None` if the platform says that its scope is missing.
    pub(super) async fn videos(&mut self, cursor: Option<&PageCursor>) -> Result<Option<VideoPage>, Halt> {
        loop {
            let permit = self.permit(VIDEO_LIST).await?;
            match self.context.tiktok.videos(&self.token.access, cursor, permit).await {
                Ok(page) => {
                    self.begun = true;
                    return Ok(Some(page));
                }
                Err(PlatformError::ScopeMissing { .. }) => return Ok(None),
                Err(error) => self.recover(VIDEO_LIST, error).await?,
            }
        }
    }

    async fn permit(&self, endpoint: &'static str) -> Result<Permit, Halt> {
        let first = if *self.delivery.interactive.borrow() { INTERACTIVE_WAIT } else { BULK_WAIT };
        let max_wait = (!self.begun).then_some(first);
        loop {
            let permit = self.context.budget.permit(endpoint, self.delivery.interactive.clone(), max_wait).await?;
            if permit.fresh() {
                return Ok(permit);
            }
            permit.give_back().await;
        }
    }

    /// Makes the same call worth another try, or says why the job stops.
    async fn recover(&mut self, endpoint: &'static str, error: PlatformError) -> Result<(), Halt> {
        match error {
            // Another program shares the app. The next permit comes when the pause is over.
            PlatformError::RateLimited { retry_after, .. } => {
                self.context.budget.close(endpoint, retry_after).await;
                Ok(())
            }
            PlatformError::TokenInvalid { .. } | PlatformError::GrantDead { .. } => self.renew(error).await,
            error => Err(error.into()),
        }
    }

    async fn renew(&mut self, refused: PlatformError) -> Result<(), Halt> {
        let tokens = &self.context.tokens;
        let version = self.token.version;
        if self.renewed {
            tokens.give_up(self.credential, version, "access_token_invalid").await?;
            // There is a newer pair that this start has not tried: the next one will.
            return Err(refused.into());
        }
        self.token = tokens.renewed(self.credential, version).await?;
        self.renewed = true;
        Ok(())
    }
}
