//! The time span that a creator's page is about.

use chrono::{DateTime, TimeDelta, Utc};
use strum::{AsRefStr, EnumString, VariantArray};

/// A time span that ends now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, AsRefStr, EnumString, VariantArray)]
pub enum Period {
    /// Thirty days.
    #[default]
    #[strum(serialize = "30d")]
    Month,
    /// Ninety days.
    #[strum(serialize = "90d")]
    Quarter,
    /// 365 days.
    #[strum(serialize = "1y")]
    Year,
    /// As far back as anything is recorded.
    #[strum(serialize = "all")]
    All,
}

impl Period {
    /// When it begins; `None`: at the first thing that is known.
    pub fn from(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let days = match self {
            Self::Month => 30,
            Self::Quarter => 90,
            Self::Year => 365,
            Self::All => return None,
        };
        now.checked_sub_signed(TimeDelta::days(days))
    }

    /// Its name on a link.
    pub fn name(self) -> &'static str {
        match self {
            Self::Month => "30 days",
            Self::Quarter => "90 days",
            Self::Year => "1 year",
            Self::All => "All",
        }
    }

    /// Its name at the end of a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::Month => "in the last 30 days",
            Self::Quarter => "in the last 90 days",
            Self::Year => "in the last year",
            Self::All => "since the beginning",
        }
    }
}
