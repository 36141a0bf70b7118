//! What a database URL asks for: libpq's words, of which `tokio-postgres` knows some.
//!
//! Taken from the query here: `sslmode` (all six), `sslrootcert` (a file of PEM certificates, or `system`), and `pgbouncer`,
//! which is not libpq's: the word that other clients have for a pooler that gives each transaction another session.
//! <https://www.postgresql.org/docs/current/libpq-ssl.html> says what each `sslmode` means.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use url::form_urlencoded;

use super::StoreError;

/// How long a new connection may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long what was sent may stay unacknowledged before the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// Whom Postgres's certificate must convince.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Nobody: `prefer` and `require` encrypt and do not ask who is there, as with libpq.
    Nobody,
    /// It must come from a known authority, whatever name it bears: `verify-ca`.
    Authority,
    /// It must also bear the host's name: `verify-full`.
    Host,
}

/// Where the known authorities stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// The system's (or those of `SSL_CERT_FILE`).
    System,
    /// A file of PEM certificates.
    File(PathBuf),
}

/// A Postgres and how to reach it.
pub(super) struct Target {
    /// Everything but the TLS.
    pub(super) config: Config,
    pub(super) ssl_mode: SslMode,
    pub(super) verify: Verify,
    pub(super) roots: Roots,
    /// Whether a pooler is in between that gives each transaction another session.
    pub(super) is_pooled: bool,
}

impl Target {
    /// Reads a URL. No error repeats any of it but the names of its parameters.
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        let (base, query) = split(url);
        let (mut ssl_mode, mut roots, mut is_pooled) = (None, None, false);
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.replace('+', "%2B").as_bytes()) {
            match name.as_ref() {
                "sslmode" => ssl_mode = Some(read_ssl_mode(&value)?),
                "sslrootcert" if value == "system" => roots = Some(Roots::System),
                "sslrootcert" => roots = Some(Roots::File(PathBuf::from(value.as_ref()))),
                "pgbouncer" => is_pooled = read_bool(&value)?,
                "sslcert" | "sslkey" | "sslpassword" | "sslcrl" => {
                    return Err(wrong(format!("{name} is not supported: use a password, and sslrootcert")));
                }
                _ => {
                    rest.append_pair(&name, &value);
                }
            }
        }
        let (ssl_mode, verify) = settle(ssl_mode, roots.as_ref());
        let rest = rest.finish().replace('+', "%20");
        let config = if rest.is_empty() { base.to_owned() } else { format!("{base}?{rest}") };
        let config: Config = config.parse().map_err(|error: tokio_postgres::Error| wrong(describe(&error)))?;
        Self { config, ssl_mode, verify, roots: roots.unwrap_or(Roots::System), is_pooled }.prepared()
    }

    /// Host, port and database, for people.
    pub(super) fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("{host}:{port}/{database}")
    }

    fn prepared(mut self) -> Result<Self, StoreError> {
        let config = &mut self.config;
        config.connect_timeout(CONNECT_TIMEOUT);
        config.keepalives_idle(Duration::from_secs(15));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        // Else a statement that was sent into a cut cable waits for a quarter of an hour.
        config.tcp_user_timeout(UNACKNOWLEDGED);
        if config.get_application_name().is_none() {
            config.application_name("metriqlab");
        }
        config.ssl_mode(self.ssl_mode);
        if self.is_pooled {
            if config.get_hosts().iter().any(|host| !matches!(host, Host::Tcp(_))) {
                return Err(wrong("pgbouncer=true needs a host name, not a socket's path".to_owned()));
            }
            // Our own connector does what `tokio-postgres` does otherwise, also where there is no TLS: see `unnamed`.
            config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        }
        Ok(self)
    }
}

/// The URL and its query. A password may hold a question mark: the query is looked for behind the `@`.
fn split(url: &str) -> (&str, &str) {
    let behind = url.find('@').unwrap_or(0);
    match url.get(behind..).and_then(|tail| tail.find('?')) {
        Some(at) => (url.get(..behind + at).unwrap_or(url), url.get(behind + at + 1..).unwrap_or_default()),
        None => (url, ""),
    }
}

fn read_ssl_mode(text: &str) -> Result<(SslMode, Verify), StoreError> {
    match text {
        "disable" => Ok((SslMode::Disable, Verify::Nobody)),
        // libpq's `allow` would rather not encrypt; nobody is harmed by what is safer.
        "allow" | "prefer" => Ok((SslMode::Prefer, Verify::Nobody)),
        "require" => Ok((SslMode::Require, Verify::Nobody)),
        "verify-ca" => Ok((SslMode::Require, Verify::Authority)),
        "verify-full" => Ok((SslMode::Require, Verify::Host)),
        _ => Err(wrong("sslmode is one of disable, allow, prefer, require, verify-ca and verify-full".to_owned())),
    }
}

fn read_bool(text: &str) -> Result<bool, StoreError> {
    match text {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(wrong("pgbouncer is one of true and false".to_owned())),
    }
}

/// libpq's rules: a file of authorities makes `require` ask for them, and the system's ask for the name, too.
fn settle(ssl_mode: Option<(SslMode, Verify)>, roots: Option<&Roots>) -> (SslMode, Verify) {
    match (ssl_mode, roots) {
        (None | Some((SslMode::Require, _)), Some(Roots::System)) => (SslMode::Require, Verify::Host),
        (Some((SslMode::Require, Verify::Nobody)), Some(Roots::File(_))) => (SslMode::Require, Verify::Authority),
        (Some(asked), _) => asked,
        (None, _) => (SslMode::Prefer, Verify::Nobody),
    }
}

fn wrong(problem: String) -> StoreError {
    StoreError::Url(problem)
}

/// An error and its causes in one line; `tokio_postgres` keeps the telling part in the source.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(query: &str) -> Target {
        Target::parse(&format!("postgres://u:p%40?ss@db.example.com:6432/metriqlab{query}")).unwrap()
    }

    #[test]
    fn the_words_mean_what_they_mean_to_libpq() {
        for (query, mode, verify) in [
            ("", SslMode::Prefer, Verify::Nobody),
            ("?sslmode=disable", SslMode::Disable, Verify::Nobody),
            ("?sslmode=allow", SslMode::Prefer, Verify::Nobody),
            ("?sslmode=require", SslMode::Require, Verify::Nobody),
            ("?sslmode=require&sslrootcert=/etc/ca.pem", SslMode::Require, Verify::Authority),
            ("?sslrootcert=/etc/ca.pem", SslMode::Prefer, Verify::Nobody),
            ("?sslmode=verify-ca", SslMode::Require, Verify::Authority),
            ("?sslmode=verify-full", SslMode::Require, Verify::Host),
            ("?sslrootcert=system", SslMode::Require, Verify::Host),
            ("?sslrootcert=system&sslmode=require", SslMode::Require, Verify::Host),
        ] {
            let target = target(query);
            assert_eq!((target.ssl_mode, target.verify), (mode, verify), "{query}");
            assert!(!target.is_pooled);
        }
    }

    #[test]
    fn what_is_not_taken_here_reaches_the_driver() {
        let target = target("?application_name=my%20app&pgbouncer=true&options=-c%20jit%3Doff&sslrootcert=/a%20b.pem");
        assert_eq!(target.config.get_application_name(), Some("my app"));
        assert_eq!(target.config.get_options(), Some("-c jit=off"));
        assert_eq!(target.config.get_password(), Some(&b"p@?ss"[..]));
        assert_eq!(target.roots, Roots::File("/a b.pem".into()));
        assert!(target.is_pooled);
        assert_eq!(target.place(), "db.example.com:6432/metriqlab");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for query in ["?sslmode=always", "?pgbouncer=maybe", "?sslkey=/k", "?nonsense=1", "?pgbouncer=1&host=/run"] {
            let refused = Target::parse(&format!("postgres://u:hunter2@h/d{query}")).map(|_| ());
            let text = refused.unwrap_err().to_string();
            assert!(text.starts_with("DATABASE_URL: ") && !text.contains("hunter2"), "{text}");
        }
    }
}
