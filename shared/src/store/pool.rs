//! Connections to Postgres: TLS by rustls, a pool, and what to say when there is none to be had.

use std::sync::Arc;
use std::time::Duration;

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use futures::FutureExt as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio_postgres::config::SslMode;

use super::StoreError;

/// How long a caller waits for a connection before it is told that Postgres is out of reach.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a new connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a transaction may stand open without a statement before Postgres ends it. No transaction of ours waits for
/// anything but Postgres, so one that does belongs to a process that stands still (paused, or its machine is): its locks
/// would hold up whoever takes its jobs over, and every caller of their creators. As long as a worker is given before it is
/// presumed dead.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);

/// How long what was sent may stay unacknowledged before the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// One connection out of the pool.
pub type Connection = Object<AsyncPgConnection>;

/// How Postgres's certificate is treated. The words are libpq's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verify {
    /// `prefer` and `require` encrypt and do not ask who is there, as with libpq.
    Nobody,
    /// `verify-ca` and `verify-full`: by the system's root certificates (or those of `SSL_CERT_FILE`).
    Full,
}

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
    let (config, verify) = parse(url.expose_secret())?;
    let config = Arc::new(config);
    let tls = tls(verify)?;
    let mut manager = ManagerConfig::<AsyncPgConnection>::default();
    // A closed connection is recognised without a query; the statement that finds a dead one gets a 503.
    manager.recycling_method = RecyclingMethod::Fast;
    let runtime = Handle::try_current().ok();
    manager.custom_setup = Box::new(move |_| {
        let (config, tls) = (config.clone(), tls.clone());
        let connecting = async move { connect(&config, tls, statement_timeout).await };
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
        Ok(Err(error)) => Err(StoreError::Unavailable(error.to_string())),
        Err(_) => Err(StoreError::Unavailable(format!("no connection within {ACQUIRE_TIMEOUT:?}"))),
    }
}

fn parse(url: &str) -> Result<(tokio_postgres::Config, Verify), StoreError> {
    let full = ["sslmode=verify-full", "sslmode=verify-ca"].iter().find(|mode| url.contains(**mode));
    let verify = if full.is_some() { Verify::Full } else { Verify::Nobody };
    let url = full.map_or_else(|| url.to_owned(), |mode| url.replace(mode, "sslmode=require"));
    let mut config: tokio_postgres::Config =
        url.parse().map_err(|error: tokio_postgres::Error| StoreError::Url(describe(&error)))?;
    config.connect_timeout(CONNECT_TIMEOUT);
    config.keepalives_idle(Duration::from_secs(15));
    config.keepalives_interval(Duration::from_secs(5));
    config.keepalives_retries(3);
    // Else a statement that was sent into a cut cable waits for a quarter of an hour.
    config.tcp_user_timeout(UNACKNOWLEDGED);
    if config.get_application_name().is_none() {
        config.application_name("metriqlab");
    }
    Ok((config, verify))
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

fn interrupted(error: &JoinError) -> ConnectionResult<AsyncPgConnection> {
    Err(ConnectionError::BadConnection(error.to_string()))
}

async fn connect(
    config: &tokio_postgres::Config,
    tls: tokio_postgres_rustls::MakeRustlsConnect,
    statement_timeout: Option<Duration>,
) -> ConnectionResult<AsyncPgConnection> {
    let mut connection = establish(config, tls).await?;
    let limit = statement_timeout.map(|limit| format!("; SET statement_timeout = {}", limit.as_millis()));
    let set = format!(
        "SET idle_in_transaction_session_timeout = {}{}",
        IDLE_IN_TRANSACTION.as_millis(),
        limit.unwrap_or_default(),
    );
    connection.batch_execute(&set).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

async fn establish(
    config: &tokio_postgres::Config,
    tls: tokio_postgres_rustls::MakeRustlsConnect,
) -> ConnectionResult<AsyncPgConnection> {
    let bad = |error: tokio_postgres::Error| ConnectionError::BadConnection(describe(&error));
    let late = |_| ConnectionError::BadConnection(format!("no connection within {CONNECT_TIMEOUT:?}"));
    if config.get_ssl_mode() == SslMode::Disable {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(tokio_postgres::NoTls));
        let (client, connection) = connecting.await.map_err(late)?.map_err(bad)?;
        return AsyncPgConnection::try_from_client_and_connection(client, connection).await;
    }
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(tls));
    let (client, connection) = connecting.await.map_err(late)?.map_err(bad)?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

fn tls(verify: Verify) -> Result<tokio_postgres_rustls::MakeRustlsConnect, StoreError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Url(error.to_string()))?;
    let config = match verify {
        Verify::Nobody => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone(provider))).with_no_client_auth()
        }
        Verify::Full => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    Ok(tokio_postgres_rustls::MakeRustlsConnect::new(config))
}

/// Encrypts without asking who is there: what `sslmode=prefer` and `require` mean to libpq, and what a server with a
/// self-signed certificate, Debian's default, needs.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
