//! `metriqlab up`.

pub use metriqlab::up::Args;

pub async fn run(args: Args) -> anyhow::Result<()> {
    metriqlab::up::run(args).await
}
