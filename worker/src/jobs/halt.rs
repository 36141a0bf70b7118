//! Why a job stops before it is done.

use std::time::Duration;

use shared::platforms::PlatformError;
use shared::store::StoreError;
use shared::store::jobs::Failure;
use shared::store::syncs::WriteError;
use shared::tokens::TokenError;

/// How long a job waits before it looks again at tokens that another works on.
pub(super) const BUSY: Duration = Duration::from_secs(1);
/// How long it waits for a budget that nobody can read, because Redis is away.
const NO_BUDGET: Duration = Duration::from_secs(2);
/// How long it waits after a 429 of the platform's, if the platform did not say.
const RATE_LIMITED: Duration = Duration::from_secs(5);

/// Why a job stops before it is done.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The creator is gone, or on its way out.
    Disconnected,
    /// Somebody started the job again: every write of this start is refused.
    Superseded,
    /// It has to wait for something that is no failure: not an attempt.
    NotNow(Duration),
    /// The platform is out of order: no request is sent until a look at it has shown better. What is worth an attempt to
    /// who waits, and none to all others, [`conclude`](super::conclude) knows.
    Held(Duration),
    /// It failed in a way that may pass.
    Retry(Failure),
    /// The platform refuses our requests: it passes when somebody has mended them. Nobody can wait for that, and work that is
    /// not waited for is still there then.
    Rejected(Failure),
    /// The platform refuses the creator's tokens for good.
    Refused(Failure),
    /// It failed for good.
    Fail(Failure),
    /// Postgres failed.
    Store(StoreError),
}

impl Halt {
    /// Whether another start of the job goes on from here.
    pub(super) fn comes_back(&self) -> bool {
        match self {
            Self::NotNow(_) | Self::Held(_) | Self::Retry(_) | Self::Rejected(_) => true,
            Self::Disconnected | Self::Superseded | Self::Refused(_) | Self::Fail(_) | Self::Store(_) => false,
        }
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WriteError> for Halt {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Store(error) => Self::Store(error),
            WriteError::Disconnected => Self::Disconnected,
            WriteError::Superseded => Self::Superseded,
            // Only a sync's last write says so, and `sync` lists the rest then. Anywhere else the job starts anew.
            WriteError::MoreWanted => Self::NotNow(Duration::ZERO),
        }
    }
}

impl From<PlatformError> for Halt {
    fn from(error: PlatformError) -> Self {
        match error {
            PlatformError::NoBudget { retry_in } => Self::NotNow(retry_in),
            PlatformError::Held { retry_in } => Self::Held(retry_in),
            PlatformError::BudgetUnavailable => Self::NotNow(NO_BUDGET),
            PlatformError::RateLimited { retry_after, .. } => Self::NotNow(retry_after.unwrap_or(RATE_LIMITED)),
            // A bug here or a wrong setting. It is not the creator's fault, so nothing is marked, and whoever mends it
            // finds the job still trying.
            PlatformError::Rejected { .. } => {
                tracing::error!(%error, "the platform refuses our requests: see the app's settings");
                Self::Rejected(platform_failure(&error))
            }
            _ => Self::Retry(platform_failure(&error)),
        }
    }
}

impl From<TokenError> for Halt {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Dead { reason, log_id } => Self::Refused(Failure {
                code: "reauthorization_required",
                message: format!("the platform refuses the creator's tokens: {reason}"),
                log_id,
            }),
            TokenError::Gone => Self::Disconnected,
            TokenError::Busy | TokenError::Interrupted => Self::NotNow(BUSY),
            TokenError::Panicked => Self::Retry(Failure::internal("the work on the tokens panicked")),
            TokenError::Platform(error) => error.into(),
            TokenError::Store(error) => Self::Store(error),
            TokenError::Sealed(error) => {
                tracing::error!(%error, "stored tokens do not open");
                Self::Fail(Failure::internal("the stored tokens do not open"))
            }
        }
    }
}

fn platform_failure(error: &PlatformError) -> Failure {
    Failure { code: "platform_error", message: error.to_string(), log_id: error.log_id().map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id() -> String {
        "20261124A".to_owned()
    }

    #[test]
    fn a_panic_in_a_renewal_is_a_failed_try() {
        assert!(matches!(Halt::from(TokenError::Panicked), Halt::Retry(failure) if failure.code == "internal"));
    }

    #[test]
    fn a_wait_is_no_attempt_whatever_it_is_for() {
        let retry_in = Duration::from_secs(9);
        assert!(matches!(Halt::from(PlatformError::NoBudget { retry_in }), Halt::NotNow(wait) if wait == retry_in));
        assert!(matches!(Halt::from(PlatformError::Held { retry_in }), Halt::Held(wait) if wait == retry_in));
        assert!(matches!(Halt::from(PlatformError::BudgetUnavailable), Halt::NotNow(_)));
        let limited = PlatformError::RateLimited { retry_after: Some(retry_in), log_id: None };
        assert!(matches!(Halt::from(limited), Halt::NotNow(wait) if wait == retry_in));
        assert!(matches!(Halt::from(TokenError::Busy), Halt::NotNow(_)));
    }

    #[test]
    fn a_failure_says_what_the_platform_said_and_under_which_id() {
        let message = || "internal_error: try later".to_owned();
        let down = PlatformError::Unavailable { message: message(), log_id: Some(log_id()) };
        let refused =
            PlatformError::Rejected { code: "invalid_params".to_owned(), message: message(), log_id: Some(log_id()) };
        for (error, code) in [(down, "internal_error"), (refused, "invalid_params")] {
            let (Halt::Retry(failure) | Halt::Rejected(failure)) = Halt::from(error) else { panic!("another try") };
            assert_eq!((failure.code, failure.log_id.clone()), ("platform_error", Some(log_id())));
            assert!(failure.message.contains(code) && failure.message.contains("try later"), "{}", failure.message);
        }
        let dead = TokenError::Dead { reason: "invalid_grant".to_owned(), log_id: Some(log_id()) };
        let Halt::Refused(failure) = Halt::from(dead) else { panic!("the end") };
        assert_eq!((failure.code, failure.log_id), ("reauthorization_required", Some(log_id())));
        assert!(failure.message.contains("invalid_grant"));
    }
}
