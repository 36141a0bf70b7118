//! `metriqlab jobs`: what became of jobs, and what to do about those that were given up.

use std::io::Write as _;

use anyhow::bail;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Subcommand;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use shared::ids::{CreatorId, JobId};
use shared::queue::{Lane, Queue};
use shared::settings::{DatabaseArgs, RedisArgs};
use shared::store::Store;
use shared::store::audit::By;
use shared::store::dead_jobs::{Discard, JobFilter, JobRow, Retry, RetryOne};
use shared::store::jobs::{JobKind, JobState};
use shared::store::project_jobs::Doer;

use super::queue::lane;
use super::{kept, project};
use crate::usage::UsageError;

/// What is done here, in the log.
const SHELL: Doer<'static> = Doer { by: By::CommandLine, within: None };
/// Rows of one statement, whatever the number that is asked for: memory stays flat.
const PAGE: i64 = 500;

const LIST_HELP: &str = "\
With --json, one object a line: id, kind, lane, state, creatorId, project, attempts, error (null, or code, message and \
logId, TikTok's own id of the exchange), createdAt, runAt, finishedAt (null while it is open).

In a folder where `metriqlab up` has run, its servers are used unless others are set.";

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Lists jobs, newest first
    #[command(after_help = LIST_HELP)]
    List(List),
    /// Shows one job, with its last error
    Show(One),
    /// Tries a dead job again, or all of them
    Retry(Again),
    /// Puts a dead job away, or ends one that waits in the bulk lane. A revocation can't be discarded: an authorization would
    /// stay at TikTok
    Discard(Away),
}

#[derive(clap::Args)]
struct Which {
    /// Only this kind: `sync` or `revoke`.
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<JobKind>,
    /// Only the jobs of this project, named by its id, or by its name where no other project has it.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

#[derive(clap::Args)]
struct List {
    /// Only this state: `waiting`, `enqueued`, `running`, `retrying`, `done`, `failed` (or `dead`, the same), `cancelled`.
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<JobState>,
    #[command(flatten)]
    which: Which,
    /// Only the jobs of this creator.
    #[arg(long, value_name = "ID", value_parser = creator)]
    creator: Option<CreatorId>,
    /// Only this lane: `revoke`, `sync` or `bulk`.
    #[arg(long, value_name = "LANE", value_parser = lane)]
    lane: Option<Lane>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value = "50", value_parser = limit)]
    limit: i64,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(clap::Args)]
#[command(after_help = kept::HELP)]
struct One {
    /// The job.
    #[arg(value_name = "ID", value_parser = job)]
    id: JobId,
    /// As JSON, as `list --json` has it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(clap::Args)]
#[command(after_help = kept::HELP)]
struct Again {
    /// The job. It goes into its lane at once.
    #[arg(value_name = "ID", value_parser = job, required_unless_present = "dead", conflicts_with_all = ["dead", "kind", "project"])]
    id: Option<JobId>,
    /// All dead jobs. They wait in the bulk lane until the quota has room for them.
    #[arg(long)]
    dead: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

#[derive(clap::Args)]
#[command(after_help = kept::HELP)]
struct Away {
    /// The job.
    #[arg(value_name = "ID", value_parser = job)]
    id: JobId,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

fn kind(text: &str) -> Result<JobKind, String> {
    text.parse().map_err(|_| format!("`{text}` is neither `sync` nor `revoke`"))
}

fn state(text: &str) -> Result<JobState, String> {
    match text {
        "dead" => Ok(JobState::Failed),
        text => text.parse().map_err(|_| format!("`{text}` is no state of a job")),
    }
}

fn limit(text: &str) -> Result<i64, String> {
    text.parse().ok().filter(|number| *number >= 1).ok_or_else(|| "write a number, 1 or more".to_owned())
}

fn job(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|_| format!("`{text}` is no job's id; see `metriqlab jobs list`"))
}

fn creator(text: &str) -> Result<CreatorId, String> {
    text.parse().map_err(|_| format!("`{text}` is no creator's id"))
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.action {
        Action::List(args) => list(&args).await,
        Action::Show(args) => show(&args).await,
        Action::Retry(args) => retry(&args).await,
        Action::Discard(args) => discard(&args).await,
    }
}

fn open(database: &DatabaseArgs) -> anyhow::Result<Store> {
    Ok(Store::open(&kept::database(database)?.url, 1)?)
}

fn connect(redis: &RedisArgs) -> anyhow::Result<Queue> {
    let redis = kept::redis(redis)?;
    Ok(Queue::connect(redis.url.expose_secret(), &redis.prefix)?)
}

impl Which {
    async fn filter(&self, store: &Store) -> anyhow::Result<JobFilter> {
        let mut filter = JobFilter { kind: self.kind, ..JobFilter::default() };
        if let Some(name) = &self.project {
            filter.project = Some(project::find(store, name).await?);
        }
        Ok(filter)
    }
}

async fn list(args: &List) -> anyhow::Result<()> {
    let store = open(&args.database)?;
    let filter = args.which.filter(&store).await?;
    let filter = JobFilter { state: args.state, creator: args.creator, lane: args.lane, ..filter };
    let (mut before, mut left) = (None, args.limit);
    while left > 0 {
        let page = store.list_jobs(&filter, before, left.min(PAGE)).await?;
        let full = i64::try_from(page.len()).is_ok_and(|rows| rows == left.min(PAGE));
        let mut out = std::io::stdout().lock();
        if before.is_none() && !args.json {
            writeln!(out, "{HEADER}")?;
        }
        for row in &page {
            let text = if args.json { to_json(row).to_string() } else { line(row, Utc::now()) };
            writeln!(out, "{text}")?;
        }
        left -= PAGE.min(left);
        before = page.last().map(|row| row.id);
        if !full {
            return Ok(());
        }
    }
    Ok(())
}

async fn show(args: &One) -> anyhow::Result<()> {
    let row = find(&open(&args.database)?, args.id).await?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", to_json(&row))?;
        return Ok(());
    }
    let instant = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut facts = vec![
        ("job", row.id.to_string()),
        ("kind", row.kind),
        ("state", row.state),
        ("lane", row.lane),
        ("creator", row.creator.to_string()),
        ("project", row.project.unwrap_or_else(|| "gone".to_owned())),
        ("attempts", row.attempts.to_string()),
        ("made", instant(row.created_at)),
        ("due", instant(row.run_at)),
    ];
    facts.extend(row.finished_at.map(|at| ("finished", instant(at))));
    facts.extend(row.error_code.map(|code| ("reason", code)));
    facts.extend(row.error.map(|error| ("error", error)));
    facts.extend(row.log_id.map(|id| ("log_id", id)));
    for (name, fact) in facts {
        writeln!(out, "{name:<10}{}", fact.split_whitespace().collect::<Vec<_>>().join(" "))?;
    }
    Ok(())
}

async fn find(store: &Store, id: JobId) -> anyhow::Result<JobRow> {
    match store.any_job(id).await? {
        Some(row) => Ok(row),
        None => Err(unknown(id)),
    }
}

fn unknown(id: JobId) -> anyhow::Error {
    anyhow::anyhow!("there is no job {id}: finished jobs are kept for a week; see `metriqlab jobs list`")
}

async fn retry(args: &Again) -> anyhow::Result<()> {
    let store = open(&args.database)?;
    match args.id {
        Some(id) => retry_one(&store, &connect(&args.redis)?, id).await,
        None if args.dead => retry_dead(&store, &args.which.filter(&store).await?).await,
        None => Err(UsageError("say which job, or --dead for all of them".to_owned()).into()),
    }
}

async fn retry_one(store: &Store, queue: &Queue, id: JobId) -> anyhow::Result<()> {
    match store.retry_one(SHELL, id).await? {
        RetryOne::Retried { lane, message } => {
            if let Err(error) = queue.push(lane, &message, None).await {
                tracing::warn!(%error, "Redis is out of reach: the job is open, and runs when Redis is back");
            }
            writeln!(std::io::stdout(), "{id} is tried again, in the lane {lane}")?;
            Ok(())
        }
        RetryOne::Not(verdict) => bail!("{id} is left as it is: {}", reason(verdict)),
        RetryOne::NotDead(state) => bail!("{id} is {state}, not dead: only a job that failed can be tried again"),
        RetryOne::UnknownLane(lane) => bail!("{id} is in the lane {lane}, which this version does not know"),
        RetryOne::Unknown => Err(unknown(id)),
    }
}

/// All of them, a page a statement. What dies again meanwhile is not met twice: it is as old as before.
async fn retry_dead(store: &Store, filter: &JobFilter) -> anyhow::Result<()> {
    let (mut before, mut retried, mut overtaken, mut gone, mut refused) = (None, 0_u64, 0_u64, 0_u64, 0_u64);
    loop {
        let page = store.retry_dead(By::CommandLine, filter, before, PAGE).await?;
        for (_, verdict) in &page {
            match verdict {
                Retry::Retried => retried += 1,
                Retry::Overtaken => overtaken += 1,
                Retry::Gone => gone += 1,
                Retry::Refused => refused += 1,
            }
        }
        let Some((last, _)) = page.last() else { break };
        before = Some(*last);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{retried} dead jobs are tried again: they wait in the lane bulk")?;
    for (number, verdict) in [(overtaken, Retry::Overtaken), (gone, Retry::Gone), (refused, Retry::Refused)] {
        if number > 0 {
            writeln!(out, "{number} are left as they are: {}", reason(verdict))?;
        }
    }
    Ok(())
}

fn reason(verdict: Retry) -> &'static str {
    match verdict {
        Retry::Retried => "tried again",
        Retry::Overtaken => "the creator has a newer job of the kind",
        Retry::Gone => "the creator was disconnected",
        Retry::Refused => "TikTok refuses the creator's tokens: it must connect again",
    }
}

async fn discard(args: &Away) -> anyhow::Result<()> {
    let (store, queue, id) = (open(&args.database)?, connect(&args.redis)?, args.id);
    match store.discard_job(SHELL, id, &[Lane::Bulk]).await? {
        Discard::Discarded { in_redis } => {
            if in_redis && queue.forget(Lane::Bulk, id).await.is_err() {
                tracing::info!("Redis is out of reach: a worker that meets the job drops it");
            }
            writeln!(std::io::stdout(), "{id} is discarded")?;
            Ok(())
        }
        Discard::Revocation => bail!(
            "{id} is a revocation, which is never given up: the authorization would stay at TikTok, and the creator's data here"
        ),
        Discard::Awaited => {
            bail!("{id} is open in an interactive lane, where somebody may wait for it: it ends within seconds")
        }
        Discard::Over(state) => bail!("{id} is {state} already"),
        Discard::Unknown => Err(unknown(id)),
    }
}

const HEADER: &str = "JOB                                   KIND    STATE      TRIES       AGE  REASON";

/// One job in one line; what it says of an error is cut, not wrapped.
fn line(row: &JobRow, now: DateTime<Utc>) -> String {
    let age = super::status::age((now - row.created_at).to_std().unwrap_or_default());
    let reason = row.error_code.as_deref().filter(|_| row.state != "done").unwrap_or_default();
    format!("{}  {:<6}  {:<9}  {:>5}  {age:>8}  {reason}", row.id, row.kind, row.state, row.attempts)
        .trim_end()
        .to_owned()
}

fn to_json(row: &JobRow) -> Value {
    let instant = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let error = row.error_code.as_ref().map(|code| json!({"code": code, "message": row.error, "logId": row.log_id}));
    json!({
        "id": row.id,
        "kind": row.kind,
        "lane": row.lane,
        "state": row.state,
        "creatorId": row.creator,
        "project": row.project,
        "attempts": row.attempts,
        "error": error,
        "createdAt": instant(row.created_at),
        "runAt": instant(row.run_at),
        "finishedAt": row.finished_at.map(instant),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_one_line() {
        let row = JobRow {
            id: JobId::new(),
            kind: "revoke".into(),
            lane: "bulk".into(),
            state: "cancelled".into(),
            creator: CreatorId::new(),
            project: None,
            attempts: 12345,
            error_code: Some("platform_error".into()),
            error: Some("TikTok\nfailed".into()),
            log_id: None,
            created_at: DateTime::UNIX_EPOCH,
            run_at: DateTime::UNIX_EPOCH,
            finished_at: None,
        };
        let text = line(&row, DateTime::UNIX_EPOCH + chrono::TimeDelta::hours(30));
        assert!(text.ends_with("1d 6h  platform_error") && !text.contains('\n'), "{text}");
        assert_eq!(to_json(&row)["error"]["message"], "TikTok\nfailed");
    }

    #[test]
    fn dead_is_another_word_for_failed() {
        assert_eq!(state("dead"), Ok(JobState::Failed));
        assert_eq!(state("waiting"), Ok(JobState::Waiting));
        assert!(state("Dead").is_err());
    }
}
