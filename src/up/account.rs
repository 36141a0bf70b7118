//! Whom the private servers run as.
//!
//! Postgres refuses to run as root, and Redis has no need to. So root runs both as an unprivileged user; anybody else runs
//! them as themselves.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use nix::unistd::{User, geteuid};
use tokio::process::Command;

use super::error::ServerError;

/// Users that a system may have for this, the best first.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// A user that servers run as instead of root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// Whom to run a server as whose data is, or will be, at `data`; `None` for ourselves. Data that is there already stays
    /// its owner's, so that a folder works for a user again after root used it.
    pub fn for_data(data: &Path) -> Result<Option<Self>, ServerError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        if let Ok(found) = data.metadata()
            && found.uid() != 0
        {
            return Ok(Some(Self { uid: found.uid(), gid: found.gid() }));
        }
        let known = CANDIDATES.iter().find_map(|name| User::from_name(name).ok().flatten());
        let known = known.ok_or(ServerError::NoAccount)?;
        Ok(Some(Self { uid: known.uid.as_raw(), gid: known.gid.as_raw() }))
    }

    /// Whether this user can get to `folder`, by the permission bits of every folder on the way.
    pub fn can_reach(self, folder: &Path) -> bool {
        let Ok(folder) = folder.canonicalize() else { return false };
        folder.ancestors().all(|step| {
            step.metadata().is_ok_and(|found| {
                let search = if found.uid() == self.uid {
                    0o100
                } else if found.gid() == self.gid {
                    0o010
                } else {
                    0o001
                };
                found.mode() & search != 0
            })
        })
    }
}

/// Gives `path` to the account, if there is one.
pub(super) fn give(path: &Path, account: Option<Account>) -> Result<(), ServerError> {
    let Some(Account { uid, gid }) = account else { return Ok(()) };
    chown(path, Some(uid), Some(gid)).map_err(ServerError::io("give its owner to", path))
}

/// Makes the command run as the account, if there is one. The standard library drops root's other groups as well.
pub(super) fn run_as(command: &mut Command, account: Option<Account>) {
    if let Some(Account { uid, gid }) = account {
        command.uid(uid).gid(gid);
    }
}
