//! A sync's calls to the platform: one renewal of a refused token, and no attempt spent on a wait.

use std::time::Duration;

use shared::platforms::{Caller, Elapsed, PageCursor, PlatformError, Profile, Scopes, VideoPage};
use shared::queue::{Delivery, Telling, Waiting};
use shared::store::credentials::Credential;
use shared::store::jobs::Job;
use shared::store::syncs::SyncTarget;
use shared::tokens::{ACCESS_TOKEN_INVALID, TokenError, UsableToken};
use shared::turns::{Group, Spent};
use tokio::sync::watch;

use super::{Context, Halt, policy};

/// How long a call of a job that somebody waits for waits for its turn at the budget, before the job gives its slot back.
const INTERACTIVE_WAIT: Duration = Duration::from_secs(5);
/// The same for a job that nobody waits for. A whole fleet of slots can have its turn in this time.
const BULK_WAIT: Duration = Duration::from_secs(15);
/// 429s in a row after which a job gives its slot back, although it has begun.
const MOST_REFUSALS: u32 = 10;

/// What became of a page.
pub(super) enum Page {
    /// It is here.
    Videos(VideoPage),
    /// The platform says that these scopes are missing.
    ScopeMissing(Scopes),
    /// The platform refuses a request with this cursor.
    CursorRefused(PlatformError),
}

/// The platform as one sync sees it.
pub(super) struct Calls<'a> {
    context: &'a Context,
    interactive: watch::Receiver<bool>,
    group: Option<Group>,
    spent: Spent,
    waiting: Waiting,
    /// Which try it is, of those that somebody waits for.
    attempt: i32,
    target: &'a SyncTarget,
    token: UsableToken,
    /// The token was refused once and renewed; the next refusal is the last.
    renewed: bool,
    /// 429s since the last good answer.
    refusals: u32,
    /// How long this start has waited for the platform's answers, its tokens' included.
    answering: Elapsed,
    /// The first page is here, and others follow: a large creator's walk takes as long as it takes.
    walks: bool,
    /// How far the sync is, for who watches.
    telling: Telling,
}

impl<'a> Calls<'a> {
    /// Opens the tokens, or renews them.
    ///
    /// The row's lane goes before the delivery's: a job that somebody waits for may come from the bulk lane all the same, if
    /// its worker died, or if it was on its way to Redis at that moment.
    pub(super) async fn new(
        context: &'a Context,
        delivery: &Delivery,
        job: &Job,
        target: &'a SyncTarget,
        tokens: Credential,
    ) -> Result<Self, Halt> {
        let waited_for = job.lane.is_interactive();
        let interactive = if waited_for { watch::channel(true).1 } else { delivery.interactive.clone() };
        let attempt = if waited_for { job.attempts } else { 1 };
        let answering = Elapsed::default();
        let limit = interactive.borrow().then(|| policy::answer_limit(attempt, answering.get()));
        // Boxed: a renewal is large, and rare.
        let token = answering.of(within(limit, Box::pin(context.tokens.usable_as_read(tokens)))).await?;
        let (group, spent) = (delivery.message.group.clone(), delivery.spent.clone());
        let waiting = delivery.waiting.clone();
        Ok(Self {
            context,
            interactive,
            group,
            spent,
            waiting,
            attempt,
            target,
            token,
            renewed: false,
            refusals: 0,
            answering,
            walks: false,
            telling: context.voice.job(job.id),
        })
    }

    pub(super) fn context(&self) -> &'a Context {
        self.context
    }

    /// How far the sync is, for who watches.
    pub(super) fn telling(&self) -> &Telling {
        &self.telling
    }

    /// Whether somebody waits for the job by now.
    pub(super) fn is_waited_for(&self) -> bool {
        *self.interactive.borrow()
    }

    /// For whom the next call is made.
    fn caller(&self) -> Caller {
        let wait = if self.is_waited_for() { INTERACTIVE_WAIT } else { BULK_WAIT };
        Caller {
            interactive: self.interactive.clone(),
            max_wait: Some(wait),
            timeout: self.limit(),
            group: self.group.clone(),
            spent: self.spent.clone(),
            waiting: self.waiting.clone(),
            answering: self.answering.clone(),
            telling: self.telling.clone(),
        }
    }

    /// How long an answer may take, if somebody waits: what the try has left, until it has come to the listing.
    fn limit(&self) -> Option<Duration> {
        let waited = if self.walks { Duration::ZERO } else { self.answering.get() };
        self.is_waited_for().then(|| policy::answer_limit(self.attempt, waited))
    }

    /// What the creator granted, by the newest token.
    pub(super) fn granted(&self) -> &Scopes {
        &self.token.scopes
    }

    /// The part of the profile that `scopes` open. `Err` are scopes that the platform says it lacks.
    pub(super) async fn profile(&mut self, scopes: &Scopes) -> Result<Result<Profile, Scopes>, Halt> {
        loop {
            match self.context.tiktok.profile(&self.token.access, scopes, &self.caller()).await {
                Ok(profile) => {
                    self.succeeded();
                    return Ok(Ok(profile));
                }
                Err(PlatformError::ScopeMissing { scopes, .. }) => return Ok(Err(scopes)),
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// A page of the listing.
    pub(super) async fn videos(&mut self, cursor: Option<&PageCursor>) -> Result<Page, Halt> {
        loop {
            match self.context.tiktok.videos(&self.token.access, cursor, &self.caller()).await {
                Ok(page) => {
                    self.succeeded();
                    self.walks = true;
                    return Ok(Page::Videos(page));
                }
                Err(PlatformError::ScopeMissing { scopes, .. }) => return Ok(Page::ScopeMissing(scopes)),
                Err(error @ PlatformError::Rejected { .. }) if cursor.is_some() => {
                    return Ok(Page::CursorRefused(error));
                }
                Err(error) => self.recover(error).await?,
            }
        }
    }

    fn succeeded(&mut self) {
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
        let (tokens, credential, version) = (&self.context.tokens, self.target.credential, self.token.version);
        if self.renewed {
            tokens.give_up(credential, version, ACCESS_TOKEN_INVALID, refused.log_id()).await?;
            // There is a newer pair that this start has not tried: the next one will.
            return Err(refused.into());
        }
        self.token = match self.answering.of(within(self.limit(), Box::pin(tokens.renewed(credential, version)))).await
        {
            // There was nothing to renew it with: then this refusal was the last word.
            Err(Halt::Fail(mut failure)) => {
                failure.log_id = failure.log_id.or_else(|| refused.log_id().map(str::to_owned));
                return Err(Halt::Fail(failure));
            }
            renewed => renewed?,
        };
        self.renewed = true;
        Ok(())
    }
}

/// Waits for a token no longer than for another answer. A renewal goes on by itself, and its pair is saved: the next try finds
/// it.
async fn within(
    limit: Option<Duration>,
    token: impl Future<Output = Result<UsableToken, TokenError>>,
) -> Result<UsableToken, Halt> {
    let Some(limit) = limit else { return Ok(token.await?) };
    tokio::time::timeout(limit, token)
        .await
        .unwrap_or_else(|_| {
            let message = "the tokens were not renewed in time".to_owned();
            Err(TokenError::Platform(PlatformError::Unavailable { message, log_id: None }))
        })
        .map_err(Halt::from)
}
