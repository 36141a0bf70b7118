//! `metriqlab queue`: holds a lane, lets it go, runs it empty; for the whole fleet at once.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use metriqlab::signals::Signals;
use secrecy::ExposeSecret as _;
use shared::queue::{Depth, Lane, Queue};
use shared::settings::{DatabaseArgs, RedisArgs};
use shared::store::Store;
use shared::store::audit::By;
use shared::store::lanes::LaneState;

use super::kept;

/// Between two looks at a lane that drains.
const LOOK: Duration = Duration::from_millis(250);
/// Between two lines where there is no terminal to draw on.
const LINE: Duration = Duration::from_secs(5);
/// How long after the word was written every worker has heard it, and what it fed until then has arrived.
const HEARD: Duration = Duration::from_millis(2500);

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Holds a lane: running jobs finish, nothing is begun, nothing is lost. A client who waits for a job of it gets its 202
    Pause(Target),
    /// Lets a lane that is paused or draining go on as ever
    Resume(Target),
    /// Runs a lane empty: no scheduled or bulk job goes into it, what is in Redis runs on; returns when it is empty, and
    /// leaves it draining
    Drain(Target),
}

#[derive(clap::Args)]
#[command(after_help = kept::HELP)]
struct Target {
    /// `revoke` (disconnects), `sync` (syncs that somebody waits for) or `bulk` (scheduled and bulk resyncs).
    #[arg(value_name = "LANE", value_parser = lane)]
    lane: Lane,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

/// A lane by its name, for the command line.
pub fn lane(text: &str) -> Result<Lane, String> {
    text.parse().map_err(|_| format!("`{text}` is none of `revoke`, `sync` and `bulk`"))
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let (target, state) = match args.action {
        Action::Pause(target) => (target, LaneState::Paused),
        Action::Resume(target) => (target, LaneState::Open),
        Action::Drain(target) => (target, LaneState::Draining),
    };
    let redis = kept::redis(&target.redis)?;
    let store = Store::open(&kept::database(&target.database)?.url, 1)?;
    let queue = Queue::connect(redis.url.expose_secret(), &redis.prefix)?;
    let lane = target.lane;
    let mut signals = Signals::listen()?;
    let before = store.set_lane(By::CommandLine, lane, state).await?;
    if let Err(error) = queue.announce_lanes().await {
        tracing::warn!(%error, "Redis is out of reach: the word is written, and the workers read it within a second");
    }
    let unchanged = if before == state { "already " } else { "" };
    match state {
        LaneState::Paused => say(&format!(
            "{lane} is {unchanged}paused: running jobs finish, nothing is begun until `metriqlab queue resume {lane}`"
        )),
        LaneState::Draining => tokio::select! {
            drained = drain(&store, &queue, lane) => {
                drained?;
                say(&format!("{lane} is empty, and stays draining until `metriqlab queue resume {lane}`"))
            }
            () = signals.stop() => {
                bail!("{lane} is not empty yet, and goes on draining until `metriqlab queue resume {lane}`")
            }
        },
        LaneState::Open | LaneState::Unknown => say(&format!("{lane} is {unchanged}open")),
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Waits until nothing of the lane is on its way any more: no row that was handed to Redis is open, and Redis, if it is in
/// reach, holds nothing.
async fn drain(store: &Store, queue: &Queue, lane: Lane) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut display = Display::new();
    loop {
        let rows = store.open_in_redis(lane).await?;
        let depth = queue.depth(lane).await.ok();
        let held = depth.map_or(0, |depth| depth.ready + depth.delayed + depth.running);
        if rows == 0 && held == 0 && began.elapsed() >= HEARD {
            display.end();
            return Ok(());
        }
        let workers =
            queue.workers().await.map_or(0, |workers| workers.iter().filter(|worker| worker.is_alive()).count());
        display.show(&describe(lane, rows, depth, workers));
        tokio::time::sleep(LOOK).await;
    }
}

/// What is left, for people. `rows` are open jobs that were handed to Redis, `depth` is what Redis has of them.
fn describe(lane: Lane, rows: i64, depth: Option<Depth>, workers: usize) -> String {
    match depth {
        None => format!("{lane} drains: {rows} left; Redis is out of reach"),
        Some(Depth { ready, delayed, running, .. }) => {
            let idle = if workers == 0 { "; no worker runs" } else { "" };
            format!("{lane} drains: {ready} ready, {delayed} delayed, {running} running{idle}")
        }
    }
}

/// One line that is drawn anew on a terminal, lines elsewhere; both on standard error.
struct Display {
    line: Option<ProgressBar>,
    last: Option<Instant>,
}

impl Display {
    fn new() -> Self {
        let line = std::io::stderr().is_terminal().then(|| {
            let line = ProgressBar::new_spinner();
            // The default would be drawn should the template not parse.
            line.set_style(
                ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            line.enable_steady_tick(Duration::from_millis(120));
            line
        });
        Self { line, last: None }
    }

    fn show(&mut self, text: &str) {
        if let Some(line) = &self.line {
            line.set_message(text.to_owned());
        } else if self.last.is_none_or(|last| last.elapsed() >= LINE) {
            self.last = Some(Instant::now());
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    fn end(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_also_without_redis_or_workers() {
        let depth = Depth { ready: 3, suspects: 0, delayed: 1, running: 2, oldest: None };
        assert_eq!(describe(Lane::Bulk, 6, Some(depth), 1), "bulk drains: 3 ready, 1 delayed, 2 running");
        assert!(describe(Lane::Bulk, 6, Some(depth), 0).ends_with("no worker runs"));
        assert_eq!(describe(Lane::Sync, 6, None, 0), "sync drains: 6 left; Redis is out of reach");
    }

    #[test]
    fn a_lane_is_known_by_its_name_alone() {
        assert_eq!(lane("bulk"), Ok(Lane::Bulk));
        assert!(lane("Bulk").is_err() && lane("").is_err());
    }
}
