//! The processes of both versions, and what they share.

use std::path::{Path, PathBuf};

use futures::future::join_all;

use crate::audit::{self, Witnessed};
use crate::support::process::{Process, THIS_BUILD, command};
use crate::support::servers::{PrivatePostgres, PrivateRedis};
use crate::support::{Client, System, eventually};

/// Which program a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Old,
    New,
}

/// A creator: our id for it, and TikTok's.
pub struct Account {
    pub id: String,
    pub open_id: String,
}

/// One API process of each version at the most, the old one first, and workers.
pub struct Fleet {
    pub system: System,
    old: PathBuf,
    started_workers: usize,
    _servers: (PrivatePostgres, PrivateRedis),
}

impl Fleet {
    /// The old version as it was deployed: its schema, an API process and a worker. Without PKCE, as by default: a consent that a
    /// version began with a verifier that it seals can't end at one that does not know of that.
    pub async fn of_old(old: PathBuf) -> Self {
        let servers = (PrivatePostgres::start().await, PrivateRedis::start().await);
        let system = System::builder()
            .program(&old)
            .workers(0)
            .on_postgres(&servers.0.url)
            .on_redis(&servers.1.url)
            .set("METRIQLAB_RESYNC_EVERY", "off")
            .set("METRIQLAB_SHUTDOWN_GRACE", "1s")
            .start()
            .await;
        audit::install(&system.sql().await).await;
        let mut fleet = Self { system, old, started_workers: 0, _servers: servers };
        fleet.add_worker(Version::Old).await;
        fleet
    }

    pub fn program(&self, version: Version) -> &Path {
        match version {
            Version::Old => &self.old,
            Version::New => Path::new(THIS_BUILD),
        }
    }

    /// Who speaks to the API process of this version.
    pub fn client(&self, version: Version) -> &Client {
        match version {
            Version::Old => &self.system.clients[0],
            Version::New => &self.system.clients[1],
        }
    }

    /// `metriqlab ARGUMENTS…` of this version, to its end.
    pub async fn output(&self, version: Version, arguments: &[&str]) -> std::process::Output {
        let folder = self.system.folder.path();
        command(self.program(version), arguments, &self.system.variables, folder)
            .output()
            .await
            .expect("run the program")
    }

    /// The same where it must succeed; its standard output.
    pub async fn run(&self, version: Version, arguments: &[&str]) -> String {
        let output = self.output(version, arguments).await;
        assert!(output.status.success(), "{version:?} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("readable output")
    }

    /// New creators with that many videos each, connected by the old API and synced.
    pub async fn connect(&self, number: usize, videos: usize) -> Vec<Account> {
        let accounts = join_all((0..number).map(async |_| {
            let open_id = self.system.sandbox.user(videos).await;
            let id = self.system.sandbox.connect(self.client(Version::Old), &open_id).await;
            Account { id, open_id }
        }))
        .await;
        self.system.settled().await;
        accounts
    }

    /// Starts a worker, and waits until it is ready. Its connections carry its name, for the witness; its log is the last one.
    pub async fn add_worker(&mut self, version: Version) {
        self.started_workers += 1;
        let name = format!("worker-{}", self.started_workers);
        let mut variables = self.system.variables.clone();
        for (variable, value) in &mut variables {
            if variable == "DATABASE_URL" {
                *value = format!("{value}?application_name={name}");
            }
        }
        let folder = self.system.folder.path();
        let process = Process::spawn(&name, command(self.program(version), &["worker"], &variables, folder), folder);
        eventually("the worker is ready", async || process.said().contains("the worker is ready").then_some(())).await;
        self.system.workers.push(process);
    }

    /// Starts workers of these versions, and stops all that run.
    pub async fn replace_workers(&mut self, versions: &[Version]) {
        let leaving = self.system.workers.len();
        for version in versions {
            self.add_worker(*version).await;
        }
        for mut worker in self.system.workers.drain(..leaving) {
            assert!(worker.terminate().await.success(), "{}", worker.said());
        }
    }

    pub async fn start_api(&mut self, version: Version) {
        self.program(version).to_owned().clone_into(&mut self.system.program);
        self.system.add_api().await;
    }

    pub async fn stop_new_api(&mut self) {
        let mut api = self.system.apis.pop().expect("an API process of the new version");
        self.system.clients.pop();
        assert!(api.terminate().await.success(), "{}", api.said());
    }

    /// What the witness saw of all of it, and what the processes said.
    pub async fn verdict(&self) {
        self.system.settled().await;
        let sql = self.system.sql().await;
        let seen = Witnessed::read(&sql).await;
        audit::explain(&sql).await;
        println!(
            "{} syncs and {} disconnects done, {} given up, {} lost, {} doubled, {} writes by who had lost the job",
            seen.done, seen.revoked, seen.failed, seen.lost, seen.doubled, seen.zombies
        );
        assert_eq!((seen.failed, seen.lost, seen.doubled, seen.zombies), (0, 0, 0, 0));
        for log in std::fs::read_dir(self.system.folder.path()).expect("the logs") {
            let path = log.expect("a log").path();
            let said = std::fs::read_to_string(&path).expect("a log that can be read");
            let wrong = said.lines().find(|line| line.contains(" ERROR ") || line.contains("panicked"));
            assert_eq!(wrong, None, "{}", path.display());
        }
    }
}
