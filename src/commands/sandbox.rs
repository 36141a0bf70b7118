//! `metriqlab sandbox`.

use std::time::Duration;

use ::sandbox::{AppProfile, Latency, SandboxConfig};
use clap::ValueEnum;
use metriqlab::signals::Signals;

/// What `up` gives its sandbox, too.
pub const DEFAULT_BIND: &str = "127.0.0.1:8090";

#[derive(clap::Args)]
pub struct Args {
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", env = "METRIQLAB_SANDBOX_BIND", default_value = DEFAULT_BIND)]
    bind: String,
    /// The app's client key.
    #[arg(long, value_name = "KEY", env = "TIKTOK_CLIENT_KEY", default_value = "sandbox-client-key")]
    tiktok_client_key: String,
    /// The app's client secret.
    #[arg(
        long,
        value_name = "SECRET",
        env = "TIKTOK_CLIENT_SECRET",
        default_value = "sandbox-client-secret",
        hide_env_values = true
    )]
    tiktok_client_secret: String,
    /// Redirect URIs registered for the app, separated by commas; those on loopback are always accepted [default: none].
    #[arg(long, value_name = "URIS", env = "METRIQLAB_SANDBOX_REDIRECT_URIS", value_delimiter = ',')]
    redirect_uris: Vec<String>,
    /// How the app is registered: it decides the rules for PKCE.
    #[arg(long, value_name = "PROFILE", env = "METRIQLAB_SANDBOX_APP", default_value = "web")]
    app: Profile,
    /// The demo creators are a function of this number.
    #[arg(long, value_name = "N", env = "METRIQLAB_SANDBOX_SEED", default_value_t = 1)]
    seed: u64,
    /// How many demo creators there are.
    #[arg(long, value_name = "N", env = "METRIQLAB_SANDBOX_CREATORS", default_value_t = 24)]
    creators: u32,
    /// Requests let through per endpoint and window; 0 turns the limit off.
    #[arg(long, value_name = "N", env = "TIKTOK_RATE_PER_MINUTE", default_value_t = 600)]
    tiktok_rate_per_minute: u32,
    /// Length of that window.
    #[arg(long, value_name = "TIME", env = "TIKTOK_RATE_WINDOW", default_value = "60s", value_parser = humantime::parse_duration)]
    tiktok_rate_window: Duration,
    /// How long answers take: `tail` is 10–60 ms, and up to 2 s for one in a hundred.
    #[arg(long, value_name = "LATENCY", env = "METRIQLAB_SANDBOX_LATENCY", default_value = "none")]
    latency: Delay,
    /// Where webhooks are sent [default: nowhere].
    #[arg(long, value_name = "URL", env = "METRIQLAB_SANDBOX_WEBHOOK_URL")]
    webhook_url: Option<String>,
    /// Serves `/control/…`, by which tests change its creators and make it fail, to callers on loopback.
    #[arg(long, env = "METRIQLAB_SANDBOX_CONTROL")]
    control: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Profile {
    /// A web app.
    Web,
    /// A desktop app: PKCE in hex is required.
    Desktop,
}

#[derive(Clone, Copy, ValueEnum)]
enum Delay {
    /// Answers at once.
    None,
    /// As a network does.
    Tail,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let sandbox = ::sandbox::start(SandboxConfig {
        bind: args.bind,
        client_key: args.tiktok_client_key,
        client_secret: args.tiktok_client_secret,
        redirect_uris: args.redirect_uris.into_iter().filter(|uri| !uri.is_empty()).collect(),
        app_profile: match args.app {
            Profile::Web => AppProfile::Web,
            Profile::Desktop => AppProfile::Desktop,
        },
        seed: args.seed,
        demo_creators: args.creators,
        rate_limit: args.tiktok_rate_per_minute,
        rate_window: args.tiktok_rate_window,
        latency: match args.latency {
            Delay::None => Latency::None,
            Delay::Tail => Latency::Tail,
        },
        webhook_url: args.webhook_url.filter(|url| !url.is_empty()),
        control: args.control,
        ..SandboxConfig::default()
    })?;
    let url = sandbox.base_url();
    tracing::info!("sandbox ready: set TIKTOK_AUTH_URL and TIKTOK_API_URL to {url}");
    signals.stop().await;
    sandbox.stop().await;
    Ok(())
}
