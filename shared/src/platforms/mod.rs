//! What every platform speaks: a grant, a profile, a page of videos. What only one knows stays in its own folder.

pub mod tiktok;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::sql_types::Text;
use secrecy::SecretString;
use strum::{AsRefStr, Display, EnumString, VariantArray};
use tokio::sync::watch;

use crate::queue::{Telling, Waiting};
use crate::turns::{Group, Spent};

/// Where a creator's account lives. The names are the contract's.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, AsRefStr, Display, EnumString, FromSqlRow, VariantArray,
)]
#[strum(serialize_all = "UPPERCASE")]
#[diesel(sql_type = Text)]
pub enum Platform {
    /// TikTok, by Login Kit and the Display API.
    Tiktok,
    /// Instagram; no creator can be connected yet.
    Instagram,
    /// YouTube; no creator can be connected yet.
    Youtube,
}

/// What a call is made with. Never shown: `SecretString` has no telling `Debug`, and is wiped when dropped.
#[derive(Debug, Clone)]
pub struct AccessToken(pub SecretString);

/// What a new pair of tokens is fetched with.
#[derive(Debug, Clone)]
pub struct RefreshToken(pub SecretString);

/// The scopes that a creator granted, or that the app asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<String>);

impl Scopes {
    /// Reads a list separated by commas; spaces around a name are dropped, empty names too.
    pub fn parse(list: &str) -> Self {
        Self(list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// Whether `scope` is among them.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// Those of `self` that `granted` lacks, in order.
    #[must_use]
    pub fn missing_from(&self, granted: &Self) -> Self {
        Self(self.0.difference(&granted.0).cloned().collect())
    }

    /// Those of `self` that `other` has too, in order.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<'a> FromIterator<&'a str> for Scopes {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        Self(names.into_iter().map(str::to_owned).collect())
    }
}

/// Separated by commas, as platforms and the store write them.
impl std::fmt::Display for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, name) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// A pair of tokens as the platform gave it. Lifetimes are the platform's words, never constants.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The account, by the platform's id (TikTok: `open_id`).
    pub external_id: String,
    /// The access token.
    pub access: AccessToken,
    /// How long the access token lives from now.
    pub access_expires_in: Duration,
    /// The refresh token; absent where an answer left it out or empty.
    pub refresh: Option<RefreshToken>,
    /// How long the refresh token lives from now.
    pub refresh_expires_in: Option<Duration>,
    /// What the creator granted. Empty where a refresh did not say: then what is stored still holds.
    pub scopes: Scopes,
}

/// For whom a request is made: it decides the turn at the platform's budget.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whether somebody waits for the answer; may turn true while the request waits for its turn.
    pub interactive: watch::Receiver<bool>,
    /// How long each request may wait for its turn; as long as it takes, if `None`.
    pub max_wait: Option<Duration>,
    /// Whose turn at the budget each request takes.
    pub group: Option<Group>,
    /// Counts the requests.
    pub spent: Spent,
    /// Through which each request waits for its turn.
    pub waiting: Waiting,
    /// How long each answer may take, if less than the platform's client allows anyway.
    pub timeout: Option<Duration>,
    /// Counts the time from sending to answers, without the wait for turns.
    pub answering: Elapsed,
    /// Tells of a wait for a turn, if somebody watches.
    pub telling: Telling,
}

/// Adds up time. All clones count together.
#[derive(Debug, Clone, Default)]
pub struct Elapsed(Arc<AtomicU64>);

impl Elapsed {
    /// Awaits `work` to its end and counts how long it took.
    pub async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(took, Ordering::Relaxed);
        done
    }

    /// The sum, to the microsecond.
    pub fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

impl Caller {
    /// Somebody waits, and goes before all scheduled and bulk work.
    pub fn interactive(max_wait: Option<Duration>) -> Self {
        // The sender may go: nothing is more urgent than this already is.
        Self {
            interactive: watch::channel(true).1,
            max_wait,
            group: None,
            spent: Spent::default(),
            waiting: Waiting::default(),
            timeout: None,
            answering: Elapsed::default(),
            telling: Telling::default(),
        }
    }
}

/// A creator's profile and counters; what the platform did not say is `None`, never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// The account, by the platform's id, where the platform repeated it.
    pub external_id: Option<String>,
    /// The handle.
    pub username: Option<String>,
    /// The name that people see.
    pub display_name: Option<String>,
    /// The text about themselves.
    pub bio: Option<String>,
    /// A picture; the link may expire.
    pub avatar_url: Option<String>,
    /// The profile's page.
    pub profile_url: Option<String>,
    /// Whether the platform vouches for the account.
    pub verified: Option<bool>,
    /// Followers.
    pub followers: Option<i64>,
    /// Accounts that the creator follows.
    pub following: Option<i64>,
    /// Likes over all videos.
    pub likes: Option<i64>,
    /// Public videos.
    pub video_count: Option<i64>,
}

/// A video and its counters; what the platform did not say is `None`, never zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video {
    /// The platform's id.
    pub external_id: String,
    /// Its title.
    pub title: Option<String>,
    /// The text under it.
    pub description: Option<String>,
    /// Its page.
    pub url: Option<String>,
    /// Its cover picture; the link may expire.
    pub cover_url: Option<String>,
    /// Seconds.
    pub duration: Option<i64>,
    /// Views.
    pub views: Option<i64>,
    /// Likes.
    pub likes: Option<i64>,
    /// Comments.
    pub comments: Option<i64>,
    /// Shares.
    pub shares: Option<i64>,
    /// When it was published.
    pub published_at: DateTime<Utc>,
}

/// One page of a creator's videos.
#[derive(Debug, Clone)]
pub struct VideoPage {
    /// The videos, newest first. A page may repeat videos of the page before it: tell them apart by their id.
    pub videos: Vec<Video>,
    /// What comes after this page.
    pub next: Next,
}

/// What comes after a page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Another page.
    Page(PageCursor),
    /// Nothing: every video was listed, so one that was not is gone.
    End,
    /// Nothing, but the platform did not list all: it led in a circle, or something was skipped or unreadable. What was
    /// listed is true; what was not may still be there.
    Broken,
}

/// Where a page of a platform's listing starts: opaque to all but that platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageCursor(pub String);

/// Why a call to a platform did not give what was asked. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// The access token is refused: refresh once and try once more.
    #[error("the access token is refused{}", under(.log_id.as_deref()))]
    TokenInvalid {
        /// The platform's own id of the exchange.
        log_id: Option<String>,
    },
    /// The refresh token or the code is refused for good: the creator must connect again.
    #[error("the grant is refused: {message}{}", under(.log_id.as_deref()))]
    GrantDead {
        /// The platform's words.
        message: String,
        /// The platform's own id of the exchange.
        log_id: Option<String>,
    },
    /// The creator did not grant a scope that this needs; a refresh does not help.
    #[error("a scope of {scopes} is missing: {message}{}", under(.log_id.as_deref()))]
    ScopeMissing {
        /// Those that the platform named, or else all that it may be: ask again for less by leaving them out. Never empty.
        scopes: Scopes,
        /// The platform's words.
        message: String,
        /// The platform's own id of the exchange.
        log_id: Option<String>,
    },
    /// Too many requests: another program shares the app, or the quota is set too high.
    #[error("too many requests{}", under(.log_id.as_deref()))]
    RateLimited {
        /// How long the platform asked to wait, if it said.
        retry_after: Option<Duration>,
        /// The platform's own id of the exchange.
        log_id: Option<String>,
    },
    /// It failed in a way that may pass: out of reach, too slow, a 5xx, an answer that is not one.
    #[error("the platform failed: {message}{}", under(.log_id.as_deref()))]
    Unavailable {
        /// What happened.
        message: String,
        /// The platform's own id of the exchange.
        log_id: Option<String>,
    },
    /// The platform refuses the request itself: a bug here or a wrong setting, not the creator's fault.
    #[error("the platform refuses the request: {code}: {message}{}", under(.log_id.as_deref()))]
    Rejected {
        /// The platform's code.
        code: String,
        /// The platform's words.
        message: String,
        /// The platform's own id of the exchange.
        log_id: Option<String>,
    },
    /// The budget has no turn for this request yet; nothing was sent.
    #[error("no request may be sent for another {}", humantime::format_duration(*.retry_in))]
    NoBudget {
        /// When to come back.
        retry_in: Duration,
    },
    /// The endpoint has failed for everybody, and is not called until a look at it has shown better; nothing was sent.
    #[error("the platform is out of order: no request may be sent for another {}", humantime::format_duration(*.retry_in))]
    Held {
        /// When to come back.
        retry_in: Duration,
    },
    /// Nobody can say what is left of the budget: Redis or Postgres is out of reach. Nothing was sent.
    #[error("the budget can't be read")]
    BudgetUnavailable,
}

/// The end of an error's words: under which id the platform knows of it, if it gave one.
fn under(log_id: Option<&str>) -> String {
    log_id.map_or_else(String::new, |log_id| format!(" (log id {log_id})"))
}

impl PlatformError {
    /// One word for it, as the metrics say it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TokenInvalid { .. } => "token_invalid",
            Self::GrantDead { .. } => "grant_dead",
            Self::ScopeMissing { .. } => "scope_missing",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Rejected { .. } => "rejected",
            Self::NoBudget { .. } => "no_budget",
            Self::Held { .. } => "held",
            Self::BudgetUnavailable => "budget_unavailable",
        }
    }

    /// The platform's own id of the exchange, where there was one and the platform gave it.
    pub fn log_id(&self) -> Option<&str> {
        match self {
            Self::TokenInvalid { log_id }
            | Self::GrantDead { log_id, .. }
            | Self::ScopeMissing { log_id, .. }
            | Self::RateLimited { log_id, .. }
            | Self::Unavailable { log_id, .. }
            | Self::Rejected { log_id, .. } => log_id.as_deref(),
            Self::NoBudget { .. } | Self::Held { .. } | Self::BudgetUnavailable => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_platforms_id_only_where_there_is_one() {
        let error =
            |log_id: Option<&str>| PlatformError::TokenInvalid { log_id: log_id.map(str::to_owned) }.to_string();
        assert_eq!(error(Some("2026A")), "the access token is refused (log id 2026A)");
        assert_eq!(error(None), "the access token is refused");
    }
}
