//! API keys: how one is made, checked and stored.
//!
//! `mlk_`, 28 random characters, 6 of checksum: all base62. The checksum refuses a mistyped key without a look-up. Only a
//! SHA-256 is stored, unsalted and fast, which is enough for 166 random bits; and a prefix, for people to tell keys apart.

use std::fmt;

use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

const TAG: &str = "mlk_";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 28 × log2(62) = 166.7 random bits; the contract asks for 160.
const RANDOM_CHARS: usize = 28;
/// 62^6 > 2^32: room for every CRC-32.
const CHECKSUM_CHARS: usize = 6;
const KEY_CHARS: usize = TAG.len() + RANDOM_CHARS + CHECKSUM_CHARS;

/// A key in the clear, its checksum good: a caller's, or one that was just made. Whether it is known is the store's word.
#[derive(Clone)]
pub struct ApiKey(SecretString);

/// The text is no key of ours: another shape, or mistyped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an API key, or mistyped")]
pub struct MalformedApiKey;

impl ApiKey {
    /// The length of [`ApiKey::prefix`], which people may see: 8 random characters, which leaves 119 bits unknown.
    pub const PREFIX_CHARS: usize = TAG.len() + 8;

    /// A new random key.
    pub fn generate() -> Self {
        let mut rng = rand::rng();
        let mut key = TAG.to_owned();
        key.extend((0..RANDOM_CHARS).map(|_| base62_digit(rng.random_range(0..62))));
        key.push_str(&checksum(&key));
        Self(SecretString::from(key))
    }

    /// Reads a key as a client sends it. Refuses what the checksum does not match: any one changed character, any two
    /// neighbours swapped, and all but one in four thousand million of anything else.
    pub fn parse(text: &str) -> Result<Self, MalformedApiKey> {
        let shaped = text.len() == KEY_CHARS
            && text.strip_prefix(TAG).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let (body, sum) = text.split_at_checked(KEY_CHARS - CHECKSUM_CHARS).ok_or(MalformedApiKey)?;
        if shaped && checksum(body) == sum { Ok(Self(SecretString::from(text))) } else { Err(MalformedApiKey) }
    }

    /// What is stored, and what a key is looked up by.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret()).into()
    }

    /// The key's first characters, for people to tell it from others.
    pub fn prefix(&self) -> &str {
        self.0.expose_secret().get(..Self::PREFIX_CHARS).unwrap_or_default()
    }

    /// The whole key, to be shown once, when it is made.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Shows the prefix alone.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}…)", self.prefix())
    }
}

/// CRC-32 (ISO 3309) in base62, padded. Any burst of up to 32 bits changes it, so any one to four neighbouring characters.
fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = ['0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = base62_digit(rest % 62);
        rest /= 62;
    }
    digits.iter().collect()
}

/// The digit for a value below 62.
fn base62_digit(value: u32) -> char {
    usize::try_from(value).ok().and_then(|at| BASE62.get(at)).copied().map_or('0', char::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn one_changed_character_is_refused(at in 0..KEY_CHARS, other in any::<char>()) {
            let key = ApiKey::generate();
            let mut chars: Vec<char> = key.expose().chars().collect();
            prop_assume!(chars[at] != other);
            chars[at] = other;
            prop_assert!(ApiKey::parse(&String::from_iter(chars)).is_err());
        }

        #[test]
        fn two_swapped_neighbours_are_refused(at in 0..KEY_CHARS - 1) {
            let key = ApiKey::generate();
            let mut chars: Vec<char> = key.expose().chars().collect();
            prop_assume!(chars[at] != chars[at + 1]);
            chars.swap(at, at + 1);
            prop_assert!(ApiKey::parse(&String::from_iter(chars)).is_err());
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "\\PC*|mlk_[0-9A-Za-z]{34}|mlk_.{34}") {
            prop_assert!(ApiKey::parse(&text).is_err());
        }
    }

    #[test]
    fn every_base62_change_at_every_place_is_refused() {
        let key = ApiKey::generate();
        for at in 0..KEY_CHARS {
            for other in BASE62.iter().copied().map(char::from) {
                let mut chars: Vec<char> = key.expose().chars().collect();
                if chars[at] != other {
                    chars[at] = other;
                    assert!(ApiKey::parse(&String::from_iter(chars)).is_err());
                }
            }
        }
    }

    #[test]
    fn a_key_survives_its_own_text() {
        let key = ApiKey::generate();
        let again = ApiKey::parse(key.expose()).expect("a good key");
        assert_eq!(again.hash(), key.hash());
        assert_eq!(key.expose().len(), KEY_CHARS);
        assert!(key.expose().starts_with(key.prefix()) && key.prefix().starts_with("mlk_"));
        // 62^28 > 2^166, and the contract asks for 160 bits.
        assert!(key.expose().len() - "mlk_".len() - CHECKSUM_CHARS >= 28);
    }

    #[test]
    fn missing_and_added_characters_are_refused() {
        let key = ApiKey::generate();
        assert!(ApiKey::parse(&key.expose()[..KEY_CHARS - 1]).is_err());
        assert!(ApiKey::parse(&format!("{}0", key.expose())).is_err());
        assert!(ApiKey::parse(&format!(" {}", key.expose())).is_err());
        assert!(ApiKey::parse("").is_err());
    }

    #[test]
    fn keys_differ_and_the_digits_are_even() {
        let keys: Vec<ApiKey> = (0..2_000).map(|_| ApiKey::generate()).collect();
        assert_eq!(keys.iter().map(ApiKey::hash).collect::<HashSet<_>>().len(), keys.len());
        for digit in BASE62.iter().copied().map(char::from) {
            let random = |key: &ApiKey| key.expose()[TAG.len()..TAG.len() + RANDOM_CHARS].to_owned();
            let seen = keys
                .iter()
                .flat_map(|key| random(key).chars().collect::<Vec<_>>())
                .filter(|seen| *seen == digit)
                .count();
            // 2,000 × 28 ÷ 62 = 903 on the average, with a deviation of 30.
            assert!((650..1_160).contains(&seen), "{digit} came {seen} times");
        }
    }

    #[test]
    fn debug_tells_the_prefix_alone() {
        let key = ApiKey::generate();
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("ApiKey({}…)", key.prefix()));
    }
}
