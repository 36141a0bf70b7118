//! From `REDIS_URL` to servers.
//!
//! ```text
//! redis://[user:password@]host[:port][/db]
//! redis+sentinel://[user:password@]host[:port],host[:port],…/master[/db]
//! redis+cluster://[user:password@]host[:port],host[:port],…
//! ```
//!
//! With `rediss` for `redis`, all of it goes over TLS. Parameters: see [`Parameters`].

use std::path::{Path, PathBuf};

use redis::{ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};

use super::{Address, Kind, Login, client};

const CLUSTER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What is wrong with a Redis URL. No message shows any part of it that may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    /// The scheme is none of ours, or there is none.
    #[error(
        "write a URL like `redis://user:password@host:6379`, `redis+sentinel://…` or `redis+cluster://…`; `rediss` for TLS"
    )]
    Scheme,
    /// A `#` can't be part of it as it stands; of a password it may be.
    #[error("a `#` in the password is written `%23`")]
    Fragment,
    /// A host that is none: often a password with a character of the URL's own.
    #[error(
        "host number {0} is no `host` or `host:port`; in the password, `@`, `/`, `?`, `,` and `:` are written `%40`, `%2F`, `%3F`, `%2C` and `%3A`"
    )]
    Host(usize),
    /// Several hosts where one is meant.
    #[error("several hosts are either `redis+sentinel://…` or `redis+cluster://…`")]
    SeveralHosts,
    /// The database is no number.
    #[error("after the host comes the database's number or nothing")]
    Database,
    /// A cluster has one database.
    #[error("a cluster has no other database than 0")]
    ClusterDatabase,
    /// Sentinel is asked for a name.
    #[error("after the Sentinels comes the master's name: `redis+sentinel://host1,host2,host3/mymaster`")]
    MasterName,
    /// A parameter that is unknown, or has no meaning with this scheme. It is not shown: where a password holds a `?`, it is
    /// a piece of it.
    #[error(
        "after the `?` may stand `cacert`, `cert` and `key` (with `rediss`), `sentinel_user` and `sentinel_password` (with `+sentinel`), and nothing else; in the password it is written `%3F`"
    )]
    Parameter,
    /// A certificate or key that can't be read.
    #[error("`{parameter}` can't be read: {problem}")]
    File {
        /// `cacert`, `cert` or `key`.
        parameter: &'static str,
        /// Why.
        problem: String,
    },
    /// One of the two is there alone.
    #[error("`cert` and `key` belong together")]
    HalfCertificate,
    /// The certificates are none, or the URL is not as redis-rs wants it.
    #[error("{0}")]
    Refused(&'static str),
}

/// What may stand behind the `?`.
#[derive(Default)]
struct Parameters {
    /// The file of the authorities (PEM) that signed the servers' certificates, instead of the system's.
    cacert: Option<PathBuf>,
    /// The file of our own certificate (PEM), for servers that want one.
    cert: Option<PathBuf>,
    /// The file of its key (PEM).
    key: Option<PathBuf>,
    /// How to log in to the Sentinels, which have users of their own.
    sentinel_user: Option<String>,
    /// The password there.
    sentinel_password: Option<String>,
}

/// A URL in its parts.
struct Parts<'a> {
    /// `redis` or `rediss`.
    scheme: &'a str,
    /// With its `@`, or empty.
    user: &'a str,
    hosts: Vec<&'a str>,
    /// Without its first `/`.
    path: &'a str,
    tls: Option<TlsCertificates>,
    parameters: Parameters,
}

pub(super) fn parse(url: &str) -> Result<(Kind, Login), RedisUrlError> {
    if url.starts_with("unix://") || url.starts_with("redis+unix://") {
        let server = url.into_connection_info().map_err(|_| RedisUrlError::Scheme)?;
        return one(server, None);
    }
    let (scheme, rest) = url.split_once("://").ok_or(RedisUrlError::Scheme)?;
    let (scheme, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    if !matches!(scheme, "redis" | "rediss") {
        return Err(RedisUrlError::Scheme);
    }
    match kind {
        "" => {
            let parts = Parts::of(scheme, rest, false)?;
            let [host] = parts.hosts.as_slice() else { return Err(RedisUrlError::SeveralHosts) };
            one(parts.server(host, 1, parts.path, None)?, parts.tls)
        }
        "sentinel" => sentinel(Parts::of(scheme, rest, true)?),
        "cluster" => cluster(Parts::of(scheme, rest, false)?),
        _ => Err(RedisUrlError::Scheme),
    }
}

fn one(server: ConnectionInfo, tls: Option<TlsCertificates>) -> Result<(Kind, Login), RedisUrlError> {
    let redis = server.redis_settings().clone();
    let client = client(server, tls.as_ref()).map_err(|_| BAD_CERTIFICATES)?;
    Ok((Kind::One(client), Login { redis, tls }))
}

fn sentinel(parts: Parts<'_>) -> Result<(Kind, Login), RedisUrlError> {
    let (master, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if master.is_empty() {
        return Err(RedisUrlError::MasterName);
    }
    let mut sentinels = Vec::new();
    let mut login = None;
    for (number, host) in (1..).zip(&parts.hosts) {
        let server = parts.server(host, number, database, Some(SENTINEL_PORT))?;
        login = Some(server.redis_settings().clone());
        let mut own = redis::RedisConnectionInfo::default();
        if let Some(user) = &parts.parameters.sentinel_user {
            own = own.set_username(user);
        }
        if let Some(password) = &parts.parameters.sentinel_password {
            own = own.set_password(password);
        }
        sentinels.push(client(server.set_redis_settings(own), parts.tls.as_ref()).map_err(|_| BAD_CERTIFICATES)?);
    }
    let redis = login.ok_or(RedisUrlError::Host(1))?;
    Ok((Kind::Sentinel { sentinels, master: master.to_owned() }, Login { redis, tls: parts.tls }))
}

fn cluster(parts: Parts<'_>) -> Result<(Kind, Login), RedisUrlError> {
    if !matches!(parts.path, "" | "0") {
        return Err(RedisUrlError::ClusterDatabase);
    }
    let mut seeds = Vec::new();
    let mut login = None;
    for (number, host) in (1..).zip(&parts.hosts) {
        let server = parts.server(host, number, "", Some(CLUSTER_PORT))?;
        login = Some(server.redis_settings().clone());
        match server.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                seeds.push(Address { host: host.clone(), port: *port });
            }
            _ => return Err(RedisUrlError::Host(number)),
        }
        // What a node found later would be refused for is refused now.
        client(server, parts.tls.as_ref()).map_err(|_| BAD_CERTIFICATES)?;
    }
    let redis = login.ok_or(RedisUrlError::Host(1))?;
    Ok((Kind::Cluster { seeds }, Login { redis, tls: parts.tls }))
}

const BAD_CERTIFICATES: RedisUrlError =
    RedisUrlError::Refused("the files of `cacert`, `cert` and `key` must hold certificates and a key in PEM");

impl<'a> Parts<'a> {
    fn of(scheme: &'a str, rest: &'a str, with_sentinel: bool) -> Result<Self, RedisUrlError> {
        if rest.contains('#') {
            return Err(RedisUrlError::Fragment);
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let at = authority.rfind('@').map_or(0, |at| at + 1);
        let (user, hosts) = authority.split_at(at);
        let tls = scheme == "rediss";
        let parameters = Parameters::read(query, tls, with_sentinel)?;
        let tls = if tls { Some(parameters.certificates()?) } else { None };
        let path = path.strip_suffix('/').unwrap_or(path);
        Ok(Self { scheme, user, hosts: hosts.split(',').collect(), path, tls, parameters })
    }

    /// The `number`th host as a server of its own, read by redis-rs.
    fn server(
        &self,
        host: &str,
        number: usize,
        database: &str,
        port: Option<u16>,
    ) -> Result<ConnectionInfo, RedisUrlError> {
        let wrong = RedisUrlError::Host(number);
        if host.is_empty() || host.starts_with(':') || host.ends_with(':') {
            return Err(wrong);
        }
        if !database.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RedisUrlError::Database);
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = port.filter(|_| !has_port).map(|port| format!(":{port}")).unwrap_or_default();
        let url = format!("{}://{}{host}{port}/{database}", self.scheme, self.user);
        url.into_connection_info().map_err(|_| wrong)
    }
}

impl Parameters {
    fn read(query: &str, tls: bool, with_sentinel: bool) -> Result<Self, RedisUrlError> {
        let mut parameters = Self::default();
        for (name, value) in ::url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "cacert" if tls => parameters.cacert = Some(PathBuf::from(&*value)),
                "cert" if tls => parameters.cert = Some(PathBuf::from(&*value)),
                "key" if tls => parameters.key = Some(PathBuf::from(&*value)),
                "sentinel_user" if with_sentinel => parameters.sentinel_user = Some(value.into_owned()),
                "sentinel_password" if with_sentinel => parameters.sentinel_password = Some(value.into_owned()),
                _ => return Err(RedisUrlError::Parameter),
            }
        }
        Ok(parameters)
    }

    fn certificates(&self) -> Result<TlsCertificates, RedisUrlError> {
        let client_tls = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                Some(ClientTlsConfig { client_cert: file("cert", cert)?, client_key: file("key", key)? })
            }
            (None, None) => None,
            _ => return Err(RedisUrlError::HalfCertificate),
        };
        let root_cert = self.cacert.as_deref().map(|path| file("cacert", path)).transpose()?;
        Ok(TlsCertificates { client_tls, root_cert })
    }
}

fn file(parameter: &'static str, path: &Path) -> Result<Vec<u8>, RedisUrlError> {
    std::fs::read(path).map_err(|error| RedisUrlError::File { parameter, problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(url: &str) -> RedisUrlError {
        let error = parse(url).map(|_| ()).expect_err(url);
        assert!(!error.to_string().contains("hunter"), "{url}: {error}");
        error
    }

    fn sentinels(url: &str) -> (Vec<ConnectionInfo>, String, Login) {
        let (kind, login) = parse(url).expect(url);
        let Kind::Sentinel { sentinels, master } = kind else { panic!("{url} is no Sentinel") };
        (sentinels.iter().map(|sentinel| sentinel.get_connection_info().clone()).collect(), master, login)
    }

    #[test]
    fn one_server_is_what_redis_rs_makes_of_it() {
        let (Kind::One(client), login) = parse("redis://user:p%40ss@host:7000/3").unwrap() else { panic!("one") };
        let server = client.get_connection_info();
        assert_eq!(server.addr(), &ConnectionAddr::Tcp("host".into(), 7000));
        assert_eq!((login.redis.username(), login.redis.password(), login.redis.db()), (Some("user"), Some("p@ss"), 3));
        for url in [
            "redis://host",
            "redis://host/",
            "redis://:secret@[::1]:7000",
            "unix:///run/redis.sock",
            "redis+unix:///r.sock",
        ] {
            assert!(matches!(parse(url), Ok((Kind::One(_), _))), "{url}");
        }
    }

    #[test]
    fn sentinels_have_passwords_of_their_own() {
        let (sentinels, master, login) = sentinels(
            "redis+sentinel://user:secret@h1,h2:7001,[::1]/my-master/2?sentinel_user=s&sentinel_password=p%2Bw",
        );
        let addresses: Vec<ConnectionAddr> = sentinels.iter().map(|sentinel| sentinel.addr().clone()).collect();
        let address = |host: &str, port| ConnectionAddr::Tcp(host.into(), port);
        assert_eq!(addresses, [address("h1", 26379), address("h2", 7001), address("::1", 26379)]);
        for sentinel in &sentinels {
            let settings = sentinel.redis_settings();
            assert_eq!((settings.username(), settings.password(), settings.db()), (Some("s"), Some("p+w"), 0));
        }
        assert_eq!(master, "my-master");
        assert_eq!(
            (login.redis.username(), login.redis.password(), login.redis.db()),
            (Some("user"), Some("secret"), 2)
        );
    }

    #[test]
    fn a_cluster_has_seeds_and_one_login() {
        let (kind, login) = parse("redis+cluster://:secret@10.0.0.1:7000,node-2").unwrap();
        let Kind::Cluster { seeds } = kind else { panic!("a cluster") };
        assert_eq!(seeds.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1:7000", "node-2:6379"]);
        assert_eq!(login.redis.password(), Some("secret"));
        assert!(login.tls.is_none());
        let (_, login) = parse("rediss+cluster://h1").unwrap();
        assert!(login.tls.is_some());
    }

    #[test]
    fn what_is_wrong_is_said_and_no_password_shown() {
        for url in ["", "h", "http://:hunter2@h", "redis+ring://:hunter2@h", "redis:/h", "rediss+unix://h"] {
            assert_eq!(wrong(url), RedisUrlError::Scheme, "{url}");
        }
        assert_eq!(wrong("redis://:hunter#2@h"), RedisUrlError::Fragment);
        assert_eq!(wrong("rediss://:hunter2@h/#insecure"), RedisUrlError::Fragment);
        assert_eq!(wrong("redis://:hunter?2@h"), RedisUrlError::Parameter);
        assert_eq!(wrong("redis://h?cacert=/hunter2"), RedisUrlError::Parameter);
        assert_eq!(wrong("rediss://h?sentinel_password=hunter2"), RedisUrlError::Parameter);
        assert_eq!(wrong("redis://:hunter2@h1,h2"), RedisUrlError::SeveralHosts);
        assert_eq!(wrong("redis://:hunter/2@h"), RedisUrlError::Host(1));
        assert_eq!(wrong("redis+cluster://:hunter2@h1,:7000"), RedisUrlError::Host(2));
        assert_eq!(wrong("redis+cluster://:hunter2@h1:70000"), RedisUrlError::Host(1));
        assert_eq!(wrong("redis+cluster://h1,"), RedisUrlError::Host(2));
        assert_eq!(wrong("redis://:hunter2@h/x"), RedisUrlError::Database);
        assert_eq!(wrong("redis+cluster://h/1"), RedisUrlError::ClusterDatabase);
        assert_eq!(wrong("redis+sentinel://h1,h2"), RedisUrlError::MasterName);
        assert_eq!(wrong("rediss://h?cert=/x"), RedisUrlError::HalfCertificate);
        assert!(matches!(wrong("rediss://h?cacert=/no/such/file"), RedisUrlError::File { parameter: "cacert", .. }));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(wrong(&format!("rediss+cluster://h?cacert={}", file.path().display())), BAD_CERTIFICATES);
    }
}
