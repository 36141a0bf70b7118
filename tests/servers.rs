//! The private servers by themselves, as tests and benchmarks use them.
#![expect(clippy::expect_used, reason = "a test fails by them")]

use std::path::Path;
use std::time::{Duration, Instant};

use metriqlab::up::postgres::{Postgres, PostgresOptions};
use metriqlab::up::redis::{Redis, RedisOptions};
use metriqlab::up::{ServerError, TemporaryServers, temporary_folder};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::{ExposeSecret as _, SecretString};

async fn sql(url: &SecretString) -> tokio_postgres::Client {
    let connected = tokio_postgres::connect(url.expose_secret(), tokio_postgres::NoTls).await;
    let (client, connection) = connected.expect("connect to Postgres");
    tokio::spawn(connection);
    client
}

async fn redis(url: &SecretString) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url.expose_secret()).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("connect to Redis")
}

fn is_gone(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_err()
}

#[tokio::test]
async fn a_postgres_comes_back_with_its_data_under_the_same_url() {
    let folder = temporary_folder().expect("a folder");
    let place = folder.path().join("postgres");
    let postgres = Postgres::start(&place, &PostgresOptions::default()).await.expect("a Postgres");
    let (url, port, pid) = (postgres.url().clone(), postgres.port(), postgres.pid().expect("a process id"));
    sql(&url).await.batch_execute("CREATE TABLE kept AS SELECT 7 AS number").await.expect("a table");
    postgres.stop().await;
    assert!(is_gone(pid));

    let options = PostgresOptions { port: Some(port), ..PostgresOptions::default() };
    let again = Postgres::start(&place, &options).await.expect("the same Postgres");
    assert_eq!(again.url().expose_secret(), url.expose_secret());
    let number: i32 = sql(&url).await.query_one("SELECT number FROM kept", &[]).await.expect("the table").get(0);
    assert_eq!(number, 7);
    again.stop().await;
}

#[tokio::test]
async fn a_killed_postgres_recovers() {
    let folder = temporary_folder().expect("a folder");
    let place = folder.path().join("postgres");
    let mut postgres = Postgres::start(&place, &PostgresOptions::default()).await.expect("a Postgres");
    let client = sql(postgres.url()).await;
    client.batch_execute("CREATE TABLE kept AS SELECT 7 AS number").await.expect("a table");
    kill(Pid::from_raw(postgres.pid().expect("a process id")), Signal::SIGKILL).expect("kill it");
    assert!(matches!(postgres.died().await, ServerError::Stopped { .. }));

    let again = Postgres::start(&place, &PostgresOptions::default()).await.expect("the same Postgres");
    let kept = sql(again.url()).await.query_one("SELECT number FROM kept", &[]).await;
    assert_eq!(kept.expect("the table").get::<_, i32>(0), 7);
    again.stop().await;
}

#[tokio::test]
async fn a_redis_comes_back_with_its_data_under_the_same_url() {
    let folder = temporary_folder().expect("a folder");
    let place = folder.path().join("redis");
    let first = Redis::start(&place, &RedisOptions::default()).await.expect("a Redis");
    let (url, port, pid) = (first.url().clone(), first.port(), first.pid().expect("a process id"));
    let mut connection = redis(&url).await;
    let _: () = redis::cmd("SET").arg("kept").arg(7).query_async(&mut connection).await.expect("set it");
    let policy: Vec<String> =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").query_async(&mut connection).await.expect("read it");
    assert_eq!(policy, ["maxmemory-policy", "noeviction"]);
    first.stop().await;
    assert!(is_gone(pid));

    let options = RedisOptions { port: Some(port), ..RedisOptions::default() };
    let again = Redis::start(&place, &options).await.expect("the same Redis");
    assert_eq!(again.url().expose_secret(), url.expose_secret());
    let kept: i64 = redis::cmd("GET").arg("kept").query_async(&mut redis(&url).await).await.expect("get it");
    assert_eq!(kept, 7);
    again.stop().await;
}

#[tokio::test]
async fn a_killed_redis_has_what_it_wrote_down() {
    let folder = temporary_folder().expect("a folder");
    let place = folder.path().join("redis");
    let mut first = Redis::start(&place, &RedisOptions::default()).await.expect("a Redis");
    let mut connection = redis(first.url()).await;
    let set = redis::cmd("SET").arg("kept").arg("as it was said").exec_async(&mut connection).await;
    set.expect("set it");
    // While a sync is under way, the file may wait for it.
    let start = Instant::now();
    while !holds(&place.join("data"), b"as it was said") {
        assert!(start.elapsed() < Duration::from_secs(60), "it is written nowhere");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    kill(Pid::from_raw(first.pid().expect("a process id")), Signal::SIGKILL).expect("kill it");
    assert!(matches!(first.died().await, ServerError::Stopped { .. }));

    let again = Redis::start(&place, &RedisOptions::default()).await.expect("the same Redis");
    let kept: String = redis::cmd("GET").arg("kept").query_async(&mut redis(again.url()).await).await.expect("get it");
    assert_eq!(kept, "as it was said");
    again.stop().await;
}

/// Whether a file below `folder` has these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.any(|path| {
        let read = || std::fs::read(&path).is_ok_and(|text| text.windows(bytes.len()).any(|part| part == bytes));
        if path.is_dir() { holds(&path, bytes) } else { read() }
    })
}

/// After a reboot, the process id in `postmaster.pid` may be anybody's.
#[tokio::test]
async fn a_stale_pid_file_that_names_another_program_is_no_trouble() {
    let folder = temporary_folder().expect("a folder");
    let place = folder.path().join("postgres");
    Postgres::start(&place, &PostgresOptions::default()).await.expect("a Postgres").stop().await;
    std::fs::write(place.join("data/postmaster.pid"), format!("{}\n", std::process::id())).expect("write it");
    Postgres::start(&place, &PostgresOptions::default()).await.expect("a Postgres").stop().await;
}

#[tokio::test]
async fn data_of_a_version_that_is_not_installed_is_said() {
    let folder = temporary_folder().expect("a folder");
    let place = folder.path().join("postgres");
    std::fs::create_dir_all(place.join("data")).expect("make it");
    std::fs::write(place.join("data/PG_VERSION"), "7\n").expect("write it");
    let refused = Postgres::start(&place, &PostgresOptions::default()).await.map(|_| ());
    let text = refused.expect_err("no Postgres 7").to_string();
    assert!(text.contains("Postgres 7") && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn temporary_servers_leave_nothing_behind() {
    let servers = TemporaryServers::start().await.expect("servers");
    let pids = [servers.postgres.pid(), servers.redis.pid()].map(|pid| pid.expect("a process id"));
    let one: i32 = sql(servers.postgres.url()).await.query_one("SELECT 1", &[]).await.expect("an answer").get(0);
    assert_eq!(one, 1);
    let folder = servers.folder().to_owned();
    assert!(Path::new(&folder).exists());
    servers.stop().await;
    assert!(pids.into_iter().all(is_gone) && !folder.exists());
}
