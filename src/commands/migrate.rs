//! `metriqlab migrate`.

use shared::settings::DatabaseArgs;
use shared::store::Store;

use super::kept;

#[derive(clap::Args)]
#[command(after_help = kept::HELP)]
pub struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open(&kept::database(&args.database)?.url, 1)?;
    let applied = store.migrate().await?;
    for version in &applied {
        tracing::info!(version, "migration applied");
    }
    if applied.is_empty() {
        tracing::info!("the schema is up to date");
    }
    Ok(())
}
