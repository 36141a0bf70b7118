//! Passwords: argon2id (RFC 9106), by the parameters that OWASP names first (19 MiB, two passes, one lane).

use std::sync::{Arc, OnceLock};

use actix_web::web;
use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use super::error::ConsoleError;

/// Fewest characters: NIST SP 800-63B asks for eight at least.
const MIN_CHARS: usize = 10;
const MAX_CHARS: usize = 200;
/// Hashes at a time: each takes 19 MiB and a core for some tens of milliseconds.
const TURNS: usize = 2;

/// Hashes and checks passwords, a few at a time, away from the threads that serve requests.
pub struct Passwords {
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(TURNS)) }
    }
}

/// A password that somebody chose, checked.
pub struct NewPassword(SecretString);

impl NewPassword {
    /// Checks a password; says what is wrong with it.
    pub fn check(password: &str, repeated: &str) -> Result<Self, &'static str> {
        let length = password.chars().count();
        if length < MIN_CHARS {
            return Err("Choose a password of 10 characters or more.");
        }
        if length > MAX_CHARS {
            return Err("Choose a password of at most 200 characters.");
        }
        if password != repeated {
            return Err("The two passwords are not the same.");
        }
        Ok(Self(SecretString::from(password)))
    }
}

impl Passwords {
    /// What is stored of a password.
    pub async fn hash(&self, password: NewPassword) -> Result<String, ConsoleError> {
        self.run(move || hash(password.0.expose_secret())).await?
    }

    /// Whether a password is the one that is stored. Takes as long where none is: how long it takes tells nobody whether
    /// there is such an account.
    pub async fn verify(&self, password: &str, stored: Option<String>) -> Result<bool, ConsoleError> {
        let password = SecretString::from(password);
        self.run(move || {
            let known = stored.is_some();
            let stored = stored.map_or_else(|| stand_in().map(str::to_owned), Ok)?;
            let stored = PasswordHash::new(&stored).map_err(|error| broken(&error))?;
            let same = Argon2::default().verify_password(password.expose_secret().as_bytes(), &stored).is_ok();
            Ok(same && known)
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ConsoleError> {
        let turns = Arc::clone(&self.turns);
        let turn = turns.acquire_owned().await.map_err(|error| ConsoleError::Internal(error.to_string()))?;
        // The work goes on if the browser hangs up, and the turn with it.
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        web::block(work).await.map_err(|error| ConsoleError::Internal(error.to_string()))
    }
}

fn hash(password: &str) -> Result<String, ConsoleError> {
    let salt = SaltString::encode_b64(&rand::rng().random::<[u8; 16]>()).map_err(|error| broken(&error))?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(|error| broken(&error))?;
    Ok(hash.to_string())
}

/// A hash of what nobody knows, for accounts that do not exist.
fn stand_in() -> Result<&'static str, ConsoleError> {
    static STAND_IN: OnceLock<String> = OnceLock::new();
    if let Some(known) = STAND_IN.get() {
        return Ok(known);
    }
    let made = hash(shared::secret_token::SecretToken::generate().expose())?;
    Ok(STAND_IN.get_or_init(|| made))
}

fn broken(error: &argon2::password_hash::Error) -> ConsoleError {
    ConsoleError::Internal(format!("argon2: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_password_is_known_by_its_argon2id_string_alone() {
        let passwords = Passwords::default();
        let stored = passwords.hash(NewPassword::check("correct horse", "correct horse").ok().unwrap()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify("correct horse", Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("correct hors", Some(stored)).await.unwrap());
        assert!(!passwords.verify("correct horse", None).await.unwrap());
    }

    #[test]
    fn a_password_has_a_length() {
        assert!(NewPassword::check("123456789", "123456789").is_err());
        assert!(NewPassword::check("1234567890", "1234567891").is_err());
        assert!(NewPassword::check(&"é".repeat(200), &"é".repeat(200)).is_ok());
        assert!(NewPassword::check(&"é".repeat(201), &"é".repeat(201)).is_err());
    }
}
