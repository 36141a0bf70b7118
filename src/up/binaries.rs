//! Where the servers' programs are, on Debian, Fedora, Alpine, Arch and macOS.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::ServerError;

/// Folders whose subfolders (one a version) hold Postgres's programs, with what lies between.
const POSTGRES_FAMILIES: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
];
/// Searched after PATH, which may be short for a service or a user.
const COMMON: [&str; 5] =
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin"];

/// Package managers, and how each names the two packages.
const PACKAGE_MANAGERS: [(&str, &str, &str, &str); 5] = [
    ("apt-get", "sudo apt-get install", "postgresql", "redis-server"),
    ("dnf", "sudo dnf install", "postgresql-server", "valkey"),
    ("apk", "sudo apk add", "postgresql", "redis"),
    ("pacman", "sudo pacman -S", "postgresql", "valkey"),
    ("brew", "brew install", "postgresql@17", "redis"),
];

/// Postgres's programs, of one version.
#[derive(Debug, Clone)]
pub(super) struct Postgres {
    pub(super) postgres: PathBuf,
    pub(super) initdb: PathBuf,
}

/// Postgres's programs: of version `major` if data of that version is there, else those on PATH, else the newest.
pub(super) fn postgres(major: Option<&str>, data: &Path) -> Result<Postgres, ServerError> {
    let mut found = folders().into_iter().filter_map(|folder| postgres_in(&folder)).collect::<Vec<_>>();
    let on_path = found.len();
    found.extend(family_folders().into_iter().filter_map(|folder| postgres_in(&folder)));
    if found.is_empty() {
        return Err(not_installed("Postgres", "DATABASE_URL", |(.., postgres, _)| postgres));
    }
    let chosen = match major {
        Some(major) => found.into_iter().find(|(version, _)| version.to_string() == major),
        None if on_path > 0 => found.into_iter().next(),
        None => found.into_iter().max_by_key(|(version, _)| *version),
    };
    chosen
        .map(|(_, programs)| programs)
        .ok_or_else(|| ServerError::OtherVersion { data: data.to_owned(), major: major.unwrap_or_default().to_owned() })
}

/// `redis-server`, or `valkey-server`, which is the same to us.
pub(super) fn redis() -> Result<PathBuf, ServerError> {
    let folders = folders();
    ["redis-server", "valkey-server"]
        .iter()
        .find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()))
        .ok_or_else(|| not_installed("Redis", "REDIS_URL", |(.., redis)| redis))
}

type PackageManager = (&'static str, &'static str, &'static str, &'static str);

fn not_installed(
    name: &'static str,
    variable: &'static str,
    package: impl Fn(PackageManager) -> &'static str,
) -> ServerError {
    let folders = folders();
    let has = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    let install = PACKAGE_MANAGERS.into_iter().find(|(program, ..)| has(program)).map_or_else(
        || "your system's package manager".to_owned(),
        |manager| format!("{} {}", manager.1, package(manager)),
    );
    ServerError::NotInstalled { name, install, variable }
}

/// The folders of PATH, then the common ones.
fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect::<Vec<_>>();
    folders.extend(COMMON.iter().map(PathBuf::from));
    folders
}

fn family_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (family, prefix, below) in POSTGRES_FAMILIES {
        let Ok(entries) = std::fs::read_dir(family) else { continue };
        let versions = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        folders.extend(versions.map(|entry| entry.path().join(below)));
    }
    folders
}

/// Postgres's programs in `folder`, with their major version.
fn postgres_in(folder: &Path) -> Option<(u32, Postgres)> {
    let programs = Postgres { postgres: folder.join("postgres"), initdb: folder.join("initdb") };
    if !programs.postgres.is_file() || !programs.initdb.is_file() {
        return None;
    }
    let output = Command::new(&programs.postgres).arg("--version").output().ok()?;
    let version = major_version(&String::from_utf8_lossy(&output.stdout))?;
    Some((version, programs))
}

/// The 15 of `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn major_version(text: &str) -> Option<u32> {
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_postgres_says() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("postgres"), None);
    }

    #[test]
    fn a_missing_server_is_one_line_with_a_command() {
        let text = not_installed("Redis", "REDIS_URL", |(.., redis)| redis).to_string();
        assert!(text.starts_with("Redis is not installed: run `make run`"), "{text}");
        assert!(text.contains("REDIS_URL") && !text.contains('\n'), "{text}");
        assert!(
            PACKAGE_MANAGERS.iter().any(|(_, command, ..)| text.contains(command)) || text.contains("package manager")
        );
    }

    #[test]
    fn a_folder_without_the_programs_is_no_postgres() {
        let empty = tempfile::tempdir().unwrap();
        assert!(postgres_in(empty.path()).is_none());
        std::fs::write(empty.path().join("postgres"), "").unwrap();
        assert!(postgres_in(empty.path()).is_none());
    }
}
