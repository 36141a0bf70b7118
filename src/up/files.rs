//! Folders and files that only their owner reads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::error::ServerError;

/// A folder that others may pass through but not list: the account that the servers run as has to.
pub(super) const PASSAGE: u32 = 0o711;
/// A folder for one user alone.
pub(super) const PRIVATE: u32 = 0o700;

/// Makes a folder, unless it is there.
pub(super) fn make_folder(path: &Path, mode: u32) -> Result<(), ServerError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result.map_err(ServerError::io("make the folder", path)),
    }
}

/// Writes a file with mode 0600, whole or not at all, also through a crash.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ServerError> {
    let draft = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(ServerError::io("write", path))
}

/// A file's text without the white space around it; `None` where there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, ServerError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ServerError::io("read", path)(error)),
    }
}

/// Opens a server's log anew, for its standard output and error.
pub(super) fn open_log(path: &Path) -> Result<File, ServerError> {
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(ServerError::io("write", path))
}

/// The last line of a log that is not empty.
pub(super) fn last_line(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing").to_owned()
}

/// Removes a folder with all that is in it, if it is there.
pub(super) fn remove_folder(path: &Path) -> Result<(), ServerError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(ServerError::io("remove", path)),
    }
}
