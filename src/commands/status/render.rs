//! The overview in words and bars, 80 columns wide.

use std::time::Duration;

use chrono::SecondsFormat;
use shared::overview::{Counts, LaneView, Overview, QuotaView};
use shared::queue::WorkerInfo;
use shared::store::lanes::LaneState;

const WIDTH: usize = 80;
const BAR: usize = 26;
/// Workers that are listed; of more there is the number.
const MOST_WORKERS: usize = 16;

/// Colours, where somebody sees them.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// On a terminal that shows colours, and for somebody who wants them (`NO_COLOR`, no-color.org).
    pub fn new(terminal: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value: std::ffi::OsString| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: terminal && !set("NO_COLOR") && !dumb }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on && !text.trim().is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }
}

/// The lines of one frame of `--watch`. `problem` is why it is an old one.
pub fn frame(overview: &Overview, problem: Option<&str>, paint: Paint) -> Vec<String> {
    let mut lines = lines(overview, paint);
    if let Some(problem) = problem {
        let warning = wrapped(&format!("What is shown is old: {problem}"), 2);
        lines.splice(1..1, warning.iter().map(|line| paint.red(line)));
    }
    lines.push(String::new());
    lines.push(paint.dim("ctrl-C ends"));
    lines
}

/// The overview.
pub fn lines(overview: &Overview, paint: Paint) -> Vec<String> {
    let at = overview.at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut lines = vec![format!("{}{:>71}", paint.bold("MetriqLab"), at)];
    if let Some(problem) = &overview.redis_problem {
        let text = format!("Redis is out of reach, nothing runs: {problem}");
        lines.extend(wrapped(&text, 0).iter().map(|line| paint.red(line)));
    }
    lines.push(String::new());
    lines.push(paint.dim("LANE    STATE        READY   DELAYED   RUNNING     WAITING      DEAD    OLDEST"));
    lines.extend(overview.lanes.iter().map(|lane| lane_line(lane, paint)));
    lines.extend(overview.lanes.iter().filter_map(held).map(|line| paint.red(&line)));
    lines.push(String::new());
    lines.extend(workers(overview.workers.as_deref(), paint));
    lines.push(String::new());
    lines.push(paint.dim(&format!("QUOTA{:>54}{:>20}", "IN USE", "THE CADENCE NEEDS")));
    for quota in &overview.quota {
        lines.push(quota_line(quota, paint));
        lines.extend(limits(quota).iter().map(|line| paint.red(line)));
    }
    if !overview.app_is_set {
        lines.push(paint.dim("What is in use is known where TIKTOK_CLIENT_KEY is set."));
    }
    lines.push(String::new());
    lines.extend(creators(overview, paint));
    let doubt = overview.pace_problem().map(|problem| wrapped(problem, 0)).unwrap_or_default();
    lines.extend(doubt.iter().map(|line| paint.yellow(line)));
    lines.extend(warning(overview).iter().map(|line| paint.yellow(line)));
    lines
}

fn lane_line(view: &LaneView, paint: Paint) -> String {
    let is_held = view.setting.state == LaneState::Open && !view.held_by.is_empty();
    let state = format!("{:<9}", if is_held { "held" } else { view.setting.state.as_ref() });
    let state = match view.setting.state {
        LaneState::Open if is_held => paint.red(&state),
        LaneState::Open => paint.green(&state),
        LaneState::Paused | LaneState::Draining => paint.yellow(&state),
        LaneState::Unknown => paint.red(&state),
    };
    let number = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), grouped);
    let dead = format!("{:>9}", grouped(positive(view.dead.unwrap_or(0))));
    let dead = if view.dead > Some(0) { paint.red(&dead) } else { dead };
    format!(
        "{}{state}{:>9} {:>9} {:>9} {:>11} {dead} {:>9}",
        paint.bold(&format!("{:<8}", view.lane.as_str())),
        number(view.depth.map(|depth| depth.ready)),
        number(view.depth.map(|depth| depth.delayed)),
        number(view.depth.map(|depth| depth.running)),
        grouped(positive(view.waiting.unwrap_or(0))),
        view.oldest.map_or_else(|| "–".to_owned(), age),
    )
}

/// What holds a lane that no operator holds.
fn held(view: &LaneView) -> Option<String> {
    if view.held_by.is_empty() {
        return None;
    }
    let endpoints = view.held_by.join(" and ");
    Some(format!("{:<8}held: TikTok fails at {endpoints}; it goes on by itself", view.lane.as_str()))
}

fn workers(workers: Option<&[WorkerInfo]>, paint: Paint) -> Vec<String> {
    let mut lines = vec![paint.dim("WORKER                                                      JOBS    HEARTBEAT")];
    match workers {
        None => lines.push("?".to_owned()),
        Some([]) => lines.push(paint.red("none: nothing runs until a `metriqlab worker` is started")),
        Some(workers) => {
            for worker in workers.iter().take(MOST_WORKERS) {
                let heartbeat = format!("{:>9} ago", age(worker.last_heartbeat));
                let heartbeat = if worker.is_alive() { heartbeat } else { paint.red(&heartbeat) };
                let name: String = worker.name.chars().take(50).collect();
                lines.push(format!("{name:<50}{:>14}{heartbeat}", grouped(worker.running)));
            }
            let more = workers.len().saturating_sub(MOST_WORKERS);
            if more > 0 {
                lines.push(paint.dim(&format!("and {more} more")));
            }
            if !workers.iter().any(WorkerInfo::is_alive) {
                lines.push(paint.red("all of them are silent: nothing runs until a `metriqlab worker` is started"));
            }
        }
    }
    lines
}

fn quota_line(view: &QuotaView, paint: Paint) -> String {
    let used = view.snapshot.map(|snapshot| f64::from(snapshot.used) / f64::from(snapshot.quota.max(1)));
    let drawn = bar(used.unwrap_or(0.0));
    let drawn = if used.is_some_and(|used| used > 0.9) { paint.yellow(&drawn) } else { paint.green(&drawn) };
    let in_use = match view.snapshot {
        Some(snapshot) => format!("{} of {}", snapshot.used, grouped(view.quota.into())),
        None => format!("? of {}", grouped(view.quota.into())),
    };
    let paused = view.snapshot.and_then(|snapshot| snapshot.paused_for);
    let needs = format!("{:>15.1} %", view.needed());
    let needs = match paused {
        Some(pause) => paint.red(&format!("{:>17}", format!("paused {}", age(pause)))),
        None if view.needed() > 100.0 => paint.red(&needs),
        None => needs,
    };
    format!("{:<11} {drawn} {in_use:>20}   {needs}", view.endpoint)
}

/// What holds an endpoint back beside its quota.
fn limits(view: &QuotaView) -> Vec<String> {
    let Some(snapshot) = view.snapshot else { return Vec::new() };
    let held = snapshot.probe_in().map(|wait| format!("held: TikTok fails (next look in {})", age(wait)));
    let ceiling = (snapshot.ceiling < snapshot.quota).then(|| {
        let (ceiling, quota) = (grouped(snapshot.ceiling.into()), grouped(snapshot.quota.into()));
        format!("ceiling {ceiling} of {quota} after a 429")
    });
    held.into_iter().chain(ceiling).map(|text| format!("{:<11} {text}", "")).collect()
}

fn creators(overview: &Overview, paint: Paint) -> Vec<String> {
    let Some(Counts { creators: counts, forecast, .. }) = &overview.counts else { return Vec::new() };
    let number = |count: i64| grouped(positive(count));
    let every =
        overview.resync_every.map_or_else(|| "off".to_owned(), |every| humantime::format_duration(every).to_string());
    vec![
        format!(
            "{}   {} active  {} must reconnect  {} leaving  {} due",
            paint.dim("CREATORS"),
            number(counts.active),
            number(counts.reauthorization_required),
            number(counts.disconnecting),
            number(counts.due),
        ),
        format!(
            "{}    {} on the schedule, {:.1} syncs a minute; longest age {every}",
            paint.dim("CADENCE"),
            number(forecast.creators),
            forecast.syncs_per_minute,
        ),
    ]
}

/// What to do when the cadence asks for more than there is.
fn warning(overview: &Overview) -> Vec<String> {
    let Some(tightest) = overview.overbooked() else { return Vec::new() };
    let set = overview
        .hours_needed()
        .map_or_else(String::new, |hours| format!("set METRIQLAB_RESYNC_EVERY to {hours}h or more, "));
    let text = format!(
        "At this cadence your creators need {:.0} % of the quota of {}: their data gets older than you asked for. What \
         helps: {set}sync some projects less often (`metriqlab resync --project NAME --every TIME`), or ask TikTok for a \
         higher quota.",
        tightest.needed(),
        tightest.endpoint,
    );
    let mut lines = vec![String::new()];
    lines.extend(wrapped(&text, 0));
    lines
}

/// A bar of [`BAR`] columns, to an eighth of one.
fn bar(part: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "from 0 to 8 times the bar's width"
    )]
    let eighths = (part.clamp(0.0, 1.0) * (BAR * 8) as f64).round() as usize;
    let last = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    let filled = eighths / 8;
    let empty = BAR - filled - usize::from(!last.is_empty());
    format!("{}{last}{}", "█".repeat(filled), "░".repeat(empty))
}

/// A span of time in at most six columns: `0.4s`, `42s`, `5m 3s`, `3h 2m`, `1d 6h`.
pub fn age(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", span.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn positive(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// The text in lines of at most [`WIDTH`] columns, each indented.
fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    for word in text.split_whitespace() {
        let filled = line.chars().count();
        if filled > indent && filled + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        }
        if line.chars().count() > indent {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests;
