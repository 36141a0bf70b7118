//! `metriqlab doctor`: looks at everything that the system stands on, and says what is wrong and what to do.
//!
//! Every check runs on its own and has a limit of time, so that what is down does not hide what else is wrong.

mod held;
mod postgres;
mod processes;
mod redis;
mod report;
mod settings;
mod tiktok;
mod tokens;

use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::bail;
use chrono::{DateTime, TimeDelta, Utc};
use report::{Check, Level, Report};
use settings::Settings;
use shared::settings::{ApiArgs, DatabaseArgs, EncryptionArgs, RedisArgs, TikTokArgs};
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use crate::usage::UsageError;

/// How long one check may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Clocks that differ by more are wrong; what is compared across machines bears more.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(2);
/// From here on, TikTok's signatures are too old, and tokens are renewed too late.
const CLOCKS_BROKEN: TimeDelta = TimeDelta::seconds(60);

#[derive(clap::Args)]
pub struct Args {
    /// One JSON object on standard output instead of the table.
    #[arg(long)]
    json: bool,
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
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let json = args.json;
    let (settings, wrong) = Settings::gather(args);
    let are_wrong = !wrong.is_empty();
    // The log would tell the same as the report, between its lines.
    let found = Box::pin(examine(&settings)).with_subscriber(NoSubscriber::default()).await;
    let report = Report(if are_wrong { wrong } else { vec![settings.summary()] }.into_iter().chain(found).collect());
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{:#}", report.json())?;
    } else {
        let colors = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        report.write(&mut out, colors)?;
    }
    if are_wrong {
        return Err(UsageError("settings are wrong: the report says which".into()).into());
    }
    match report.count(Level::Fail) {
        0 => Ok(()),
        1 => bail!("1 check failed"),
        failures => bail!("{failures} checks failed"),
    }
}

async fn examine(settings: &Settings) -> Vec<Check> {
    let store = settings.store();
    let queue = settings.queue();
    let (postgres, redis, tokens, lanes, workers, pace, breakers, api, tiktok) = tokio::join!(
        postgres::check(settings.database.as_ref(), store.as_ref()),
        redis::check(queue.as_ref()),
        tokens::check(store.as_ref(), settings.keyring.as_ref()),
        held::lanes(store.as_ref()),
        processes::workers(queue.as_ref()),
        processes::pace(store.as_ref(), settings.told_quota()),
        held::breakers(settings, store.as_ref()),
        processes::api(settings),
        tiktok::check(settings),
    );
    let mut checks = postgres.checks;
    checks.extend(redis.checks);
    checks.extend(clocks(postgres.clock, redis.clock));
    checks.extend(tokens);
    checks.extend(lanes);
    checks.extend([workers, pace, breakers].into_iter().flatten());
    checks.extend(api);
    checks.extend(tiktok);
    checks
}

/// What was found of a server.
#[derive(Default)]
struct Examined {
    checks: Vec<Check>,
    /// How far its clock is ahead of this machine's.
    clock: Option<TimeDelta>,
}

/// The answer of a check's question, or that there was none in time.
async fn within<T, E: std::fmt::Display>(question: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(LIMIT, question).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

/// How far a clock that was read between two moments of ours is ahead.
fn ahead(began: DateTime<Utc>, read: DateTime<Utc>, ended: DateTime<Utc>) -> TimeDelta {
    read - (began + (ended - began) / 2)
}

fn clocks(postgres: Option<TimeDelta>, redis: Option<TimeDelta>) -> Option<Check> {
    let read = [("Postgres", postgres), ("Redis", redis)];
    let known: Vec<(&str, TimeDelta)> = read.into_iter().filter_map(|(name, ahead)| Some((name, ahead?))).collect();
    let worst = known.iter().map(|(_, ahead)| ahead.abs()).max()?;
    let described = |(name, ahead): &(&str, TimeDelta)| {
        let direction = if *ahead < TimeDelta::zero() { "behind" } else { "ahead" };
        let milliseconds = ahead.abs().num_milliseconds();
        match milliseconds {
            0..1000 => format!("{name} {milliseconds} ms {direction}"),
            _ => format!("{name} {} s {direction}", milliseconds / 1000),
        }
    };
    let found = format!("{}, of this machine's clock", known.iter().map(described).collect::<Vec<_>>().join(", "));
    let remedy = "run a time service (chrony, systemd-timesyncd) on all machines";
    Some(match worst {
        worst if worst > CLOCKS_BROKEN => Check::fail("clocks", found, remedy),
        worst if worst > CLOCKS_DIFFER => Check::warn("clocks", found, remedy),
        _ => Check::ok("clocks", found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_that_is_further_off_decides() {
        let clock = |postgres, redis| clocks(postgres, redis).map(|check| (check.level, check.found));
        assert_eq!(clock(None, None), None);
        let near = clock(Some(TimeDelta::milliseconds(-3)), Some(TimeDelta::milliseconds(1)));
        let found = "Postgres 3 ms behind, Redis 1 ms ahead, of this machine's clock";
        assert_eq!(near, Some((Level::Ok, found.to_owned())));
        let far = clock(Some(TimeDelta::seconds(5)), Some(TimeDelta::seconds(0)));
        assert_eq!(far.map(|(level, _)| level), Some(Level::Warn));
        assert_eq!(clock(None, Some(TimeDelta::minutes(-9))).map(|(level, _)| level), Some(Level::Fail));
    }
}
