//! What the benchmarks of the whole system have in common.
#![allow(dead_code, unused_imports, reason = "each benchmark uses a part of it")]

#[path = "../../tests/it/support/mod.rs"]
pub mod support;

use std::time::Duration;

use shared::ids::ProjectId;
use tokio_postgres::Client as Sql;
use uuid::Uuid;

use support::System;
use support::servers::PrivatePostgres;

/// One API process alone on that server: what is read was put there by SQL.
pub async fn without_workers(postgres: &PrivatePostgres) -> System {
    System::builder().on_postgres(&postgres.url).workers(0).set("RUST_LOG", "warn").start().await
}

/// The one project that a system has.
pub async fn project(sql: &Sql) -> ProjectId {
    let id: String = sql.query_one("SELECT id::text FROM projects", &[]).await.expect("a project").get(0);
    ProjectId::from(id.parse::<Uuid>().expect("an id"))
}

/// Sets the server's own settings; they hold when it has read them anew, or was restarted.
pub async fn alter_system(postgres: &PrivatePostgres, settings: &[&str]) {
    let sql = support::database::connect(&postgres.url).await;
    for setting in settings {
        sql.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.expect("set");
    }
}

/// Median and 99th percentile of the times after the first tenth, which fills caches.
pub fn percentiles(times: &mut Vec<Duration>) -> (Duration, Duration) {
    times.drain(..times.len() / 10);
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// How many cores this machine has.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}
