//! What an API key may do.

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::sql_types::{Array, Text};
use strum::{AsRefStr, Display, EnumIter, EnumString, IntoEnumIterator as _};

/// One thing that a key may be allowed to do. The names are stored, and seen by clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr, Display, EnumIter, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum KeyScope {
    /// Read creators, their videos and history, jobs and batches.
    Read,
    /// Begin a consent, at whose end a creator is connected.
    Connect,
    /// Sync creators, and say how often the schedule does.
    Sync,
    /// Disconnect creators.
    Disconnect,
}

impl KeyScope {
    /// Its bit in [`KeyScopes`].
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes. Stored by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Array<Text>)]
pub struct KeyScopes(u8);

impl KeyScopes {
    /// Every scope that there is.
    pub fn all() -> Self {
        KeyScope::iter().collect()
    }

    /// Whether `scope` is among them.
    pub fn contains(self, scope: KeyScope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Those in it, in the order of [`KeyScope`].
    pub fn iter(self) -> impl Iterator<Item = KeyScope> {
        KeyScope::iter().filter(move |scope| self.contains(*scope))
    }

    /// Those with these names. A name that this version does not know allows nothing.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(|name| name.parse::<KeyScope>().ok()).collect()
    }

    /// Their names.
    pub fn names(self) -> Vec<String> {
        self.iter().map(|scope| scope.to_string()).collect()
    }
}

impl FromIterator<KeyScope> for KeyScopes {
    fn from_iter<I: IntoIterator<Item = KeyScope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

/// Separated by commas.
impl std::fmt::Display for KeyScopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_survive_their_names_and_unknown_ones_allow_nothing() {
        let scopes: KeyScopes = [KeyScope::Sync, KeyScope::Read].into_iter().collect();
        assert_eq!(scopes.to_string(), "read,sync");
        assert_eq!(KeyScopes::from_names(scopes.names().iter().map(String::as_str)), scopes);
        assert!(scopes.contains(KeyScope::Read) && !scopes.contains(KeyScope::Disconnect));
        assert_eq!(KeyScopes::from_names(["", "admin", "READ"]), KeyScopes::default());
        assert_eq!(KeyScopes::all().to_string(), "read,connect,sync,disconnect");
    }
}
