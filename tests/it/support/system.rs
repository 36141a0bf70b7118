//! A whole system of one's own: database, key space, sandbox, API and worker processes.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::{StreamExt as _, stream};
use shared::queue::Queue;
use tempfile::TempDir;

use super::client::Client;
use super::process::{Process, THIS_BUILD, command};
use super::sandbox::TestSandbox;
use super::{database, eventually};

/// The app that the tests' sandbox knows.
pub const CLIENT_KEY: &str = "aw1test";
/// Its secret; the secrets test looks for it everywhere.
pub const CLIENT_SECRET: &str = "test-client-secret-5f1c0c";
/// 32 bytes in base64; the secrets test looks for it everywhere.
pub const ENCRYPTION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// What a test asks for before its system starts.
pub struct SystemBuilder {
    apis: usize,
    workers: usize,
    database_server: Option<String>,
    redis: Option<String>,
    variables: Vec<(String, String)>,
    sandbox: sandbox::SandboxConfig,
    program: PathBuf,
}

/// A system that runs.
pub struct System {
    pub apis: Vec<Process>,
    pub workers: Vec<Process>,
    pub sandbox: TestSandbox,
    pub client: Client,
    pub clients: Vec<Client>,
    pub database_url: String,
    pub redis_url: String,
    pub folder: TempDir,
    pub variables: Vec<(String, String)>,
    /// What it runs and starts from now on; this build's, if nobody says otherwise.
    pub program: PathBuf,
    started_workers: usize,
}

impl System {
    /// One API process, one worker, the sandbox without limits or delays.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    pub fn builder() -> SystemBuilder {
        SystemBuilder {
            apis: 1,
            workers: 1,
            database_server: None,
            redis: None,
            variables: Vec::new(),
            sandbox: super::sandbox::config(),
            program: PathBuf::from(THIS_BUILD),
        }
    }

    /// Starts one more worker.
    pub fn add_worker(&mut self) -> &mut Process {
        self.started_workers += 1;
        let name = format!("worker-{}", self.started_workers);
        let command = command(&self.program, &["worker"], &self.variables, self.folder.path());
        self.workers.push(Process::spawn(&name, command, self.folder.path()));
        self.workers.last_mut().expect("just pushed")
    }

    /// Starts one more API process, and waits until it is ready; its client is the last one.
    #[allow(dead_code, reason = "only `tests/upgrade` has another build")]
    pub async fn add_api(&mut self) {
        let port = free_port();
        let client = Client::new(&format!("http://127.0.0.1:{port}"), &self.client.key);
        self.apis.push(start_api(&self.program, self.apis.len() + 1, port, &self.variables, self.folder.path()));
        is_ready(&client).await;
        self.clients.push(client);
    }

    /// A plain connection to the system's database.
    pub async fn sql(&self) -> tokio_postgres::Client {
        database::connect(&self.database_url).await
    }

    /// Runs `metriqlab ARGUMENTS…` to its end; its standard output, if it succeeded.
    pub async fn run(&self, arguments: &[&str]) -> String {
        run(&self.program, arguments, &self.variables, self.folder.path()).await
    }

    /// Runs `metriqlab ARGUMENTS…` to its end, however that is.
    pub async fn output(&self, arguments: &[&str]) -> std::process::Output {
        command(&self.program, arguments, &self.variables, self.folder.path())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("run the program")
    }

    /// Its queue, for looking at what the workers see.
    pub fn queue(&self) -> Queue {
        Queue::connect(&self.redis_url, self.prefix()).expect("a queue")
    }

    /// What all of its keys in Redis have in their names.
    pub fn prefix(&self) -> &str {
        let (_, prefix) = self.variables.iter().find(|(name, _)| name == "METRIQLAB_REDIS_PREFIX").expect("a prefix");
        prefix
    }

    /// A key of another project.
    pub async fn key(&self, project: &str) -> String {
        self.run(&["keys", "create", "--project", project]).await.trim().to_owned()
    }

    /// Connects a sandbox creator as a browser would, and gives our id for it.
    pub async fn connect(&self, open_id: &str) -> String {
        self.sandbox.connect(&self.client, open_id).await
    }

    /// The same for several, eight at a time: for more at once an API process may have no connection to Postgres left,
    /// and rightly says 503. Our ids, in the same order.
    pub async fn connect_all(&self, open_ids: &[String]) -> Vec<String> {
        stream::iter(open_ids.iter().map(|open_id| self.connect(open_id))).buffered(8).collect().await
    }

    /// Pauses a lane and waits until every worker has heard it; what the command said.
    pub async fn pause(&self, lane: &str) -> String {
        let said = self.run(&["queue", "pause", lane]).await;
        let word = format!("lane={lane} state=paused");
        eventually("every worker has heard it", async || {
            self.workers.iter().all(|worker| worker.said().contains(&word)).then_some(())
        })
        .await;
        said
    }

    /// Waits until every job has had its last word.
    pub async fn settled(&self) {
        let sql = self.sql().await;
        eventually("no job is open", async || {
            let open: i64 = sql
                .query_one("SELECT count(*) FROM jobs WHERE finished_at IS NULL", &[])
                .await
                .expect("count the jobs")
                .get(0);
            (open == 0).then_some(())
        })
        .await;
    }

    /// Everything that its processes said.
    pub fn logs(&self) -> String {
        self.apis.iter().chain(&self.workers).map(Process::said).collect()
    }

    /// Whether a try came to nothing because TikTok did not answer in time: where no fault was asked for, the machine
    /// stood still, and one try more is right.
    pub fn tried_again(&self) -> bool {
        let is_one = |line: &str| line.contains("the job will be tried again") && line.contains("the platform failed");
        self.logs().lines().any(is_one)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in self.apis.iter().chain(&self.workers) {
                let said = process.said();
                let tail: Vec<&str> = said.lines().rev().take(40).collect();
                eprintln!("--- the end of {}", process.log.display());
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

impl SystemBuilder {
    pub fn apis(mut self, number: usize) -> Self {
        self.apis = number;
        self
    }

    pub fn workers(mut self, number: usize) -> Self {
        self.workers = number;
        self
    }

    /// An environment variable for all its processes.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A Postgres server of the test's own, which it may stop.
    pub fn on_postgres(mut self, server: &str) -> Self {
        self.database_server = Some(server.to_owned());
        self
    }

    /// A Redis of the test's own, which it may stop and flush.
    pub fn on_redis(mut self, url: &str) -> Self {
        self.redis = Some(url.to_owned());
        self
    }

    /// Another build's program.
    #[allow(dead_code, reason = "only `tests/upgrade` has another build")]
    pub fn program(mut self, program: &Path) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// Changes the sandbox's settings before it starts.
    pub fn sandbox(mut self, change: impl FnOnce(&mut sandbox::SandboxConfig)) -> Self {
        change(&mut self.sandbox);
        self
    }

    pub async fn start(self) -> System {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let server = self.database_server.unwrap_or_else(|| database::server("METRIQLAB_TEST_DATABASE_URL"));
        let database_url = database::create(&server).await;
        let redis_url = self.redis.unwrap_or_else(|| database::server("METRIQLAB_TEST_REDIS_URL"));
        let prefix = format!("test-{}", uuid::Uuid::new_v4().simple());
        let ports: Vec<u16> = (0..self.apis.max(1)).map(|_| free_port()).collect();
        let public = format!("http://127.0.0.1:{}", ports[0]);
        let mut config = self.sandbox;
        config.redirect_uris = vec![format!("{public}/oauth/tiktok/callback")];
        let sandbox = TestSandbox::start(config);
        let mut variables: Vec<(String, String)> = [
            ("DATABASE_URL", database_url.as_str()),
            ("REDIS_URL", &redis_url),
            ("METRIQLAB_REDIS_PREFIX", &prefix),
            ("METRIQLAB_PUBLIC_URL", &public),
            ("METRIQLAB_ENCRYPTION_KEY", ENCRYPTION_KEY),
            ("METRIQLAB_API_RATE", "0"),
            ("TIKTOK_CLIENT_KEY", CLIENT_KEY),
            ("TIKTOK_CLIENT_SECRET", CLIENT_SECRET),
            ("TIKTOK_AUTH_URL", &sandbox.base),
            ("TIKTOK_API_URL", &sandbox.base),
            ("RUST_LOG", "info,metriqlab=debug,api=debug,worker=debug,shared=debug"),
        ]
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
        for (name, value) in self.variables {
            variables.retain(|(known, _)| *known != name);
            variables.push((name, value));
        }
        let program = self.program;
        run(&program, &["migrate"], &variables, folder.path()).await;
        let key = run(&program, &["keys", "create", "--project", "test"], &variables, folder.path()).await;
        let key = key.trim().to_owned();
        let apis: Vec<Process> = (0..self.apis)
            .map(|number| start_api(&program, number + 1, ports[number], &variables, folder.path()))
            .collect();
        let clients: Vec<Client> =
            ports.iter().map(|port| Client::new(&format!("http://127.0.0.1:{port}"), &key)).collect();
        let mut system = System {
            apis,
            workers: Vec::new(),
            sandbox,
            client: clients[0].clone(),
            clients,
            database_url,
            redis_url,
            folder,
            variables,
            program,
            started_workers: 0,
        };
        for _ in 0..self.workers {
            system.add_worker();
        }
        for client in system.clients.iter().take(system.apis.len()) {
            is_ready(client).await;
        }
        system
    }
}

fn start_api(program: &Path, number: usize, port: u16, variables: &[(String, String)], folder: &Path) -> Process {
    let mut own = variables.to_vec();
    own.push(("METRIQLAB_BIND".to_owned(), format!("127.0.0.1:{port}")));
    Process::spawn(&format!("api-{number}"), command(program, &["api"], &own, folder), folder)
}

async fn is_ready(client: &Client) {
    eventually("the API is ready", async || {
        let answer = client.http.get(format!("{}/readyz", client.base)).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}

async fn run(program: &Path, arguments: &[&str], variables: &[(String, String)], folder: &Path) -> String {
    let output = command(program, arguments, variables, folder).stdin(Stdio::null()).output().await;
    let output = output.expect("run the program");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("readable output")
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Below those that the system gives to connections: one of them could have it before the program listens on it. Processes
    // that run side by side begin at places of their own.
    (0..20_000)
        .map(|_| std::process::id().wrapping_mul(97).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % 20_000)
        .filter_map(|place| u16::try_from(10_000 + place).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
