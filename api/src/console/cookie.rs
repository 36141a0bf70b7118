//! The one cookie: 256 random bits. A session is a token that Postgres knows; a visitor who has not signed in has a token
//! too, for the forms to be tied to, that nobody has stored.

use actix_web::http::header::{COOKIE, HeaderMap};
use shared::secret_token::SecretToken;
use shared::settings::PublicUrl;
use shared::store::sessions::LIFETIME;

/// How browsers reach us decides how the cookie is called and protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jar {
    secure: bool,
}

impl Jar {
    /// On https the cookie is `Secure`, and has a prefix by which browsers see to it that no other host of the domain and
    /// no plain connection can set it (RFC 6265bis, section 4.1.3.2).
    pub fn of(public_url: &PublicUrl) -> Self {
        Self { secure: public_url.origin().starts_with("https:") }
    }

    fn name(self) -> &'static str {
        if self.secure { "__Host-metriqlab" } else { "metriqlab" }
    }

    /// The token that a browser sends, if it is well formed.
    pub fn read(self, headers: &HeaderMap) -> Option<SecretToken> {
        let lines = headers.get_all(COOKIE).filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.name()).and_then(|(_, value)| SecretToken::parse(value))
    }

    /// `Set-Cookie` for a token. Scripts can't read it, and other sites' forms and frames don't send it.
    pub fn write(self, token: &SecretToken) -> String {
        self.line(token.expose(), LIFETIME.as_secs())
    }

    /// `Set-Cookie` that takes the cookie away.
    pub fn clear(self) -> String {
        self.line("", 0)
    }

    fn line(self, value: &str, max_age: u64) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    #[test]
    fn https_has_a_cookie_of_its_own() {
        let token = SecretToken::generate();
        let (plain, secure) = (Jar { secure: false }, Jar { secure: true });
        assert_eq!(
            secure.write(&token),
            format!("__Host-metriqlab={}; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure", token.expose())
        );
        assert!(!plain.write(&token).contains("Secure"));
        let sent = |text: &str| HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(text).unwrap())]);
        let both = sent(&format!("a=b; metriqlab=planted;__Host-metriqlab={}; x", token.expose()));
        assert_eq!(secure.read(&both).map(|read| read.hash()), Some(token.hash()));
        assert!(plain.read(&both).is_none(), "not well formed");
        assert!(secure.read(&sent("x; =; __Host-metriqlab=")).is_none());
    }
}
