//! The folder `.metriqlab`: what the next start finds again, and the lock that keeps two starts apart.
//!
//! It holds `lock`, `encryption-key`, `api-key`, and the folders `postgres` and `redis`. Root's servers run as another user,
//! who can't reach a folder below `/root`, say: then those two lie under `/var/lib/metriqlab`, and `elsewhere` links there.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use shared::api_key::ApiKey;
use shared::crypto::KeyRing;
use uuid::Uuid;

use super::account::Account;
use super::error::ServerError;
use super::files::{self, PASSAGE, make_folder};

/// How long the kernel may take to free the lock of a process that was just killed.
const DYING: Duration = Duration::from_millis(400);
const ELSEWHERE: &str = "/var/lib/metriqlab";

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

    /// Keeps an API key for the next start.
    pub(super) fn keep_api_key(&self, key: &ApiKey) -> Result<(), ServerError> {
        files::write_private(&self.path.join("api-key"), key.expose())
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
