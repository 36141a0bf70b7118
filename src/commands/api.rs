//! `metriqlab api`.

use ::api::CALLBACK_PATH;
use metriqlab::parts::{Common, Parts};
use metriqlab::signals::Signals;
use shared::settings::{ApiArgs, DatabaseArgs, EncryptionArgs, RedisArgs, ResyncArgs, ShutdownArgs, TikTokArgs};

use crate::usage::UsageError;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    tiktok: TikTokArgs,
    /// For the forecast on the page of operations, where no worker has said what it goes by.
    #[command(flatten)]
    resync: ResyncArgs,
    #[command(flatten)]
    shutdown: ShutdownArgs,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let settings = args.api.check()?;
    if settings.bind.port() == 0 && !args.api.has_public_url() {
        let problem = "METRIQLAB_BIND: any free port is none that TikTok can send browsers to; name one, or set METRIQLAB_PUBLIC_URL";
        return Err(UsageError(problem.into()).into());
    }
    let (grace, cadence) = (args.shutdown.check()?, args.resync.check()?);
    let common = Common {
        database: args.database.require()?,
        redis: args.redis.require()?,
        keyring: args.encryption.require()?,
        tiktok: args.tiktok.check()?,
    };
    let metrics = shared::telemetry::init_metrics()?;
    let parts = Parts::new(common, settings.public_url.with_path(CALLBACK_PATH))?;
    let public_url = settings.public_url.clone();
    let server = parts.start_api(settings, None, grace, metrics, cadence).await?;
    tracing::info!(address = %server.addr(), %public_url, "the API is ready");
    signals.stop().await;
    tracing::info!("stopping: requests under way are finished");
    server.stop().await;
    Ok(())
}
