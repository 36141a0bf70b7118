//! The scopes of TikTok that this stand-in knows.

use serde::{Deserialize, Serialize};

/// One permission. The app of the sandbox may ask for no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scope {
    #[serde(rename = "user.info.basic")]
    Basic,
    #[serde(rename = "user.info.profile")]
    Profile,
    #[serde(rename = "user.info.stats")]
    Stats,
    #[serde(rename = "video.list")]
    VideoList,
}

impl Scope {
    pub(crate) const ALL: [Self; 4] = [Self::Basic, Self::Profile, Self::Stats, Self::VideoList];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "user.info.basic",
            Self::Profile => "user.info.profile",
            Self::Stats => "user.info.stats",
            Self::VideoList => "video.list",
        }
    }

    /// What the consent page says about it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Basic => "Read your name and picture",
            Self::Profile => "Read your username, bio and profile link",
            Self::Stats => "Read your followers, likes and number of videos",
            Self::VideoList => "Read your public videos",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Basic => 1,
            Self::Profile => 2,
            Self::Stats => 4,
            Self::VideoList => 8,
        }
    }
}

/// A set of scopes, in TikTok's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub(crate) struct Scopes(u8);

impl Scopes {
    pub(crate) fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Reads a comma-separated list; `None` if any member is not a scope of ours (a space-joined list is one unknown
    /// member, as at TikTok).
    pub(crate) fn parse(list: &str) -> Option<Self> {
        list.split(',').map(|name| Scope::ALL.into_iter().find(|scope| scope.as_str() == name)).collect()
    }

    pub(crate) fn from_bits(bits: u8) -> Self {
        Self(bits & 15)
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    pub(crate) fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// Comma-separated.
    pub(crate) fn join(self) -> String {
        self.iter().map(Scope::as_str).collect::<Vec<_>>().join(",")
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_comma_separates() {
        assert_eq!(
            Scopes::parse("user.info.basic,video.list").map(Scopes::join).as_deref(),
            Some("user.info.basic,video.list")
        );
        for refused in
            ["", "user.info.basic video.list", "user.info.basic, video.list", "video.publish", "user.info.basic,"]
        {
            assert_eq!(Scopes::parse(refused), None, "{refused:?}");
        }
    }
}
