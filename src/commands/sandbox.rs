//! `metriqlab sandbox`.

use ::sandbox::{AppProfile, Latency, SandboxConfig, StartError};
use metriqlab::signals::Signals;
use secrecy::ExposeSecret as _;
use shared::settings::{SANDBOX_REDIRECT_URIS, SandboxApp, SandboxArgs, SandboxLatency};

use crate::usage::UsageError;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    sandbox: SandboxArgs,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let settings = args.sandbox.check()?;
    let started = ::sandbox::start(SandboxConfig {
        bind: settings.bind.to_string(),
        public_url: settings.public_url,
        client_key: settings.client_key,
        client_secret: settings.client_secret.expose_secret().to_owned(),
        redirect_uris: settings.redirect_uris,
        app_profile: match settings.app {
            SandboxApp::Web => AppProfile::Web,
            SandboxApp::Desktop => AppProfile::Desktop,
        },
        seed: settings.seed,
        demo_creators: settings.creators,
        rate_limit: settings.rate_limit,
        rate_window: settings.rate_window,
        latency: match settings.latency {
            SandboxLatency::None => Latency::None,
            SandboxLatency::Tail => Latency::Tail,
        },
        webhook_url: settings.webhook_url,
        control: settings.control,
        ..SandboxConfig::default()
    });
    let sandbox = match started {
        Ok(sandbox) => sandbox,
        // All else is checked: only the redirect URIs are left to be judged by TikTok's rules.
        Err(StartError::Invalid(problem)) => {
            return Err(UsageError(format!("{SANDBOX_REDIRECT_URIS}: {problem}")).into());
        }
        Err(error) => return Err(error.into()),
    };
    let url = sandbox.base_url();
    tracing::info!("sandbox ready: set TIKTOK_AUTH_URL and TIKTOK_API_URL to {url}");
    signals.stop().await;
    sandbox.stop().await;
    Ok(())
}
