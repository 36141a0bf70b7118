//! Codes, tokens and what they are worth.
//!
//! A token carries what it grants, sealed with a key made from the app's secret, so that tokens outlive a restart of the
//! sandbox (its creators do too, those of the seed) and 100,000 grants take little memory. What is kept is what a
//! token cannot know: how often its grant was refreshed, and what was withdrawn.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::scopes::Scopes;
use crate::settings::{RefreshExpiry, Rotation, Settings};

/// What a code stands for.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) open_id: String,
    pub(crate) scopes: Scopes,
    /// `None`: made by the control API, any redirect URI will do.
    pub(crate) redirect_uri: Option<String>,
    pub(crate) challenge: Option<String>,
    expires: i64,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    kind: TokenKind,
    family: u64,
    /// Of an access token: when it was issued among all. Of a refresh token: how many were before it in its family.
    serial: u64,
    /// Seconds since 1970.
    expires: i64,
    scopes: Scopes,
    pub(crate) open_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenKind {
    Access,
    Refresh,
}

/// A new pair, as the token endpoint answers it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) open_id: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) expires_in: i64,
    pub(crate) refresh_expires_in: i64,
    pub(crate) scopes: Scopes,
}

/// Whom a good access token stands for.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) open_id: String,
    pub(crate) scopes: Scopes,
    /// When the creator authorised the app, milliseconds since 1970.
    pub(crate) granted_at_ms: i64,
}

/// One authorisation: a code's token and all its refreshes.
#[derive(Debug)]
struct Family {
    open_id: String,
    scopes: Scopes,
    generation: u64,
    /// Until when the generation before still works, seconds since 1970.
    grace_until: i64,
    refresh_expires: i64,
    /// Access tokens issued before are dead.
    access_from: u64,
    refreshes: u64,
}

#[derive(Debug, Default)]
struct UserGrants {
    /// What the creator allowed, if the app is connected.
    connected: Option<Scopes>,
    /// What is left of it, once the creator changed it in the app.
    narrowed: Option<Scopes>,
    /// Its families that live.
    families: Vec<u64>,
    /// Families up to this one are dead.
    dead_families: u64,
    /// Access tokens up to this one are dead.
    dead_access: u64,
}

pub(crate) struct Grants {
    key: Vec<u8>,
    families: HashMap<u64, Family>,
    users: HashMap<String, UserGrants>,
    codes: HashMap<String, Code>,
    last_serial: u64,
}

const CODES_KEPT: usize = 10_000;

impl Grants {
    pub(crate) fn new(client_secret: &str) -> Self {
        let key = format!("sandbox tokens\n{client_secret}").into_bytes();
        Self { key, families: HashMap::new(), users: HashMap::new(), codes: HashMap::new(), last_serial: 0 }
    }

    /// Rises for ever, over restarts too: milliseconds, and a count within them.
    fn serial(&mut self, now_ms: i64) -> u64 {
        let by_time = u64::try_from(now_ms).unwrap_or(0) << 20;
        self.last_serial = by_time.max(self.last_serial.saturating_add(1));
        self.last_serial
    }

    /// Makes a code. `*` and `!` are in it, so that a client that does not decode the URL shows.
    pub(crate) fn code(&mut self, code: Code, lifetime: i64, now: i64) -> String {
        if self.codes.len() >= CODES_KEPT {
            self.codes.retain(|_, code| code.expires > now);
        }
        let text = format!("{}*0!6410", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>()));
        self.codes.insert(text.clone(), Code { expires: now.saturating_add(lifetime), ..code });
        text
    }

    /// The code, if it is still good. It stays so until it is exchanged.
    pub(crate) fn look_at(&self, code: &str, now: i64) -> Option<&Code> {
        self.codes.get(code).filter(|code| code.expires > now)
    }

    /// Spends a code.
    pub(crate) fn exchange(&mut self, code: &str, settings: &Settings, now_ms: i64) -> Option<Pair> {
        let now = now_ms.div_euclid(1000);
        let code = self.codes.remove(code).filter(|code| code.expires > now)?;
        let family = self.serial(now_ms);
        let user = self.users.entry(code.open_id.clone()).or_default();
        user.connected = Some(code.scopes);
        user.narrowed = None;
        user.families.push(family);
        self.families.insert(
            family,
            Family {
                open_id: code.open_id,
                scopes: code.scopes,
                generation: 0,
                grace_until: 0,
                refresh_expires: now.saturating_add(settings.refresh_lifetime),
                access_from: 0,
                refreshes: 0,
            },
        );
        self.pair(family, None, settings, now_ms)
    }

    /// Refreshes; `None` if the token is dead. Of two calls with one token, one wins (without a grace).
    pub(crate) fn refresh(&mut self, text: &str, settings: &Settings, now_ms: i64) -> Option<Pair> {
        let now = now_ms.div_euclid(1000);
        let token = self.open(text).filter(|token| token.kind == TokenKind::Refresh)?;
        if self.is_dead(&token) {
            return None;
        }
        // After a restart the token is all there is: the family goes on from it.
        let family = match self.families.entry(token.family) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.users.entry(token.open_id.clone()).or_default().families.push(token.family);
                new.insert(Family {
                    open_id: token.open_id.clone(),
                    scopes: token.scopes,
                    generation: token.serial,
                    grace_until: 0,
                    refresh_expires: token.expires,
                    access_from: 0,
                    refreshes: 0,
                })
            }
        };
        let in_grace = token.serial.checked_add(1) == Some(family.generation) && now < family.grace_until;
        if family.refresh_expires <= now || !(token.serial == family.generation || in_grace) {
            return None;
        }
        family.refreshes += 1;
        let rotates = match settings.rotation {
            Rotation::Always => true,
            Rotation::Sometimes => family.refreshes.is_multiple_of(2),
            Rotation::Never => false,
        };
        if rotates && !in_grace {
            family.generation += 1;
            family.grace_until = now.saturating_add(settings.grace);
        }
        if settings.refresh_expiry == RefreshExpiry::Sliding {
            family.refresh_expires = now.saturating_add(settings.refresh_lifetime);
        }
        let same = (!rotates && !in_grace).then(|| text.to_owned());
        self.pair(token.family, same, settings, now_ms)
    }

    fn pair(&mut self, family_id: u64, same_refresh: Option<String>, settings: &Settings, now_ms: i64) -> Option<Pair> {
        let now = now_ms.div_euclid(1000);
        let serial = self.serial(now_ms);
        let family = self.families.get_mut(&family_id)?;
        if settings.refresh_ends_access {
            family.access_from = serial;
        }
        let narrowed = self.users.get(&family.open_id).and_then(|user| user.narrowed);
        let scopes = narrowed.unwrap_or(family.scopes);
        let token = |kind, serial, expires| Token {
            kind,
            family: family_id,
            serial,
            expires,
            scopes: family.scopes,
            open_id: family.open_id.clone(),
        };
        let access = token(TokenKind::Access, serial, now.saturating_add(settings.access_lifetime));
        let refresh = token(TokenKind::Refresh, family.generation, family.refresh_expires);
        let (open_id, refresh_expires) = (family.open_id.clone(), family.refresh_expires);
        Some(Pair {
            access: self.seal(&access),
            refresh: same_refresh.unwrap_or_else(|| self.seal(&refresh)),
            expires_in: settings.access_lifetime,
            refresh_expires_in: refresh_expires.saturating_sub(now),
            scopes,
            open_id,
        })
    }

    /// Whom an access token stands for; `None` if it is none, expired or revoked.
    pub(crate) fn caller(&self, text: &str, now: i64) -> Option<Caller> {
        let token = self.open(text).filter(|token| token.kind == TokenKind::Access && token.expires > now)?;
        let family = self.families.get(&token.family);
        let user = self.users.get(&token.open_id);
        let ended = family.is_some_and(|family| token.serial < family.access_from)
            || user.is_some_and(|user| token.serial <= user.dead_access);
        if ended || self.is_dead(&token) {
            return None;
        }
        let granted = family.map_or(token.scopes, |family| family.scopes);
        Some(Caller {
            scopes: user.and_then(|user| user.narrowed).unwrap_or(granted),
            granted_at_ms: i64::try_from(token.family >> 20).unwrap_or(0),
            open_id: token.open_id,
        })
    }

    /// Whom a refresh token was made for, good or not.
    pub(crate) fn owner(&self, text: &str) -> Option<String> {
        self.open(text).map(|token| token.open_id)
    }

    fn is_dead(&self, token: &Token) -> bool {
        self.users.get(&token.open_id).is_some_and(|user| token.family <= user.dead_families)
    }

    /// Ends every grant of a creator: the app is disconnected from the account.
    pub(crate) fn revoke(&mut self, open_id: &str, now_ms: i64) {
        let upto = self.serial(now_ms);
        let user = self.users.entry(open_id.to_owned()).or_default();
        for family in &user.families {
            self.families.remove(family);
        }
        *user = UserGrants { dead_families: upto, ..UserGrants::default() };
        self.codes.retain(|_, code| code.open_id != open_id);
    }

    /// Ends the access tokens of a creator, or the refresh tokens, as if their time were over.
    pub(crate) fn expire(&mut self, open_id: &str, access: bool, refresh: bool, now_ms: i64) {
        let upto = self.serial(now_ms);
        let user = self.users.entry(open_id.to_owned()).or_default();
        if access {
            user.dead_access = upto;
        }
        for family in user.families.iter().filter(|_| refresh) {
            if let Some(family) = self.families.get_mut(family) {
                family.refresh_expires = 0;
            }
        }
    }

    /// The creator changes in the app what it allows.
    pub(crate) fn set_scopes(&mut self, open_id: &str, scopes: Scopes) {
        let user = self.users.entry(open_id.to_owned()).or_default();
        user.narrowed = Some(scopes);
        user.connected = Some(scopes);
    }

    /// What a creator allows the app, if it is connected.
    pub(crate) fn connected(&self, open_id: &str) -> Option<Scopes> {
        self.users.get(open_id).and_then(|user| user.connected)
    }

    fn seal(&self, token: &Token) -> String {
        let (prefix, kind) = match token.kind {
            TokenKind::Access => ("act.", 'a'),
            TokenKind::Refresh => ("rft.", 'r'),
        };
        let Token { family, serial, expires, open_id, .. } = token;
        let payload = format!("{kind}.{family:x}.{serial:x}.{expires:x}.{:x}.{open_id}", token.scopes.bits());
        let mut bytes = tag(&self.key, payload.as_bytes()).to_vec();
        bytes.extend_from_slice(payload.as_bytes());
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn open(&self, text: &str) -> Option<Token> {
        let sealed = text.strip_prefix("act.").or_else(|| text.strip_prefix("rft."))?;
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (sent, payload) = bytes.split_first_chunk::<16>()?;
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&sent[..], &tag(&self.key, payload)[..])) {
            return None;
        }
        let mut parts = std::str::from_utf8(payload).ok()?.splitn(6, '.');
        let kind = match parts.next()? {
            "a" => TokenKind::Access,
            "r" => TokenKind::Refresh,
            _ => return None,
        };
        let mut number = || parts.next().and_then(|part| u64::from_str_radix(part, 16).ok());
        let (family, serial, expires, scopes) = (number()?, number()?, number()?, number()?);
        Some(Token {
            kind,
            family,
            serial,
            expires: i64::try_from(expires).ok()?,
            scopes: Scopes::from_bits(u8::try_from(scopes).ok()?),
            open_id: parts.next()?.to_owned(),
        })
    }
}

/// The first half of an HMAC-SHA256.
fn tag(key: &[u8], message: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(sign(key, message)) {
        *to = from;
    }
    out
}

/// HMAC-SHA256.
pub(crate) fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

impl Code {
    pub(crate) fn new(
        open_id: String,
        scopes: Scopes,
        redirect_uri: Option<String>,
        challenge: Option<String>,
    ) -> Self {
        Self { open_id, scopes, redirect_uri, challenge, expires: 0 }
    }
}
