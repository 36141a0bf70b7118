//! The folder `.metriqlab`: what the next start finds again, and the lock that keeps two starts apart.
//!
//! It holds `lock`, `encryption-key`, `api-key`, `project` (whose key that is), `api-url`, `sandbox-url`, and the folders `postgres` and `redis`. Root's servers run as another user,
//! who can't reach a folder below `/root`, say: then those two lie under `/var/lib/metriqlab`, and `elsewhere` links there.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use shared::api_key::ApiKey;
use shared::crypto::KeyRing;
use shared::ids::ProjectId;
use uuid::Uuid;

use super::account::Account;
use super::error::ServerError;
use super::files::{self, PASSAGE, make_folder};

/// How long the kernel may take to free the lock of a process that was just killed.
const DYING: Duration = Duration::from_millis(400);
const ELSEWHERE: &str = "/var/lib/metriqlab";
const API_URL: &str = "api-url";
const PROJECT: &str = "project";
const SANDBOX_URL: &str = "sandbox-url";

/// The folder, locked for us until this is dropped or the process ends, however it ends.
pub(super) struct Home {
    path: PathBuf,
    servers: PathBuf,
    /// Of the folder, and of where its link leads: a copy of the folder leads there, too.
    _locks: [File; 2],
}

impl Home {
    /// Opens the folder, which is made if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, ServerError> {
        make_folder(path, PASSAGE)?;
        let path = path.canonicalize().map_err(ServerError::io("find", path))?;
        let held = lock(&path.join("lock"))?;
        // Nothing in here belongs into a repository.
        let ignore = path.join(".gitignore");
        if !ignore.exists() {
            files::write_private(&ignore, "*\n")?;
        }
        let servers = match Account::for_data(&path.join("postgres/data"))? {
            Some(account) if !account.can_reach(&path) => elsewhere(&path)?,
            _ => path.clone(),
        };
        let servers_held = lock(&servers.join("servers-lock"))?;
        Ok(Self { path, servers, _locks: [held, servers_held] })
    }

    /// Where the servers' folders go.
    pub(super) fn servers(&self) -> &Path {
        &self.servers
    }

    /// The key that encrypts tokens: made once, since what it has encrypted opens with nothing else.
    pub(super) fn encryption_key(&self) -> Result<SecretString, ServerError> {
        let file = self.path.join("encryption-key");
        if let Some(key) = files::read(&file)? {
            return Ok(SecretString::from(key));
        }
        let key = KeyRing::generate_key();
        files::write_private(&file, key.expose_secret())?;
        Ok(key)
    }

    /// The API key that an earlier start has made.
    pub(super) fn api_key(&self) -> Result<Option<ApiKey>, ServerError> {
        let text = files::read(&self.path.join("api-key"))?;
        Ok(text.and_then(|text| ApiKey::parse(&text).ok()))
    }

    /// The project of the API key.
    pub(super) fn project(&self) -> Result<Option<ProjectId>, ServerError> {
        let text = files::read(&self.path.join(PROJECT))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Keeps the project of the API key for the next start.
    pub(super) fn keep_project(&self, project: ProjectId) -> Result<(), ServerError> {
        files::write_private(&self.path.join(PROJECT), &project.to_string())
    }

    /// Says where the API and the sandbox are, if there is one: for [`Kept`].
    pub(super) fn keep_addresses(&self, api: &str, sandbox: Option<&str>) -> Result<(), ServerError> {
        files::write_private(&self.path.join(API_URL), api)?;
        files::write_private(&self.path.join(SANDBOX_URL), sandbox.unwrap_or_default())
    }

    /// Keeps an API key for the next start.
    pub(super) fn keep_api_key(&self, key: &ApiKey) -> Result<(), ServerError> {
        files::write_private(&self.path.join("api-key"), key.expose())
    }
}

/// What `up` has kept in a folder, for the commands that look at its system from outside.
#[derive(Clone, Default)]
pub struct Kept {
    /// The private Postgres.
    pub database_url: Option<SecretString>,
    /// The private Redis.
    pub redis_url: Option<SecretString>,
    /// The key that encrypts tokens.
    pub encryption_key: Option<SecretString>,
    /// Where the API was at the last start.
    pub api_url: Option<String>,
    /// Where the sandbox was at the last start, if there was one.
    pub sandbox_url: Option<String>,
}

impl Kept {
    /// What is kept in `folder`; nothing, where there is no such folder. Takes no lock: `up` may run meanwhile.
    pub fn read(folder: &Path) -> Result<Self, ServerError> {
        let link = folder.join("elsewhere");
        let servers = link.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let text = |path: &Path| files::read(path).map(|text| text.filter(|text| !text.is_empty()));
        let secret = |path: &Path| text(path).map(|text| text.map(SecretString::from));
        Ok(Self {
            database_url: secret(&servers.join("postgres/url"))?,
            redis_url: secret(&servers.join("redis/url"))?,
            encryption_key: secret(&folder.join("encryption-key"))?,
            api_url: text(&folder.join(API_URL))?,
            sandbox_url: text(&folder.join(SANDBOX_URL))?,
        })
    }
}

/// Where `path` keeps what its servers' account can't reach below it.
fn elsewhere(path: &Path) -> Result<PathBuf, ServerError> {
    let link = path.join("elsewhere");
    if let Ok(found) = link.canonicalize() {
        return Ok(found);
    }
    let place = Path::new(ELSEWHERE).join(Uuid::new_v4().to_string());
    make_folder(Path::new(ELSEWHERE), PASSAGE)?;
    make_folder(&place, PASSAGE)?;
    // There may be a link to what somebody has removed.
    let _ = std::fs::remove_file(&link);
    symlink(&place, &link).map_err(ServerError::io("link", &link))?;
    Ok(place)
}

/// The kernel frees this lock when the process ends; the number in it is for people.
fn lock(path: &Path) -> Result<File, ServerError> {
    let mut file = files::open_lock(path)?;
    let deadline = Instant::now() + DYING;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(DYING / 20),
            Err(TryLockError::WouldBlock) => {
                let holder = files::read(path)?.filter(|holder| !holder.is_empty());
                return Err(ServerError::InUse { holder: holder.unwrap_or_else(|| "unknown".into()) });
            }
            Err(TryLockError::Error(error)) => return Err(ServerError::io("lock", path)(error)),
        }
    }
    let mut note = || {
        file.set_len(0)?;
        write!(file, "{}", std::process::id())
    };
    note().map_err(ServerError::io("write", path))?;
    Ok(file)
}
