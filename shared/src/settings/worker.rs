//! A worker process.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::SettingsError;
use super::parse::{address, number, or_default, quoted};
use crate::cadence::{Cadence, LONGEST};

const CONCURRENCY: &str = "METRIQLAB_WORKER_CONCURRENCY";
const METRICS_BIND: &str = "METRIQLAB_METRICS_BIND";
const DEFAULT_CONCURRENCY: &str = "32";
const MAX_CONCURRENCY: usize = 4096;
const SHORTEST: Duration = Duration::from_secs(1);
const RESYNC_EVERY: &str = "METRIQLAB_RESYNC_EVERY";
const DEFAULT_RESYNC_EVERY: &str = "24h";
const RESYNC_RECENT: &str = "METRIQLAB_RESYNC_RECENT";
const DEFAULT_RESYNC_RECENT: &str = "90d";
const RESYNC_DEEP: &str = "METRIQLAB_RESYNC_DEEP";
const DEFAULT_RESYNC_DEEP: &str = "7d";
const OFF: &str = "off";
const DEAF_AFTER: &str = "METRIQLAB_WORKER_DEAF_AFTER";
const DEFAULT_DEAF_AFTER: &str = "3m";
/// Twice the time between two looks at an idle lane.
const SHORTEST_DEAF: Duration = Duration::from_secs(10);
const LONGEST_DEAF: Duration = Duration::from_secs(86_400);
/// A reach that is longer says nothing: TikTok is younger, or will be for a while.
const LONGEST_SPAN: Duration = Duration::from_secs(10 * 366 * 86_400);
const HISTORY_KEEP: &str = "METRIQLAB_HISTORY_KEEP";
const FOREVER: &str = "forever";
/// The shortest: what a history shows if nobody says from when.
const SHORTEST_KEEP: Duration = Duration::from_secs(30 * 86_400);
/// The longest that has an end.
const LONGEST_KEEP: Duration = Duration::from_secs(100 * 366 * 86_400);

/// A worker process.
#[derive(Args, Clone)]
#[command(next_help_heading = "Worker")]
pub struct WorkerArgs {
    /// Jobs at a time in one worker process.
    #[arg(long = "concurrency", alias = "worker-concurrency", value_name = "N", env = CONCURRENCY, default_value = DEFAULT_CONCURRENCY)]
    pub worker_concurrency: String,
    /// Address of the worker's `/metrics`, `/healthz` and `/readyz`, or `off`.
    #[arg(long, value_name = "ADDRESS", env = METRICS_BIND, default_value = OFF)]
    pub metrics_bind: String,
    /// Ends a worker that has fetched nothing for so long although Redis answers, so that whoever runs it starts it anew; or
    /// `off`.
    #[arg(long, value_name = "TIME", env = DEAF_AFTER, default_value = DEFAULT_DEAF_AFTER)]
    pub worker_deaf_after: String,
    /// The schedule.
    #[command(flatten)]
    pub resync: ResyncArgs,
    /// How long history is kept, such as `400days`, or `forever`. What is older is dropped by whole months.
    #[arg(long, value_name = "TIME", env = HISTORY_KEEP, default_value = FOREVER)]
    pub history_keep: String,
}

/// The schedule's default.
#[derive(Args, Clone)]
pub struct ResyncArgs {
    /// How old a creator's data may get before it is synced again, or `off`.
    #[arg(long, value_name = "TIME", env = RESYNC_EVERY, default_value = DEFAULT_RESYNC_EVERY)]
    pub resync_every: String,
    /// A video's age up to which it is read each time; older ones are read as often as the next option says.
    #[arg(long, value_name = "TIME", env = RESYNC_RECENT, default_value = DEFAULT_RESYNC_RECENT)]
    pub resync_recent: String,
    /// How old the numbers of older videos may get before all are read.
    #[arg(long, value_name = "TIME", env = RESYNC_DEEP, default_value = DEFAULT_RESYNC_DEEP)]
    pub resync_deep: String,
}

/// A worker process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Jobs at a time.
    pub concurrency: usize,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; `None` for nowhere.
    pub metrics_bind: Option<SocketAddr>,
    /// How long it may fetch nothing, although Redis answers, until it is ended; `None`: for ever.
    pub deaf_after: Option<Duration>,
    /// The schedule.
    pub cadence: Cadence,
    /// How long history is kept; `None`: for ever.
    pub history_keep: Option<Duration>,
}

impl WorkerArgs {
    /// The worker's settings.
    pub fn check(&self) -> Result<WorkerSettings, SettingsError> {
        let concurrency = or_default(&self.worker_concurrency, DEFAULT_CONCURRENCY);
        let metrics_bind = or_default(&self.metrics_bind, OFF);
        Ok(WorkerSettings {
            concurrency: number(CONCURRENCY, concurrency, 1, MAX_CONCURRENCY)?,
            metrics_bind: if metrics_bind == OFF { None } else { Some(address(METRICS_BIND, metrics_bind)?) },
            deaf_after: deaf_after(or_default(&self.worker_deaf_after, DEFAULT_DEAF_AFTER))
                .map_err(|problem| SettingsError::wrong(DEAF_AFTER, problem))?,
            cadence: self.resync.check()?,
            history_keep: history_keep(or_default(&self.history_keep, FOREVER))
                .map_err(|problem| SettingsError::wrong(HISTORY_KEEP, problem))?,
        })
    }
}

impl ResyncArgs {
    /// The schedule: a longest age from a second to a year, where `None` is `off`, and how far back it reads.
    pub fn check(&self) -> Result<Cadence, SettingsError> {
        let wrong = |variable| move |problem| SettingsError::wrong(variable, problem);
        let every = resync_every(or_default(&self.resync_every, DEFAULT_RESYNC_EVERY)).map_err(wrong(RESYNC_EVERY))?;
        let recent = span_of_days(or_default(&self.resync_recent, DEFAULT_RESYNC_RECENT), "90d");
        let deep = span_of_days(or_default(&self.resync_deep, DEFAULT_RESYNC_DEEP), "7d");
        Ok(Cadence { every, recent: recent.map_err(wrong(RESYNC_RECENT))?, deep: deep.map_err(wrong(RESYNC_DEEP))? })
    }
}

/// How far back something reaches: from a second to ten years. The error says what would be right.
fn span_of_days(text: &str, like: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if (SHORTEST..=LONGEST_SPAN).contains(&span) => Ok(span),
        _ => Err(format!("{} is not from a second to ten years; write one like `{like}`", quoted(text))),
    }
}

/// A longest age as people write it, wherever they do: `6h`, or `off`, which is `None`. The error says what would be right.
pub fn resync_every(text: &str) -> Result<Option<Duration>, String> {
    if text == OFF {
        return Ok(None);
    }
    let every = humantime::parse_duration(text)
        .map_err(|_| format!("{} is no time span; write one like `6h`, or `off`", quoted(text)))?;
    if every < SHORTEST || every > LONGEST {
        return Err(format!("{} is not from a second to a year; write one like `6h`, or `off`", quoted(text)));
    }
    Ok(Some(every))
}

/// The same from what is stored: in the largest of hours, minutes and seconds that is exact; 0 is `off`.
pub fn resync_every_text(seconds: i64) -> String {
    match seconds {
        0 => OFF.to_owned(),
        hours if hours % 3600 == 0 => format!("{}h", hours / 3600),
        minutes if minutes % 60 == 0 => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    }
}

/// From ten seconds to a day, or `off`, which is `None`. The error says what would be right.
fn deaf_after(text: &str) -> Result<Option<Duration>, String> {
    if text == OFF {
        return Ok(None);
    }
    match humantime::parse_duration(text) {
        Ok(after) if (SHORTEST_DEAF..=LONGEST_DEAF).contains(&after) => Ok(Some(after)),
        _ => Err(format!("{} is not from 10 seconds to a day; write `3m`, or `off`", quoted(text))),
    }
}

/// How long history is kept: from 30 days to a century, or `forever`, which is `None`. The error says what would be right.
fn history_keep(text: &str) -> Result<Option<Duration>, String> {
    if text == FOREVER {
        return Ok(None);
    }
    match humantime::parse_duration(text) {
        Ok(keep) if (SHORTEST_KEEP..=LONGEST_KEEP).contains(&keep) => Ok(Some(keep)),
        _ => Err(format!("{} is not from 30 days to 100 years; write `400days`, or `forever`", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longest_age_is_read_as_it_is_written() {
        assert_eq!(resync_every("off"), Ok(None));
        for (text, written) in [("6h", "6h"), ("1day", "24h"), ("90m", "90m"), ("1m 30s", "90s"), ("1s", "1s")] {
            let every = resync_every(text).unwrap().unwrap();
            assert_eq!(resync_every_text(i64::try_from(every.as_secs()).unwrap()), written);
        }
        assert_eq!(resync_every_text(0), "off");
        for wrong in ["", "0s", "999ms", "-1h", "6", "never", "OFF", "367days", "99999999999999999999h"] {
            assert!(resync_every(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_worker_is_deaf_after_a_while_or_never() {
        assert_eq!(deaf_after("off"), Ok(None));
        assert_eq!(deaf_after("3m"), Ok(Some(Duration::from_secs(180))));
        for wrong in ["", "0s", "9s", "25h", "-3m", "3", "never"] {
            assert!(deaf_after(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_schedule_is_configurable_and_plain_by_default() {
        let args = |every: &str, recent: &str, deep: &str| ResyncArgs {
            resync_every: every.to_owned(),
            resync_recent: recent.to_owned(),
            resync_deep: deep.to_owned(),
        };
        let plain = args(DEFAULT_RESYNC_EVERY, DEFAULT_RESYNC_RECENT, DEFAULT_RESYNC_DEEP);
        assert_eq!(plain.check(), Ok(Cadence::default()));
        assert_eq!(args("", "", "").check(), Ok(Cadence::default()), "empty is absent");
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let wanted = Cadence { every: None, recent: days(30), deep: days(1) };
        assert_eq!(args("off", "30 days", "24h").check(), Ok(wanted));
        for wrong in ["0s", "11years", "off", "90", "-1d"] {
            let error = args("24h", wrong, "7d").check().unwrap_err().to_string();
            assert!(error.starts_with(RESYNC_RECENT), "{error}");
            let error = args("24h", "90d", wrong).check().unwrap_err().to_string();
            assert!(error.starts_with(RESYNC_DEEP), "{error}");
        }
    }

    #[test]
    fn history_is_kept_for_ever_or_for_a_month_at_least() {
        assert_eq!(history_keep("forever"), Ok(None));
        assert_eq!(history_keep("30days"), Ok(Some(SHORTEST_KEEP)));
        assert_eq!(history_keep("2years").map(|keep| keep.is_some()), Ok(true));
        for wrong in ["", "29days", "0s", "off", "400", "-1y", "200years", "99999999999999999999years"] {
            assert!(history_keep(wrong).is_err(), "{wrong}");
        }
    }
}
