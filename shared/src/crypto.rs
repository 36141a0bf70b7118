//! Tokens at rest: sealed with the first key of a list, opened with any.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): its nonce of 192 bits may be random at every seal. What is sealed reads
//!
//! ```text
//! 1 byte    the format's version
//! 8 bytes   the key's id
//! 24 bytes  the nonce
//! the rest  the ciphertext and its tag of 16 bytes
//! ```
//!
//! The tag also covers the version, the key's id and the row's identity, which the caller names: a value that was moved to
//! another row or column does not open.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::Rng as _;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

const FORMAT: u8 = 1;
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
/// What names the key: the version and the key's id.
pub(crate) const HEADER_BYTES: usize = 1 + KEY_ID_BYTES;
const NONCE_BYTES: usize = 24;

/// Base64 as `openssl rand -base64 32` writes it; the `=` at the end may be lost on the way through a shell.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Names a key without telling anything about it: the start of a domain-separated SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    /// Of the key that sealed this; `None` for what was not sealed here.
    pub fn that_sealed(sealed: &[u8]) -> Option<Self> {
        read_header(sealed).ok().map(|(_, id)| id)
    }

    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let hash: [u8; 32] =
            Sha256::new().chain_update(b"metriqlab encryption key id\0").chain_update(key).finalize().into();
        let mut id = [0; KEY_ID_BYTES];
        for (to, from) in id.iter_mut().zip(hash) {
            *to = from;
        }
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why `METRIQLAB_ENCRYPTION_KEY` can't be used. Never shows any of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyRingError {
    /// There is no key at all.
    #[error("METRIQLAB_ENCRYPTION_KEY is empty: make a key with `openssl rand -base64 32`")]
    Empty,
    /// A key is not base64.
    #[error("key {position} of METRIQLAB_ENCRYPTION_KEY is not base64: make one with `openssl rand -base64 32`")]
    NotBase64 {
        /// Counted from 1.
        position: usize,
    },
    /// A key is too short or too long.
    #[error(
        "key {position} of METRIQLAB_ENCRYPTION_KEY has {bytes} bytes, not 32: make one with `openssl rand -base64 32`"
    )]
    Length {
        /// Counted from 1.
        position: usize,
        /// How many bytes it has.
        bytes: usize,
    },
    /// A key stands there twice, so a rotation would change nothing.
    #[error("key {position} of METRIQLAB_ENCRYPTION_KEY stands there twice: remove one")]
    Twice {
        /// Of the second one, counted from 1.
        position: usize,
    },
}

/// Why something sealed does not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenError {
    /// It is too short, or of a format that this version does not know.
    #[error(
        "this is nothing that was sealed here, or a newer version sealed it: do not run an older version on its data"
    )]
    Format,
    /// It was sealed with a key that is not in the list.
    #[error("sealed with key {key_id}, which is not in METRIQLAB_ENCRYPTION_KEY: add that key at the end of the list")]
    UnknownKey {
        /// The key's id.
        key_id: KeyId,
    },
    /// The key is there, and the tag does not match.
    #[error(
        "sealed with key {key_id}, but changed since, or moved to another row: restore that row from a backup, or connect its creator again"
    )]
    Refused {
        /// The key's id.
        key_id: KeyId,
    },
}

struct Key {
    id: KeyId,
    /// Wipes its key when dropped.
    cipher: XChaCha20Poly1305,
}

/// The keys of `METRIQLAB_ENCRYPTION_KEY`: the first one seals, all of them open.
pub struct KeyRing {
    current: Key,
    older: Vec<Key>,
}

impl KeyRing {
    /// A new random key, as `METRIQLAB_ENCRYPTION_KEY` takes it.
    pub fn generate_key() -> SecretString {
        let key: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(rand::rng().random());
        SecretString::from(STANDARD.encode(*key))
    }

    /// Seals `plaintext` with the first key. `identity` names where it will be stored (table, row, column) and must be
    /// given again to open it.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "fails above 256 GiB alone: no token is that long"
    )]
    pub fn seal(&self, plaintext: &SecretString, identity: &str) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::rng().random();
        let mut sealed = self.header().to_vec();
        let associated = associated_data(&sealed, identity);
        let payload = Payload { msg: plaintext.expose_secret().as_bytes(), aad: &associated };
        let ciphertext = self.current.cipher.encrypt(XNonce::from_slice(&nonce), payload).expect("short enough");
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what [`seal`](Self::seal) gave, with whichever key of the list sealed it.
    pub fn open(&self, sealed: &[u8], identity: &str) -> Result<SecretString, OpenError> {
        let (header, key_id) = read_header(sealed)?;
        let key = self.keys().find(|key| key.id == key_id).ok_or(OpenError::UnknownKey { key_id })?;
        let body = sealed.get(HEADER_BYTES..).unwrap_or_default();
        let (nonce, ciphertext) = body.split_at_checked(NONCE_BYTES).ok_or(OpenError::Format)?;
        let associated = associated_data(header, identity);
        let plaintext = key
            .cipher
            .decrypt(XNonce::from_slice(nonce), Payload { msg: ciphertext, aad: &associated })
            .map_err(|_| OpenError::Refused { key_id })?;
        // What was sealed was a string: other bytes can't carry a good tag.
        String::from_utf8(plaintext).map(SecretString::from).map_err(|_| OpenError::Refused { key_id })
    }

    /// Whether the first key sealed this. If not, whoever opened it seals it anew: rotation on read.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        read_header(sealed).is_ok_and(|(_, key_id)| key_id == self.current.id)
    }

    /// The ids of the keys, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys().map(|key| key.id)
    }

    /// The id of the key that seals.
    pub fn current_id(&self) -> KeyId {
        self.current.id
    }

    /// How all that is sealed from now on begins.
    pub(crate) fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [FORMAT; HEADER_BYTES];
        for (to, from) in header.iter_mut().skip(1).zip(self.current.id.0) {
            *to = from;
        }
        header
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.older)
    }
}

/// Keys in base64, separated by commas; spaces around a key are dropped.
impl FromStr for KeyRing {
    type Err = KeyRingError;

    fn from_str(list: &str) -> Result<Self, KeyRingError> {
        let mut keys: Vec<Key> = Vec::new();
        for (text, position) in list.split(',').map(str::trim).filter(|text| !text.is_empty()).zip(1..) {
            let key = parse_key(text, position)?;
            if keys.iter().any(|earlier| earlier.id == key.id) {
                return Err(KeyRingError::Twice { position });
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let current = keys.next().ok_or(KeyRingError::Empty)?;
        Ok(Self { current, older: keys.collect() })
    }
}

/// Shows the ids of the keys alone.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys().map(|key| key.id)).finish()
    }
}

fn parse_key(text: &str, position: usize) -> Result<Key, KeyRingError> {
    let bytes = Zeroizing::new(LENIENT_BASE64.decode(text).map_err(|_| KeyRingError::NotBase64 { position })?);
    let key: &[u8; KEY_BYTES] =
        bytes.as_slice().try_into().map_err(|_| KeyRingError::Length { position, bytes: bytes.len() })?;
    Ok(Key { id: KeyId::of(key), cipher: XChaCha20Poly1305::new(key.into()) })
}

fn read_header(sealed: &[u8]) -> Result<(&[u8], KeyId), OpenError> {
    let header = sealed.get(..HEADER_BYTES).ok_or(OpenError::Format)?;
    match header {
        [FORMAT, id @ ..] => Ok((header, KeyId(id.try_into().map_err(|_| OpenError::Format)?))),
        _ => Err(OpenError::Format),
    }
}

/// The header has a fixed length, so that no other pair of header and identity gives the same bytes.
fn associated_data(header: &[u8], identity: &str) -> Vec<u8> {
    [header, identity.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(list: &str) -> KeyRing {
        list.parse().expect("a good list")
    }

    fn fresh_key() -> String {
        KeyRing::generate_key().expose_secret().to_owned()
    }

    fn opened(ring: &KeyRing, sealed: &[u8], identity: &str) -> Result<String, OpenError> {
        ring.open(sealed, identity).map(|text| text.expose_secret().to_owned())
    }

    proptest! {
        #[test]
        fn opens_what_it_sealed(text in ".*", identity in ".*") {
            let ring = ring(&fresh_key());
            let sealed = ring.seal(&SecretString::from(text.clone()), &identity);
            prop_assert_eq!(opened(&ring, &sealed, &identity), Ok(text));
            prop_assert!(ring.is_current(&sealed));
        }

        #[test]
        fn another_row_does_not_open_it(text in ".*", identity in ".*", other in ".*") {
            prop_assume!(identity != other);
            let ring = ring(&fresh_key());
            let sealed = ring.seal(&SecretString::from(text), &identity);
            prop_assert_eq!(opened(&ring, &sealed, &other), Err(OpenError::Refused { key_id: ring.current.id }));
        }

        #[test]
        fn no_changed_bit_is_accepted(text in ".{0,40}", at in any::<prop::sample::Index>(), bit in 0..8) {
            let ring = ring(&fresh_key());
            let mut sealed = ring.seal(&SecretString::from(text), "row");
            let at = at.index(sealed.len());
            sealed[at] ^= 1_u8 << bit;
            prop_assert!(ring.open(&sealed, "row").is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let ring = ring(&fresh_key());
            prop_assert!(ring.open(&bytes, "row").is_err());
            prop_assert!(!ring.is_current(&bytes));
        }

        #[test]
        fn a_cut_is_refused(text in ".{0,40}", at in any::<prop::sample::Index>()) {
            let ring = ring(&fresh_key());
            let sealed = ring.seal(&SecretString::from(text), "row");
            prop_assert!(ring.open(&sealed[..at.index(sealed.len())], "row").is_err());
        }

        #[test]
        fn any_list_is_parsed_without_a_panic(list in "[A-Za-z0-9+/=, ]{0,200}") {
            if let Err(error) = list.parse::<KeyRing>() {
                prop_assert!(error.to_string().contains("METRIQLAB_ENCRYPTION_KEY"));
            }
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let (old, new) = (fresh_key(), fresh_key());
        let sealed = ring(&old).seal(&SecretString::from("token"), "row");
        let rotated = ring(&format!("{new}, {old}"));
        assert_eq!(opened(&rotated, &sealed, "row").as_deref(), Ok("token"));
        assert!(!rotated.is_current(&sealed));
        let again = rotated.seal(&SecretString::from("token"), "row");
        assert!(rotated.is_current(&again));
        assert_eq!(opened(&ring(&new), &again, "row").as_deref(), Ok("token"));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let other = ring(&fresh_key());
        let sealed = other.seal(&SecretString::from("token"), "row");
        let error = ring(&fresh_key()).open(&sealed, "row").expect_err("another key");
        assert!(error.to_string().contains(&other.current.id.to_string()), "{error}");
    }

    #[test]
    fn two_seals_of_a_text_have_nothing_in_common() {
        let ring = ring(&fresh_key());
        let (one, two) =
            (ring.seal(&SecretString::from("token"), "row"), ring.seal(&SecretString::from("token"), "row"));
        assert_ne!(one[HEADER_BYTES..HEADER_BYTES + NONCE_BYTES], two[HEADER_BYTES..HEADER_BYTES + NONCE_BYTES]);
        assert_ne!(one[HEADER_BYTES + NONCE_BYTES..], two[HEADER_BYTES + NONCE_BYTES..]);
    }

    #[test]
    fn bad_lists_are_refused_with_the_position() {
        let good = fresh_key();
        let error = |list: &str| list.parse::<KeyRing>().expect_err("a bad list");
        assert_eq!(error(" , "), KeyRingError::Empty);
        assert_eq!(error(&format!("{good},***")), KeyRingError::NotBase64 { position: 2 });
        assert_eq!(error(&STANDARD.encode([0; 31])), KeyRingError::Length { position: 1, bytes: 31 });
        assert_eq!(error(&format!("{good},{good}")), KeyRingError::Twice { position: 2 });
        assert!(good.trim_end_matches('=').parse::<KeyRing>().is_ok());
    }

    #[test]
    fn debug_tells_no_key() {
        let key = fresh_key();
        let shown = format!("{:?}", ring(&key));
        let bytes = STANDARD.decode(&key).expect("base64");
        assert!(!shown.contains(&key) && !shown.contains(&hex::encode(&bytes)));
    }
}
