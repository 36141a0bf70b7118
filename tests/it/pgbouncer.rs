//! The system behind a pgbouncer that gives each transaction another session.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures::future::join_all;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use url::Url;

use crate::support::{System, database, eventually, process};

/// Fewer sessions than the system has connections: they are shared, and change hands all the time.
const SESSIONS: usize = 5;

struct PgBouncer {
    port: u16,
    _child: Child,
    _folder: TempDir,
}

impl PgBouncer {
    /// In front of the Postgres at `server`, for all of its databases, as its user.
    async fn start(server: &str) -> Self {
        let folder = metriqlab::up::temporary_folder().expect("a folder");
        let server = Url::parse(server).expect("a URL");
        let port = crate::support::system::free_port();
        let password = server.password().map(|password| format!(" password={password}")).unwrap_or_default();
        // No prepared statements, as versions before 1.21 have none: the harder case.
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={}{password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = {SESSIONS}\nmax_client_conn = 200\n{}",
            server.port().unwrap_or(5432),
            server.username(),
            if has_prepared_statements().await { "max_prepared_statements = 0\n" } else { "" },
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, config).expect("write its settings");
        let mut command = Command::new(binary());
        if nix::unistd::geteuid().is_root() {
            // It refuses to be root.
            command.args(["-u", "nobody"]);
        }
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .kill_on_drop(true)
            .spawn();
        let child = child.expect("start pgbouncer");
        eventually("pgbouncer listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        Self { port, _child: child, _folder: folder }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://anybody@127.0.0.1:{}/{database}", self.port)
    }
}

fn binary() -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin"];
    let mut found = folders.iter().map(|folder| Path::new(folder).join("pgbouncer")).filter(|path| path.exists());
    found.next().expect("pgbouncer, which `make test` installs")
}

/// Whether this version knows the setting, and so would keep statements by default.
async fn has_prepared_statements() -> bool {
    let output = Command::new(binary()).arg("--version").output().await.expect("its version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(1).expect("a version");
    let numbers: Vec<u32> = version.split('.').filter_map(|number| number.parse().ok()).collect();
    numbers.as_slice() >= &[1, 21][..]
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_through_a_pooler_by_transaction() {
    let server = database::server("METRIQLAB_TEST_DATABASE_URL");
    let direct = database::create(&server).await;
    let name = Url::parse(&direct).expect("a URL").path().trim_start_matches('/').to_owned();
    let pooler = PgBouncer::start(&server).await;
    let url = format!("{}?pgbouncer=true", pooler.url(&name));
    let system = System::builder().set("DATABASE_URL", &url).apis(2).workers(2).start().await;
    let creators = join_all((0..6).map(async |number| {
        let open_id = system.sandbox.user(30 + number).await;
        let id = system.connect(&open_id).await;
        (id, 30 + number)
    }))
    .await;
    for _ in 0..3 {
        join_all(system.clients.iter().flat_map(|client| creators.iter().map(|(id, _)| client.sync(id)))).await;
    }
    for (id, videos) in &creators {
        assert_eq!(system.client.all_videos(id).await.len(), *videos);
    }
    system.run(&["resync", "--all", "--follow"]).await;
    let client = &system.client;
    let disconnected =
        join_all(creators.iter().map(async |(id, _)| {
            client.delete(&format!("/api/v1/creators/{id}")).await.data(200)["disconnected"].clone()
        }));
    assert!(disconnected.await.iter().all(|answer| *answer == true));
    let sql = database::connect(&direct).await;
    let done: i64 = sql.query_one("SELECT count(*) FROM jobs WHERE state = 'done'", &[]).await.unwrap().get(0);
    assert!(done >= 12, "it was this database that worked");
    // This one is direct. Another that was just closed, as `database::create`'s is, may be there for a moment still.
    let sessions = "SELECT count(*) FROM pg_stat_activity \
                    WHERE datname = current_database() AND backend_type = 'client backend'";
    eventually("the sessions are shared", async || {
        let sessions: i64 = sql.query_one(sessions, &[]).await.unwrap().get(0);
        (usize::try_from(sessions).unwrap() <= SESSIONS + 1).then_some(())
    })
    .await;
    let logs = system.logs();
    assert!(!logs.contains("prepared statement"), "{logs}");

    assert_eq!(pooler_line(&system, &url).await["level"], "ok");
    let unsaid = pooler_line(&system, &pooler.url(&name)).await;
    assert!(unsaid["level"] == "fail" && unsaid["remedy"].as_str().unwrap().contains("pgbouncer=true"), "{unsaid}");
    assert_eq!(pooler_line(&system, &direct).await["level"], "ok");
}

/// What the doctor says of the way to Postgres: its line on the pooler, or that on Postgres if it does not get so far.
async fn pooler_line(system: &System, url: &str) -> Value {
    let mut variables = system.variables.clone();
    variables.retain(|(name, _)| name != "DATABASE_URL");
    variables.push(("DATABASE_URL".to_owned(), url.to_owned()));
    let output =
        process::program(&["doctor", "--json"], &variables, system.folder.path()).output().await.expect("run it");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let checks = report["checks"].as_array().expect("checks");
    let line = |name: &str| checks.iter().find(|check| check["name"] == name).cloned();
    line("pooler").or_else(|| line("Postgres")).expect("a line")
}
