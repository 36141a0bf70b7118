//! `metriqlab keys`: a new key stands alone on standard output; all else goes to the log.

use std::io::Write as _;

use anyhow::bail;
use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use clap::Subcommand;
use shared::api_key::ApiKey;
use shared::key_scopes::{KeyScope, KeyScopes};
use shared::settings::DatabaseArgs;
use shared::store::Store;
use shared::store::keys::{NewKey, Revocation};

use super::{kept, project};
use crate::usage::UsageError;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Prints a new key, alone, on standard output; the project is made if it does not exist
    #[command(after_help = kept::HELP)]
    Create {
        /// The project whose creators the key reads: its id, or its name where no other project has it.
        #[arg(long, value_name = "NAME")]
        project: String,
        /// What the key may do: `read`, `connect`, `sync`, `disconnect`, separated by commas [default: all]
        #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
        scopes: Vec<String>,
        /// When it stops working: a time span from now such as `90d`, or a time such as `2027-01-31T12:00:00Z` [default: never]
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Lists all keys: prefix, when it was made, project, scopes, when it expires, when it was revoked
    #[command(after_help = kept::HELP)]
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Revokes a key: within a second no API process takes it any more
    #[command(after_help = kept::HELP)]
    Revoke {
        /// The key's first 12 characters, as `list` shows them, or all of it.
        #[arg(value_name = "PREFIX")]
        key: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::Create { project, scopes, expires, database } => {
            let limits = Limits::read(&scopes, expires.as_deref())?;
            create(&project, limits, &open(&database)?).await
        }
        Action::List { database } => list(&open(&database)?).await,
        Action::Revoke { key, database } => revoke(&key, &database).await,
    }
}

fn open(database: &DatabaseArgs) -> anyhow::Result<Store> {
    Ok(Store::open(&kept::database(database)?.url, 1)?)
}

/// What a new key may do, and until when.
struct Limits {
    scopes: Option<KeyScopes>,
    expires_at: Option<DateTime<Utc>>,
}

impl Limits {
    fn read(scopes: &[String], expires: Option<&str>) -> Result<Self, UsageError> {
        let names = scopes.iter().map(|name| {
            let wrong = || UsageError(format!("--scopes: `{name}` is none of {}", KeyScopes::all()));
            name.trim().parse::<KeyScope>().map_err(|_| wrong())
        });
        let scopes = names.collect::<Result<KeyScopes, _>>()?;
        let scopes = (scopes != KeyScopes::default()).then_some(scopes);
        Ok(Self { scopes, expires_at: expires.map(expiry).transpose()? })
    }
}

/// A time span from now, or a time; not one that has passed.
fn expiry(text: &str) -> Result<DateTime<Utc>, UsageError> {
    let now = Utc::now();
    let span = humantime::parse_duration(text.trim()).ok().and_then(|span| chrono::Duration::from_std(span).ok());
    let at = match span {
        Some(span) => now.checked_add_signed(span),
        None => DateTime::parse_from_rfc3339(text.trim()).ok().map(|at| at.with_timezone(&Utc)),
    };
    // Postgres knows fewer years than chrono.
    at.filter(|at| *at > now && at.year() <= 9999).ok_or_else(|| {
        let wanted = "a time span from now such as `90d`, or a time to come such as `2027-01-31T12:00:00Z`";
        UsageError(format!("--expires: give {wanted}"))
    })
}

async fn create(named: &str, limits: Limits, store: &Store) -> anyhow::Result<()> {
    let id = project::find_or_add(store, named).await?;
    let key = ApiKey::generate();
    let Limits { scopes, expires_at } = limits;
    store.add_limited_key(id, &NewKey { hash: &key.hash(), prefix: key.prefix(), scopes, expires_at }).await?;
    tracing::info!(project = named.trim(), prefix = key.prefix(), "key made: it is shown this once");
    writeln!(std::io::stdout(), "{}", key.expose())?;
    Ok(())
}

async fn list(store: &Store) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let now = store.now().await?;
    let shown = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    for key in store.keys().await? {
        write!(out, "{}  {}  {}", key.prefix, shown(key.created_at), key.project)?;
        if let Some(scopes) = key.scopes {
            write!(out, "  scopes {scopes}")?;
        }
        if let Some(at) = key.expires_at {
            write!(out, "  {} {}", if at > now { "expires" } else { "expired" }, shown(at))?;
        }
        if let Some(at) = key.revoked_at {
            write!(out, "  revoked {}", shown(at))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

async fn revoke(key: &str, database: &DatabaseArgs) -> anyhow::Result<()> {
    let key = key.trim();
    // Somebody who has only the key itself at hand, because it was found where it should not be.
    let whole = ApiKey::parse(key).ok();
    if whole.is_none() && key.chars().count() < ApiKey::PREFIX_CHARS {
        let problem =
            format!("give the key or its first {} characters, as `keys list` shows them", ApiKey::PREFIX_CHARS);
        return Err(UsageError(problem).into());
    }
    let store = open(database)?;
    let revocation = match whole {
        Some(key) => store.revoke_key_by_hash(&key.hash()).await?,
        None => store.revoke_key(key).await?,
    };
    match revocation {
        Revocation::Revoked(prefix) => {
            tracing::info!(prefix, "key revoked");
            Ok(())
        }
        Revocation::NotFound => bail!("no working key begins like this: see `metriqlab keys list`"),
        Revocation::Ambiguous(keys) => {
            bail!("several keys begin with this prefix, none was revoked: {}", keys.join(", "))
        }
    }
}
