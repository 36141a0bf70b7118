//! `metriqlab status`: the fleet at a glance, once or until ctrl-C.

mod look;
mod render;
mod screen;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use metriqlab::signals::Signals;
use shared::settings::{DatabaseArgs, RedisArgs, ResyncArgs, TikTokArgs};

use super::kept;
use look::{Looker, Overview};
use render::Paint;
use screen::Screen;

pub use render::age;

/// Between two frames.
const FRAME: Duration = Duration::from_secs(1);

const JSON_HELP: &str = "\
With --json, one object (with --watch one a line, each second):
  at         when it was read
  redis      reachable; error, or null
  lanes      lane, state (open, paused, draining, unknown), changedAt;
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
  forecast   creators, syncsPerMinute, pagesPerMinute, fits
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
    /// For the forecast: the same as the workers'.
    #[command(flatten)]
    resync: ResyncArgs,
    #[command(flatten)]
    tiktok: TikTokArgs,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let (database, redis) = (kept::database(&args.database)?, kept::redis(&args.redis)?);
    let mut looker = Looker::new(&database, &redis, kept::quota(&args.tiktok)?, args.resync.check()?)?;
    let paint = Paint::new(std::io::stdout().is_terminal());
    if args.watch {
        return watch(&mut looker, args.json, paint).await;
    }
    let overview = looker.look().await?;
    write(&overview, args.json, paint)
}

fn write(overview: &Overview, json: bool, paint: Paint) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", overview.to_json())?;
    } else {
        for line in render::lines(overview, paint) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out.flush()?)
}

/// Until ctrl-C. Postgres must be there at first; when it goes later, what was known last stays, and it is said.
async fn watch(looker: &mut Looker, json: bool, paint: Paint) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut overview = tokio::select! {
        found = looker.look() => found?,
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
            found = looker.look() => found,
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
