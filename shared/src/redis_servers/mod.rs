//! The Redis that `REDIS_URL` names, and the way to the node that holds a key: one server, the master that Sentinel names,
//! or the master of the key's slot in a cluster.
//!
//! redis-rs has clients for Sentinel and Cluster, too. They are not used: all keys of a lane lie in one slot, and so do all
//! of an endpoint's budget, so a caller needs one connection to one node and no router; and who mends a broken connection
//! must be the one who knows what may be sent twice (`queue/link.rs`, `budget/connection.rs`). Here is only the question
//! where the node is, asked anew at every connect, so that a failover or a moved slot is found by whoever reconnects.

mod cluster;
mod redirect;
mod sentinel;
mod url;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, RedisResult, TlsCertificates,
};

pub(crate) use redirect::{Redirect, Redirects, redirect};
pub use url::RedisUrlError;

/// How long an answer may take. redis-rs's default of 500 ms fails under load.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take, and an answer to the question where a node is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where Redis is, as `REDIS_URL` says it. Cheap to clone. Its `Debug` shows nothing: it holds passwords.
#[derive(Clone)]
pub struct RedisServers(Arc<Inner>);

struct Inner {
    kind: Kind,
    login: Login,
    /// Nodes of the cluster that were seen last: the way back when all that the URL names are gone.
    seen: Mutex<Vec<Address>>,
}

enum Kind {
    One(Client),
    Sentinel { sentinels: Vec<Client>, master: String },
    Cluster { seeds: Vec<Address> },
}

/// How to log in to a node that is found on the way.
struct Login {
    redis: RedisConnectionInfo,
    /// TLS, and whom it trusts.
    tls: Option<TlsCertificates>,
}

/// Host and port of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port for clients.
    pub port: u16,
}

impl fmt::Debug for RedisServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServers").finish_non_exhaustive()
    }
}

/// The hosts and ports that the URL names, and the master's name; nothing secret.
impl fmt::Display for RedisServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |addresses: Vec<String>| addresses.join(", ");
        match &self.0.kind {
            Kind::One(client) => write!(f, "{}", address_of(client)),
            Kind::Sentinel { sentinels, master } => {
                let sentinels = sentinels.iter().map(|client| address_of(client).to_string()).collect();
                write!(f, "{master}, by the Sentinels {}", list(sentinels))
            }
            Kind::Cluster { seeds } => {
                write!(f, "the cluster of {}", list(seeds.iter().map(ToString::to_string).collect()))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl RedisServers {
    /// Reads a URL; `docs/operating.md` says what it may look like. Reads the files of its certificates, and connects to
    /// nothing. With TLS it needs a rustls crypto provider, installed by the process. No error shows a password.
    pub fn parse(url: &str) -> Result<Self, RedisUrlError> {
        let (kind, login) = url::parse(url)?;
        Ok(Self(Arc::new(Inner { kind, login, seen: Mutex::default() })))
    }

    /// Whether keys may lie on several nodes.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.0.kind, Kind::Cluster { .. })
    }

    /// Connects to the master that holds `key`; first at `hint`, if a node named it.
    pub(crate) async fn connect(&self, key: &str, hint: Option<Address>) -> RedisResult<MultiplexedConnection> {
        match &self.0.kind {
            Kind::One(client) => open(client).await,
            Kind::Sentinel { sentinels, master } => {
                let (_, connection) = sentinel::master(&self.0.login, sentinels, master).await?;
                Ok(connection)
            }
            Kind::Cluster { .. } => {
                let owner = match hint {
                    Some(hint) => hint,
                    None => cluster::owner(self, key).await?,
                };
                open(&self.0.login.client(&owner)?).await
            }
        }
    }

    /// A connection that can subscribe: to the master, or to any master of a cluster, for these pass on to each other what
    /// is published.
    pub(crate) async fn pubsub(&self) -> RedisResult<PubSub> {
        match &self.0.kind {
            Kind::One(client) => client.get_async_pubsub().await,
            Kind::Sentinel { sentinels, master } => {
                let (address, _) = sentinel::master(&self.0.login, sentinels, master).await?;
                self.0.login.client(&address)?.get_async_pubsub().await
            }
            Kind::Cluster { .. } => {
                let master = cluster::any_master(self).await?;
                self.0.login.client(&master)?.get_async_pubsub().await
            }
        }
    }

    /// A connection to every master, with its address: for checks of each server's own settings. Fails if one is away.
    pub async fn masters(&self) -> RedisResult<Vec<(Address, MultiplexedConnection)>> {
        match &self.0.kind {
            Kind::One(client) => Ok(vec![(address_of(client), open(client).await?)]),
            Kind::Sentinel { sentinels, master } => Ok(vec![sentinel::master(&self.0.login, sentinels, master).await?]),
            Kind::Cluster { .. } => {
                let mut masters = Vec::new();
                for address in cluster::masters(self).await? {
                    let connection = open(&self.0.login.client(&address)?).await?;
                    masters.push((address, connection));
                }
                Ok(masters)
            }
        }
    }

    /// Nodes of the cluster to ask: those of the URL, then those seen last.
    fn candidates(&self) -> Vec<Address> {
        let Kind::Cluster { seeds } = &self.0.kind else { return Vec::new() };
        let mut nodes = seeds.clone();
        let seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for node in seen.iter() {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        nodes
    }

    fn remember(&self, nodes: Vec<Address>) {
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }
}

impl Login {
    fn client(&self, address: &Address) -> RedisResult<Client> {
        let Address { host, port } = address.clone();
        let addr = match &self.tls {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        };
        client(addr.into_connection_info()?.set_redis_settings(self.redis.clone()), self.tls.as_ref())
    }
}

/// The client for a server. Calls are small and wait for their answers: nothing is gained by holding them back (Nagle),
/// which is redis-rs's default.
fn client(server: ConnectionInfo, tls: Option<&TlsCertificates>) -> RedisResult<Client> {
    let server = server.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    match tls {
        Some(certificates) => Client::build_with_tls(server, certificates.clone()),
        None => Client::open(server),
    }
}

async fn open(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// As [`open`], to ask where a node is.
async fn open_to_ask(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(CONNECT_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}

fn address_of(client: &Client) -> Address {
    match client.get_connection_info().addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Address { host: host.clone(), port: *port }
        }
        other => Address { host: other.to_string(), port: 0 },
    }
}

/// Nobody of those asked could say where the node is.
fn nowhere(what: &'static str, last: Option<RedisError>) -> RedisError {
    last.unwrap_or_else(|| RedisError::from((redis::ErrorKind::Io, what)))
}
