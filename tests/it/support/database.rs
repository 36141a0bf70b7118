//! A database of one's own on the servers that `make test` started.

use tokio_postgres::NoTls;
use url::Url;

/// The servers that this run uses, as `make test` names them.
pub fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run the tests with `make test`"))
}

/// A fresh, empty database on `server`; its URL.
pub async fn create(server: &str) -> String {
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let client = connect(server).await;
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("create a database");
    let mut url = Url::parse(server).expect("a database URL");
    url.set_path(&name);
    url.to_string()
}

/// A plain connection, for looking at what the program wrote.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect to Postgres");
    tokio::spawn(connection);
    client
}
