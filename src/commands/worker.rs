//! `metriqlab worker`.

use metriqlab::parts::{Common, Parts};
use metriqlab::signals::Signals;
use shared::settings::{DatabaseArgs, EncryptionArgs, RedisArgs, ShutdownArgs, TikTokArgs, WorkerArgs};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    tiktok: TikTokArgs,
    #[command(flatten)]
    shutdown: ShutdownArgs,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let settings = args.worker.check()?;
    let grace = args.shutdown.check()?;
    let common = Common {
        database: args.database.require()?,
        redis: args.redis.require()?,
        keyring: args.encryption.require()?,
        tiktok: args.tiktok.check()?,
    };
    // Nobody would read them otherwise.
    let metrics = settings.metrics_bind.map(|_| shared::telemetry::init_metrics()).transpose()?;
    let (concurrency, deaf_after) = (settings.concurrency, settings.deaf_after);
    // A worker sends no browser anywhere.
    let worker = Parts::new(common, String::new())?.start_worker(settings, grace, metrics)?;
    tracing::info!(concurrency, "the worker is ready");
    let is_deaf = tokio::select! {
        () = signals.stop() => false,
        () = worker.deaf() => true,
    };
    tracing::info!("stopping: what runs is finished or given back");
    worker.stop().await;
    anyhow::ensure!(
        !is_deaf,
        "this worker has fetched nothing for {} although Redis answers: start it anew, and keep its log for a report",
        humantime::format_duration(deaf_after.unwrap_or_default()),
    );
    Ok(())
}
