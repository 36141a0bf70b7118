//! Connections to Postgres: a pool, and what to say when there is none to be had.
//!
//! Behind a pooler that gives each transaction another session (`pgbouncer=true` in the URL), nothing may be left behind
//! in a session: statements have no names there, the limit for statements is not set, and locks end with their transaction,
//! as they do everywhere in the store.

use std::sync::Arc;
use std::time::Duration;

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::pooled_connection::deadpool::{Object, Pool, PoolError};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use futures::FutureExt as _;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::StoreError;
use super::target::{CONNECT_TIMEOUT, Target, describe};
use super::tls;
use super::unnamed::UnnamedConnector;

/// How long a caller waits for a connection before it is told that Postgres is out of reach.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a transaction may stand open without a statement before Postgres ends it. No transaction of ours waits for
/// anything but Postgres, so one that does belongs to a process that stands still (paused, or its machine is): its locks
/// would hold up whoever takes its jobs over, and every caller of their creators. As long as a worker is given before it is
/// presumed dead.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);

/// One connection out of the pool.
pub type Connection = Object<AsyncPgConnection>;

/// Opens a pool; no connection is made before one is needed. Postgres ends statements that take longer than
/// `statement_timeout`.
///
/// Connections live on the runtime that the pool was opened on, whoever asks for one: the API's server has threads with
/// runtimes of their own, which end before what else uses the pool.
pub(super) fn open(
    url: &SecretString,
    size: usize,
    statement_timeout: Option<Duration>,
) -> Result<Pool<AsyncPgConnection>, StoreError> {
    let connector = Arc::new(Connector::new(url)?);
    let mut manager = ManagerConfig::<AsyncPgConnection>::default();
    // A closed connection is recognised without a query; the statement that finds a dead one gets a 503.
    manager.recycling_method = RecyclingMethod::Fast;
    let runtime = Handle::try_current().ok();
    manager.custom_setup = Box::new(move |_| {
        let connector = connector.clone();
        let connecting = async move { connector.connect(statement_timeout).await };
        match &runtime {
            Some(runtime) => {
                runtime.spawn(connecting).map(|joined| joined.unwrap_or_else(|error| interrupted(&error))).boxed()
            }
            None => connecting.boxed(),
        }
    });
    // The URL stays out of the manager: its `Debug` is not ours.
    let manager = AsyncDieselConnectionManager::new_with_config(String::new(), manager);
    Pool::builder(manager).max_size(size).build().map_err(|error| StoreError::Url(error.to_string()))
}

/// Takes a connection, waiting at most [`ACQUIRE_TIMEOUT`].
pub(super) async fn get(pool: &Pool<AsyncPgConnection>) -> Result<Connection, StoreError> {
    match tokio::time::timeout(ACQUIRE_TIMEOUT, pool.get()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(PoolError::Backend(error))) => Err(StoreError::Unavailable(error.to_string())),
        Ok(Err(error)) => Err(StoreError::Unavailable(error.to_string())),
        Err(_) => Err(StoreError::Unavailable(format!("no connection within {ACQUIRE_TIMEOUT:?}"))),
    }
}

fn interrupted(error: &JoinError) -> ConnectionResult<AsyncPgConnection> {
    Err(ConnectionError::BadConnection(error.to_string()))
}

/// Makes connections to one Postgres.
pub(super) struct Connector {
    pub(super) target: Target,
    tls: MakeRustlsConnect,
}

impl Connector {
    pub(super) fn new(url: &SecretString) -> Result<Self, StoreError> {
        let target = Target::parse(url.expose_secret())?;
        let tls = MakeRustlsConnect::new(tls::config(&target)?);
        Ok(Self { target, tls })
    }

    async fn connect(&self, statement_timeout: Option<Duration>) -> ConnectionResult<AsyncPgConnection> {
        let mut connection = self.establish().await?;
        // A pooler would give these settings to whoever has the session next.
        if !self.target.is_pooled {
            let limit = statement_timeout.map(|limit| format!("; SET statement_timeout = {}", limit.as_millis()));
            let set = format!(
                "SET idle_in_transaction_session_timeout = {}{}",
                IDLE_IN_TRANSACTION.as_millis(),
                limit.unwrap_or_default(),
            );
            connection.batch_execute(&set).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        }
        Ok(connection)
    }

    /// A connection without any setting of ours.
    async fn establish(&self) -> ConnectionResult<AsyncPgConnection> {
        let tls = self.tls.clone();
        if self.target.is_pooled {
            self.establish_by(UnnamedConnector { mode: self.target.ssl_mode, tls }).await
        } else if self.target.ssl_mode == SslMode::Disable {
            self.establish_by(NoTls).await
        } else {
            self.establish_by(tls).await
        }
    }

    async fn establish_by<T>(&self, tls: T) -> ConnectionResult<AsyncPgConnection>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let bad = |error: tokio_postgres::Error| ConnectionError::BadConnection(describe(&error));
        let late = |_| ConnectionError::BadConnection(format!("no connection within {CONNECT_TIMEOUT:?}"));
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.target.config.connect(tls));
        let (client, connection) = connecting.await.map_err(late)?.map_err(bad)?;
        AsyncPgConnection::try_from_client_and_connection(client, connection).await
    }
}
