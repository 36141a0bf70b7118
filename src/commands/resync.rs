//! `metriqlab resync`: bulk resync from the command line. It talks to Postgres alone; the workers do the rest.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use shared::cadence::{LONGEST, ResyncEvery};
use shared::ids::{BatchId, ProjectId};
use shared::settings::{DatabaseArgs, resync_every, resync_every_text};
use shared::store::Store;
use shared::store::audit::By;
use shared::store::batches::{Batch, BatchFilter};

use super::{kept, project};
use crate::usage::UsageError;

/// Between two looks at the batches.
const LOOK: Duration = Duration::from_millis(500);
/// Between two lines where there is no terminal to draw on.
const LINE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
#[command(after_help = kept::HELP)]
pub struct Args {
    /// All creators of all projects.
    #[arg(long, conflicts_with = "project")]
    all: bool,
    /// The creators of this project, named by its id, or by its name where no other project has it.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Only those that were last synced so long ago, or never, for example `24h`.
    #[arg(long, value_name = "TIME")]
    older_than: Option<String>,
    /// Shows how far it is, with the rate and the time left, until it is done.
    #[arg(long)]
    follow: bool,
    /// Syncs nobody now, but sets how old the project's data may get, where a creator does not say otherwise: a time span,
    /// `off`, or `default`.
    #[arg(long, value_name = "TIME", requires = "project", conflicts_with_all = ["older_than", "follow"])]
    every: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let filter = BatchFilter { platform: None, older_than: args.older_than()? };
    let every = args.every()?;
    if !args.all && args.project.is_none() && filter.older_than.is_none() {
        return Err(UsageError("say which creators: --all, --project NAME or --older-than TIME".into()).into());
    }
    let store = Store::open(&kept::database(&args.database)?.url, 1)?;
    let project = match args.project.as_deref() {
        Some(named) => Some(project::find(&store, named).await?),
        None => None,
    };
    if let (Some(named), Some(project), Some(every)) = (&args.project, project, every) {
        let Some(moved) = store.set_project_resync(project, every).await? else {
            bail!("there is no project {named}");
        };
        writeln!(std::io::stdout(), "{}", describe_change(named, every, moved))?;
        return Ok(());
    }
    let projects = match project {
        Some(project) => vec![project],
        None => store.projects().await?,
    };
    let started = Instant::now();
    let batches = open(&store, projects, &filter).await?;
    if !args.follow {
        return Ok(());
    }
    let sum = follow(&store, &batches).await?;
    let took = humantime::format_duration(Duration::from_secs(started.elapsed().as_secs()));
    writeln!(std::io::stdout(), "{} done, {} failed, {} skipped, in {took}", sum.done, sum.failed, sum.skipped)?;
    Ok(())
}

impl Args {
    fn older_than(&self) -> Result<Option<Duration>, UsageError> {
        let Some(text) = &self.older_than else { return Ok(None) };
        let age = humantime::parse_duration(text).ok().filter(|age| *age <= LONGEST);
        age.map(Some).ok_or_else(|| UsageError("--older-than: write a time span up to a year, such as `24h`".into()))
    }

    fn every(&self) -> Result<Option<ResyncEvery>, UsageError> {
        match self.every.as_deref() {
            None => Ok(None),
            Some("default") => Ok(Some(ResyncEvery::Default)),
            Some(text) => match resync_every(text) {
                Ok(every) => Ok(Some(every.into())),
                Err(problem) => Err(UsageError(format!("--every: {problem}, or `default`"))),
            },
        }
    }
}

/// What holds from now on, in one sentence; `moved` turns were brought forward for it.
fn describe_change(project: &str, every: ResyncEvery, moved: i64) -> String {
    let what = match every {
        ResyncEvery::Off => {
            return format!("the schedule leaves {project} alone, where a creator does not say otherwise");
        }
        ResyncEvery::Every(age) => {
            format!("at most {}", resync_every_text(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)))
        }
        ResyncEvery::Default => "at most what METRIQLAB_RESYNC_EVERY says".to_owned(),
    };
    let turns = match moved {
        0 => String::new(),
        1 => "; 1 creator's turn comes sooner".to_owned(),
        moved => format!("; {moved} creators' turns come sooner"),
    };
    format!("the data of {project} gets {what} old, where a creator does not say otherwise{turns}")
}

/// One batch a project, each said on standard output: its id and its number of creators. All are opened, also if nobody reads
/// on.
async fn open(
    store: &Store,
    projects: Vec<ProjectId>,
    filter: &BatchFilter,
) -> anyhow::Result<Vec<(ProjectId, BatchId)>> {
    let (mut batches, mut said) = (Vec::new(), Ok(()));
    for project in projects {
        let batch = store.open_batch_as(project, By::CommandLine, filter, None).await?;
        said = said.and(writeln!(std::io::stdout(), "batch {}  {} creators", batch.id, batch.total));
        batches.push((project, batch.id));
    }
    said?;
    Ok(batches)
}

/// All batches together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    total: u64,
    running: u64,
    done: u64,
    failed: u64,
    skipped: u64,
}

impl Sum {
    fn settled(self) -> u64 {
        self.done + self.failed + self.skipped
    }

    fn add(&mut self, batch: &Batch) {
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        self.total += number(batch.total);
        self.running += number(batch.running);
        self.done += number(batch.done);
        self.failed += number(batch.failed);
        self.skipped += number(batch.skipped);
    }
}

/// Shows the progress until every batch has ended.
async fn follow(store: &Store, batches: &[(ProjectId, BatchId)]) -> anyhow::Result<Sum> {
    let mut display = Display::new();
    let mut ended = Sum::default();
    let mut open = batches.to_vec();
    loop {
        let mut sum = ended;
        let mut still_open = Vec::new();
        for (project, id) in open {
            let Some(batch) = store.batch(project, id).await? else { continue };
            sum.add(&batch);
            if batch.finished_at.is_some() {
                ended.add(&batch);
            } else {
                still_open.push((project, id));
            }
        }
        display.show(sum);
        if still_open.is_empty() {
            display.end();
            return Ok(ended);
        }
        open = still_open;
        tokio::time::sleep(LOOK).await;
    }
}

/// A bar on a terminal, lines elsewhere; both on standard error.
struct Display {
    bar: Option<ProgressBar>,
    /// When and where the measured stretch began, for the rate.
    start: Option<(Instant, u64)>,
    last_line: Option<Instant>,
}

impl Display {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            // A template that does not parse would be a plain bar; a test looks at what is drawn.
            bar.set_style(style().unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, start: None, last_line: None }
    }

    fn show(&mut self, sum: Sum) {
        let now = Instant::now();
        let (began, from) = *self.start.get_or_insert((now, sum.settled()));
        let text = describe(sum, sum.settled().saturating_sub(from), now - began);
        if let Some(bar) = &self.bar {
            bar.set_length(sum.total);
            bar.set_position(sum.settled());
            bar.set_message(text);
        } else if self.last_line.is_none_or(|last| now - last >= LINE) || sum.settled() == sum.total {
            self.last_line = Some(now);
            let _ = writeln!(std::io::stderr(), "{} of {}  {text}", sum.settled(), sum.total);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}

/// Two lines: what is said changes its length, and the bar's end is not to jump.
fn style() -> Result<ProgressStyle, indicatif::style::TemplateError> {
    ProgressStyle::with_template("{percent:>3} %  {wide_bar}  {human_pos} of {human_len}\n       {msg}")
}

/// The rate and the time left, by what was settled in the time that it took.
fn describe(sum: Sum, settled: u64, took: Duration) -> String {
    let left = sum.total.saturating_sub(sum.settled());
    let mut parts = vec![format!("{} running", sum.running)];
    if sum.failed > 0 {
        parts.push(format!("{} failed", sum.failed));
    }
    if settled == 0 || took.is_zero() {
        return parts.join(", ");
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = settled as f64 / took.as_secs_f64();
    parts.push(format!("{:.0} a minute", rate * 60.0));
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let seconds = Duration::try_from_secs_f64((left as f64 / rate).ceil());
    if let (true, Ok(seconds)) = (left > 0, seconds) {
        parts.push(format!("{} left", humantime::format_duration(seconds)));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_cadence_is_one_sentence() {
        let said = |every, moved| describe_change("shop", every, moved);
        let hours = ResyncEvery::Every(Duration::from_secs(6 * 3600));
        let sentence = "the data of shop gets at most 6h old, where a creator does not say otherwise";
        assert_eq!(said(hours, 0), sentence);
        assert_eq!(said(hours, 1), format!("{sentence}; 1 creator's turn comes sooner"));
        assert!(said(ResyncEvery::Default, 12).ends_with("; 12 creators' turns come sooner"));
        assert!(said(ResyncEvery::Off, 0).starts_with("the schedule leaves shop alone"));
    }

    #[test]
    fn the_rate_and_the_time_left_are_by_what_was_settled() {
        let sum = Sum { total: 100, running: 3, done: 39, failed: 1, skipped: 0 };
        assert_eq!(describe(sum, 20, Duration::from_secs(10)), "3 running, 1 failed, 120 a minute, 30s left");
        assert_eq!(describe(Sum { failed: 0, ..sum }, 0, Duration::ZERO), "3 running");
    }
}
