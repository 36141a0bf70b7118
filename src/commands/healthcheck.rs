//! `metriqlab healthcheck URL`: for containers whose image has no other program.

use std::time::Duration;

use anyhow::ensure;

const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub struct Args {
    /// What must answer with a success, for example `http://127.0.0.1:8080/healthz`.
    #[arg(value_name = "URL")]
    url: String,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let answer = client.get(&args.url).send().await?;
    ensure!(answer.status().is_success(), "{} answers {}", args.url, answer.status());
    Ok(())
}
