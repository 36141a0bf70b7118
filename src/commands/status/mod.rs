//! `metriqlab status`: the fleet at a glance, once or until ctrl-C.

mod json;
mod render;
mod screen;

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use metriqlab::signals::Signals;
use secrecy::ExposeSecret as _;
use shared::budget::{Budget, BudgetSettings, Quota};
use shared::overview::{Looker, Overview};
use shared::queue::Queue;
use shared::settings::{DatabaseArgs, RedisArgs, ResyncArgs, TikTokArgs};
use shared::store::Store;

use super::kept;
use render::Paint;
use screen::Screen;

pub use render::age;

/// Between two frames.
const FRAME: Duration = Duration::from_secs(1);
/// The first count is waited for, however long it takes.
const PATIENCE: Duration = Duration::MAX;

const JSON_HELP: &str = "\
With --json, one object (with --watch one a line, each second):
  at         when it was read
  redis      reachable; error, or null
  lanes      lane, state (open, paused, draining, unknown), changedAt;
             heldBy (the endpoints whose outage holds it);
             ready, delayed, running (null without Redis);
             waiting (in Postgres), dead, oldestSeconds (null if nothing waits)
  workers    name, jobs, lastHeartbeatSeconds; null without Redis
  quota      endpoint, quota, windowSeconds, used (null if not known),
             pausedSeconds (null if it is open, or not known),
             ceiling (what is granted: the quota, or less for a while after a
             429), breaker (open during an outage, else closed), probeSeconds
             (until the next look whether it is over; null if closed),
             forecastPercent
  creators   active, reauthorizationRequired, disconnecting, due
  forecast   creators, syncsPerMinute, pagesPerMinute, fits,
             longestAgeSeconds (null: off), goesBy (workers; settings, if no
             worker has run for a day), workersAgree (on cadence and quota)
Fields may be added. Exit status 1 without Postgres; without Redis it is 0, and
says so.

In a folder where `metriqlab up` has run, its servers are used unless others are
set.";

#[derive(clap::Args)]
#[command(after_help = JSON_HELP)]
pub struct Args {
    /// Goes on, each second, until ctrl-C.
    #[arg(long)]
    watch: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    redis: RedisArgs,
    /// For the forecast, where no worker has said what it goes by.
    #[command(flatten)]
    resync: ResyncArgs,
    #[command(flatten)]
    tiktok: TikTokArgs,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let looker = looker(args).await?;
    let paint = Paint::new(std::io::stdout().is_terminal());
    if args.watch {
        return watch(&looker, args.json, paint).await;
    }
    let overview = looker.look(PATIENCE).await?;
    write(&overview, args.json, paint)
}

async fn looker(args: &Args) -> anyhow::Result<Looker> {
    let (database, redis) = (kept::database(&args.database)?, kept::redis(&args.redis)?);
    let told = kept::quota(&args.tiktok)?;
    let store = Store::open(&database.url, 2)?;
    let url = redis.url.expose_secret();
    // The budget is counted as the workers count it.
    let own = Quota { requests: told.rate_per_minute, window: told.rate_window };
    let quota = store.paces().await?.first().map_or(own, |pace| pace.quota);
    let limits = BudgetSettings { window: quota.window, ..BudgetSettings::per_minute(quota.requests) };
    let budget = match &told.client_key {
        Some(app) => Some(Arc::new(Budget::new(url, &redis.prefix, app, limits, store.clone())?)),
        None => None,
    };
    let queue = Queue::connect(url, &redis.prefix)?;
    Ok(Looker::new(store, queue, budget, own, args.resync.check()?))
}

fn write(overview: &Overview, json: bool, paint: Paint) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", json::to_json(overview))?;
    } else {
        for line in render::lines(overview, paint) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out.flush()?)
}

/// Until ctrl-C. Postgres must be there at first; when it goes later, what was known last stays, and it is said.
async fn watch(looker: &Looker, json: bool, paint: Paint) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut overview = tokio::select! {
        found = looker.look(PATIENCE) => found?,
        () = signals.stop() => return Ok(()),
    };
    let screen = if !json && std::io::stdout().is_terminal() { Some(Screen::open()?) } else { None };
    let mut problem = None;
    loop {
        match &screen {
            Some(screen) => screen.draw(&render::frame(&overview, problem.as_deref(), paint))?,
            None => write(&overview, json, paint)?,
        }
        tokio::select! {
            () = tokio::time::sleep(FRAME) => {}
            () = signals.stop() => break,
        }
        let found = tokio::select! {
            found = looker.look(PATIENCE) => found,
            () = signals.stop() => break,
        };
        match found {
            Ok(found) => (overview, problem) = (found, None),
            Err(error) if screen.is_some() => problem = Some(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(screen) = screen {
        drop(screen);
        write(&overview, json, paint)?;
    }
    Ok(())
}
