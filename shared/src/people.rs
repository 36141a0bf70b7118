//! Who uses the dashboard, and how they and their things may be called.

use std::fmt;
use std::str::FromStr;

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::sql_types::Text;
use strum::{AsRefStr, Display, EnumIter, EnumString};

/// RFC 5321, section 4.5.3.1.3: a path of 256 characters, two of which are its brackets.
const MAX_EMAIL: usize = 254;
const MAX_NAME: usize = 100;

/// What a member of a project may do. Each may do what those before it may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    AsRefStr,
    Display,
    EnumIter,
    EnumString,
    AsExpression,
    FromSqlRow,
)]
#[strum(serialize_all = "lowercase")]
#[diesel(sql_type = Text)]
pub enum Role {
    /// Sees everything but secrets, changes nothing.
    Viewer,
    /// Connects, syncs and disconnects creators, makes and revokes keys.
    Developer,
    /// Decides who is a member, and what the project is called.
    Owner,
}

/// An email address in lower case: what people sign in with. That somebody reads what is sent there is not checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Email(String);

/// The text is no email address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("this is not an email address")]
pub struct MalformedEmail;

impl FromStr for Email {
    type Err = MalformedEmail;

    /// One `@` with something on both sides, nothing that can't be seen: the rest is for the mail server to know.
    fn from_str(text: &str) -> Result<Self, MalformedEmail> {
        let email = text.trim().to_lowercase();
        let sane = email.len() <= MAX_EMAIL && !email.chars().any(|c| c.is_whitespace() || is_unseen(c));
        match email.split_once('@') {
            Some((local, domain)) if sane && !local.is_empty() && !domain.is_empty() && !domain.contains('@') => {
                Ok(Self(email))
            }
            _ => Err(MalformedEmail),
        }
    }
}

impl AsRef<str> for Email {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A character that can't be seen in one line as it is: a control character, one that turns the text around or has no width,
/// or U+FFFD, which stands for what was no UTF-8. Two names that look the same would not be the same. The joiners U+200C and
/// U+200D are parts of words and of emoji.
pub fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fffd}')
}

/// The same of names by which people tell each other apart: without what fills no place or looks like a space, either.
fn is_unseen(c: char) -> bool {
    is_unfit(c)
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffc}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}')
}

/// A name that people give to a thing: 1 to 100 characters, all of them visible. `None` if the text is none.
pub fn name(text: &str) -> Option<&str> {
    let name = text.trim();
    let sane = !name.is_empty() && name.chars().count() <= MAX_NAME && !name.chars().any(is_unseen);
    sane.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_are_read_without_regard_to_case() {
        assert_eq!(" Ada@Example.com ".parse::<Email>().unwrap().as_ref(), "ada@example.com");
        for wrong in ["", "@", "ada", "ada@", "@example.com", "a@b@c", "a b@c", "a@b\nc", "a\u{0}@b", "a\u{202e}@b"] {
            assert!(wrong.parse::<Email>().is_err(), "{wrong:?}");
        }
        assert!(format!("{}@example.com", "a".repeat(250)).parse::<Email>().is_err());
    }

    #[test]
    fn a_name_can_be_seen() {
        assert_eq!(name(" A name "), Some("A name"));
        assert_eq!(name(" \n"), None);
        assert_eq!(name("a\u{0}b"), None);
        for unseen in "\u{200b}\u{202e}\u{ad}\u{34f}\u{61c}\u{1160}\u{180e}\u{3164}\u{fff9}\u{e0041}".chars() {
            assert_eq!(name(&format!("a{unseen}b")), None, "{unseen:?}");
            assert!(format!("a{unseen}da@example.com").parse::<Email>().is_err(), "{unseen:?}");
        }
        // Parts of words and of emoji.
        assert!(name("می\u{200c}خواهم 👩\u{200d}💻 ❤\u{fe0f}").is_some());
        assert_eq!(name(&"é".repeat(100)).map(str::len), Some(200));
        assert_eq!(name(&"é".repeat(101)), None);
    }

    #[test]
    fn each_role_may_do_more_than_the_one_before() {
        assert!(Role::Viewer < Role::Developer && Role::Developer < Role::Owner);
        assert_eq!("owner".parse(), Ok(Role::Owner));
    }
}
