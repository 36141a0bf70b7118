//! `metriqlab keys`: a new key stands alone on standard output; all else goes to the log.

use std::io::Write as _;

use anyhow::bail;
use chrono::SecondsFormat;
use clap::Subcommand;
use shared::api_key::ApiKey;
use shared::settings::DatabaseArgs;
use shared::store::Store;
use shared::store::keys::Revocation;

use super::kept;
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
        /// The project whose creators the key reads.
        #[arg(long, value_name = "NAME")]
        project: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Lists all keys: prefix, project, when it was made, when it was revoked
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
        Action::Create { project, database } => create(&project, &open(&database)?).await,
        Action::List { database } => list(&open(&database)?).await,
        Action::Revoke { key, database } => revoke(&key, &database).await,
    }
}

fn open(database: &DatabaseArgs) -> anyhow::Result<Store> {
    Ok(Store::open(&kept::database(database)?.url, 1)?)
}

async fn create(project: &str, store: &Store) -> anyhow::Result<()> {
    let project = project.trim();
    if project.is_empty() || project.chars().count() > 100 || project.chars().any(char::is_control) {
        return Err(UsageError("--project: a name has 1 to 100 characters, all of them visible".into()).into());
    }
    let key = ApiKey::generate();
    store.add_key(project, &key.hash(), key.prefix()).await?;
    tracing::info!(project, prefix = key.prefix(), "key made: it is shown this once");
    writeln!(std::io::stdout(), "{}", key.expose())?;
    Ok(())
}

async fn list(store: &Store) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for key in store.keys().await? {
        let made = key.created_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let revoked = key.revoked_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let state = revoked.map_or_else(String::new, |at| format!("  revoked {at}"));
        writeln!(out, "{}  {made}  {}{state}", key.prefix, key.project)?;
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
