//! A sync's calls to the platform: one renewal of a refused token, and no attempt spent on a wait.

use std::time::Duration;

use shared::ids::CredentialId;
use shared::platforms::{Caller, PageCursor, PlatformError, Profile, Scopes, VideoPage};
use shared::queue::{Delivery, Lane};
use shared::tokens::{ACCESS_TOKEN_INVALID, UsableToken};

use tokio::sync::watch;

use super::{Context, Halt};

/// How long a job waits for its first turn at the budget before it gives its slot back.
const INTERACTIVE_WAIT: Duration = Duration::from_secs(5);
/// The same for a job that nobody waits for. A whole fleet of slots can wait for its turn in this time.
const BULK_WAIT: Duration = Duration::from_secs(15);
/// The same for its later turns: two of the platform's windows, by when every turn has come that no pause puts off.
const LATER_WAIT: Duration = Duration::from_secs(120);
/// 429s in a row after which a job gives its slot back, although it has begun.
const MOST_REFUSALS: u32 = 10;

/// The platform as one sync sees it.
pub(super) struct Calls<'a> {
    context: &'a Context,
    caller: Caller,
    credential: CredentialId,
    token: UsableToken,
    /// The token was refused once and renewed; the next refusal is the last.
    renewed: bool,
    /// 429s since the last good answer.
    refusals: u32,
}

impl<'a> Calls<'a> {
    /// The row's lane goes before the delivery's: a job that somebody waits for may come from the bulk lane all the same, if
    /// its worker died, or if it was on its way to Redis at that moment.
    pub(super) fn new(
        context: &'a Context,
        delivery: &Delivery,
        lane: Lane,
        credential: CredentialId,
        token: UsableToken,
    ) -> Self {
        let interactive = if lane.is_interactive() { watch::channel(true).1 } else { delivery.interactive.clone() };
        let wait = if *interactive.borrow() { INTERACTIVE_WAIT } else { BULK_WAIT };
        let (group, spent) = (delivery.message.group.clone(), delivery.spent.clone());
        let caller = Caller { interactive, max_wait: Some(wait), group, spent };
        Self { context, caller, credential, token, renewed: false, refusals: 0 }
    }

    pub(super) fn context(&self) -> &'a Context {
        self.context
    }

    /// Whether somebody waits for the job by now.
    pub(super) fn is_waited_for(&self) -> bool {
        *self.caller.interactive.borrow()
    }

    /// What the creator granted, by the newest token.
    pub(super) fn granted(&self) -> &Scopes {
        &self.token.scopes
    }

    /// The part of the profile that `scopes` open. `Err` are scopes that the platform says it lacks.
    pub(super) async fn profile(&mut self, scopes: &Scopes) -> Result<Result<Profile, Scopes>, Halt> {
        loop {
            match self.context.tiktok.profile(&self.token.access, scopes, &self.caller).await {
                Ok(profile) => {
                    self.succeeded();
                    return Ok(Ok(profile));
                }
                Err(PlatformError::ScopeMissing { scopes, .. }) => return Ok(Err(scopes)),
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// A page of the listing. `Err` are scopes that the platform says it lacks.
    pub(super) async fn videos(&mut self, cursor: Option<&PageCursor>) -> Result<Result<VideoPage, Scopes>, Halt> {
        loop {
            match self.context.tiktok.videos(&self.token.access, cursor, &self.caller).await {
                Ok(page) => {
                    self.succeeded();
                    return Ok(Ok(page));
                }
                Err(PlatformError::ScopeMissing { scopes, .. }) => return Ok(Err(scopes)),
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// From the first answer on the job waits longer for its turn: what it has read already would have to be read, and paid
    /// for, again. Not for ever: a long pause that the platform asks for is no reason to hold a slot.
    fn succeeded(&mut self) {
        self.caller.max_wait = Some(LATER_WAIT);
        self.refusals = 0;
        // What was renewed works: if it is refused later, it is worth another renewal.
        self.renewed = false;
    }

    /// Makes the same call worth another try, or says why the job stops.
    async fn recover(&mut self, error: PlatformError) -> Result<(), Halt> {
        match error {
            // Another program shares the app. The endpoint pauses, and the next turn comes when that is over.
            PlatformError::RateLimited { .. } if self.refusals < MOST_REFUSALS => {
                self.refusals += 1;
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
            tokens.give_up(self.credential, version, ACCESS_TOKEN_INVALID).await?;
            // There is a newer pair that this start has not tried: the next one will.
            return Err(refused.into());
        }
        self.token = tokens.renewed(self.credential, version).await?;
        self.renewed = true;
        Ok(())
    }
}
