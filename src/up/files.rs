//! Folders and files that only their owner reads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown, lchown};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use super::error::ServerError;

/// A folder that others may pass through but not list: the account that the servers run as has to.
pub(super) const PASSAGE: u32 = 0o711;
/// A folder for one user alone.
pub(super) const PRIVATE: u32 = 0o700;

/// Makes a folder, unless it is there.
pub(super) fn make_folder(path: &Path, mode: u32) -> Result<(), ServerError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => owner_above(path)
            .map_or(Ok(()), |(uid, gid)| lchown(path, Some(uid), Some(gid)))
            .map_err(ServerError::io("give its owner to", path)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(ServerError::io("make the folder", path)(error)),
    }
}

/// Whose the folder around `path` is, if that is somebody else. What root makes in a user's folder is that user's, who can
/// go on there afterwards.
fn owner_above(path: &Path) -> Option<(u32, u32)> {
    let found = path.parent()?.metadata().ok()?;
    (geteuid().is_root() && found.uid() != 0).then_some((found.uid(), found.gid()))
}

/// A new file with mode 0600 in the place of `path`. The old one goes first: it may be a link, which is not followed.
fn create(path: &Path) -> std::io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some((uid, gid)) = owner_above(path) {
        fchown(&file, Some(uid), Some(gid))?;
    }
    Ok(file)
}

/// Writes a file with mode 0600, whole or not at all, also through a crash.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ServerError> {
    let draft = path.with_extension("new");
    let write = || {
        let mut file = create(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(ServerError::io("write", path))
}

/// A new log for a server's standard output and error.
pub(super) fn open_log(path: &Path) -> Result<File, ServerError> {
    create(path).map_err(ServerError::io("write", path))
}

/// Opens a file to lock it, and makes it if it is not there; never through a link.
pub(super) fn open_lock(path: &Path) -> Result<File, ServerError> {
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = open.custom_flags(OFlag::O_NOFOLLOW.bits()).open(path).map_err(ServerError::io("open", path))?;
    if let Some((uid, gid)) = owner_above(path) {
        fchown(&file, Some(uid), Some(gid)).map_err(ServerError::io("give its owner to", path))?;
    }
    Ok(file)
}

/// A file's text without the white space around it; `None` where there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, ServerError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ServerError::io("read", path)(error)),
    }
}

/// The last line of a log that is not empty.
pub(super) fn last_line(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing").to_owned()
}
