//! Sync jobs per second from end to end, and where their time goes: real processes, Postgres with its fsync, Redis with its
//! append-only file, a sandbox that answers at once and a quota that is never used up. Every sync reads the profile and 20
//! videos, all of which have changed, and writes 21 rows and its own. Meanwhile it looks at Postgres's sessions, and asks the
//! worker what its jobs waited for. `make bench` runs it. It prints figures and fails nothing.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::support;
use futures::StreamExt as _;
use support::servers::{PrivatePostgres, PrivateRedis};
use support::system::free_port;
use support::{System, within};
use tokio_postgres::Client as Sql;

const CREATORS: usize = 1_000;
const VIDEOS: usize = 20;
const ROUNDS: usize = 3;
/// Callers at a time who connect creators.
const CONNECTING: usize = 8;
/// Between two looks at Postgres's sessions.
const LOOK: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() {
    let mut postgres = PrivatePostgres::start().await;
    let profiled = profile_statements(&mut postgres).await;
    let redis = PrivateRedis::start().await;
    let metrics = format!("127.0.0.1:{}", free_port());
    let system = System::builder()
        .on_postgres(&postgres.url)
        .on_redis(&redis.url)
        .set("RUST_LOG", "warn")
        .set("METRIQLAB_RESYNC_EVERY", "off")
        .set("TIKTOK_RATE_PER_MINUTE", "1000000")
        .set("METRIQLAB_METRICS_BIND", &metrics)
        .start()
        .await;
    let sql = system.sql().await;
    if profiled {
        sql.batch_execute("CREATE EXTENSION pg_stat_statements").await.expect("the extension");
    }
    futures::stream::iter(0..CREATORS)
        .for_each_concurrent(CONNECTING, async |_| {
            system.connect(&system.sandbox.user(VIDEOS).await).await;
        })
        .await;
    idle(&sql).await;
    println!("{CREATORS} syncs of {VIDEOS} videos, one api and one worker process, {} cores", common::cores());
    let mut rates = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        let round = round(&system, &sql, &metrics, profiled).await;
        rates.push(per_second(round.time));
        last = Some(round);
    }
    rates.sort_by(f64::total_cmp);
    println!("sync jobs: {:.0}/s, the middle one of {rates:.0?}", rates[ROUNDS / 2]);
    last.expect("a round").print(&sql, profiled).await;
}

/// Lets Postgres count what each statement costs, if it can.
async fn profile_statements(postgres: &mut PrivatePostgres) -> bool {
    let sql = support::database::connect(&postgres.url).await;
    let found = sql.query("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_stat_statements'", &[]).await;
    if found.expect("the extensions").is_empty() {
        return false;
    }
    sql.batch_execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'").await.expect("set");
    drop(sql);
    postgres.restart().await;
    true
}

struct Round {
    time: Duration,
    /// Processor time by program, in ms.
    cpu: Vec<(&'static str, u64)>,
    /// Transactions.
    commits: i64,
    /// What the worker's jobs waited for.
    spent: Spent,
    sessions: Sessions,
}

/// One bulk resync of all creators, every one of whose videos has changed.
async fn round(system: &System, sql: &Sql, metrics: &str, profiled: bool) -> Round {
    sql.batch_execute("UPDATE videos SET views = -1").await.expect("changed");
    sql.batch_execute("VACUUM ANALYZE").await.expect("vacuumed");
    sql.batch_execute("CHECKPOINT").await.expect("a checkpoint");
    if profiled {
        sql.batch_execute("SELECT pg_stat_statements_reset()").await.expect("reset");
    }
    let (commits, before) = (commits(sql).await, Programs::of(system, sql).await);
    let (spent, mut sessions) = (Spent::read(metrics).await, Sessions::default());
    let cpu = before.cpu();
    let start = Instant::now();
    let accepted = system.client.post("/api/v1/creators/sync").await;
    assert_eq!(accepted.data(202)["total"], CREATORS);
    tokio::select! {
        () = idle(sql) => {}
        () = sessions.look(system, sql) => {}
    }
    let time = start.elapsed();
    let cpu = before.cpu().into_iter().zip(cpu).map(|((name, after), (_, before))| (name, after - before)).collect();
    let stale: i64 = sql.query_one("SELECT count(*) FROM videos WHERE views = -1", &[]).await.expect("rows").get(0);
    assert_eq!(stale, 0, "every row was written");
    let spent = Spent::read(metrics).await.since(&spent);
    Round { time, cpu, commits: self::commits(sql).await - commits, spent, sessions }
}

/// Seconds that the worker's jobs have spent so far, by the metric that counts them, and the slots that it has.
struct Spent {
    seconds: BTreeMap<&'static str, f64>,
    slots: f64,
}

/// A job's whole time in a slot, and the waits that are parts of it.
const IN_A_SLOT: &str = "metriqlab_jobs_run_seconds";
const WAITS: [(&str, &str); 3] = [
    ("for a connection to Postgres", "metriqlab_postgres_wait_seconds"),
    ("for a permit", "metriqlab_budget_wait_seconds"),
    ("for TikTok's answers", "metriqlab_platform_request_seconds"),
];

impl Spent {
    async fn read(address: &str) -> Self {
        let answer = reqwest::get(format!("http://{address}/metrics")).await.expect("the worker's metrics");
        let text = answer.text().await.expect("text");
        let sum = |series: &str| -> f64 {
            let lines =
                text.lines().filter(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(['{', ' '])));
            lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum()
        };
        let names = WAITS.iter().map(|(_, name)| *name).chain([IN_A_SLOT]);
        Self {
            seconds: names.map(|name| (name, sum(&format!("{name}_sum")))).collect(),
            slots: sum("metriqlab_worker_slots"),
        }
    }

    fn since(mut self, before: &Self) -> Self {
        for (name, seconds) in &mut self.seconds {
            *seconds -= before.seconds[name];
        }
        self
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
    fn print(&self, time: Duration) {
        let each = |name: &str| self.seconds[name] * 1e3 / CREATORS as f64;
        let all = each(IN_A_SLOT);
        println!("  time of each job in its slot: {all:.1} ms, of which it waits");
        let mut rest = all;
        for (what, name) in WAITS {
            println!("    {:>7.1} ms {what}", each(name));
            rest -= each(name);
        }
        println!("    {rest:>7.1} ms and all else: its statements, and its turn at a processor");
        // The bulk lane has three quarters of the slots at most.
        let (busy, slots) = (self.seconds[IN_A_SLOT] / time.as_secs_f64(), self.slots * 0.75);
        println!("  slots in use, the mean: {busy:.1} of {slots:.0} that bulk jobs may have");
    }
}

/// What Postgres's sessions of ours were found at, look by look; those that do nothing are left out.
#[derive(Default)]
struct Sessions {
    looks: u32,
    found: BTreeMap<String, i64>,
}

impl Sessions {
    /// Looks until it is dropped.
    async fn look(&mut self, system: &System, sql: &Sql) {
        let own: i32 = sql.query_one("SELECT pg_backend_pid()", &[]).await.expect("a pid").get(0);
        let query = "SELECT CASE WHEN state <> 'active' THEN 'a transaction, between two statements'
                         ELSE coalesce('waiting, ' || wait_event_type || ' ' || wait_event, 'computing') END, count(*)
                     FROM pg_stat_activity
                     WHERE datname = current_database() AND backend_type = 'client backend' AND state <> 'idle'
                         AND pid NOT IN (pg_backend_pid(), $1)
                     GROUP BY 1";
        let second = system.sql().await;
        loop {
            for row in second.query(query, &[&own]).await.expect("the sessions") {
                *self.found.entry(row.get(0)).or_default() += row.get::<_, i64>(1);
            }
            self.looks += 1;
            tokio::time::sleep(LOOK).await;
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
    fn print(&self) {
        println!("  sessions at Postgres, the mean of {} looks:", self.looks);
        let mut found: Vec<_> = self.found.iter().collect();
        found.sort_by_key(|(_, sessions)| -**sessions);
        for (what, sessions) in found.into_iter().take(10) {
            println!("    {:>7.2} {what}", *sessions as f64 / f64::from(self.looks.max(1)));
        }
    }
}

/// Waits until no job and no batch is open.
async fn idle(sql: &Sql) {
    let query = "SELECT EXISTS (SELECT 1 FROM jobs WHERE finished_at IS NULL) \
                 OR EXISTS (SELECT 1 FROM batches WHERE finished_at IS NULL)";
    within(Duration::from_secs(300), "all syncs are done", async || {
        let busy: bool = sql.query_one(query, &[]).await.expect("the jobs").get(0);
        (!busy).then_some(())
    })
    .await;
}

async fn commits(sql: &Sql) -> i64 {
    // What the other sessions have done is told a second later, or at once by this.
    let query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    sql.query_one(query, &[]).await.expect("the counts").get(0)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn per_second(time: Duration) -> f64 {
    CREATORS as f64 / time.as_secs_f64()
}

/// The process ids of all that takes part.
struct Programs(Vec<(&'static str, Vec<i32>)>);

impl Programs {
    async fn of(system: &System, sql: &Sql) -> Self {
        let backend: i32 = sql.query_one("SELECT pg_backend_pid()", &[]).await.expect("a pid").get(0);
        let postmaster = stat(backend).map_or(0, |fields| fields[1].parse().expect("a pid"));
        let redis = redis::Client::open(system.redis_url.as_str()).expect("a URL");
        let mut redis = redis.get_multiplexed_async_connection().await.expect("Redis");
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut redis).await.expect("its pid");
        let line = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("its pid");
        let pids = |processes: &[support::process::Process]| {
            processes.iter().map(|process| process.pid().as_raw()).collect::<Vec<_>>()
        };
        let me = i32::try_from(std::process::id()).expect("a pid");
        Self(vec![
            ("worker", pids(&system.workers)),
            ("api", pids(&system.apis)),
            ("postgres", vec![postmaster]),
            ("redis", vec![line.trim().parse().expect("a pid")]),
            ("sandbox", vec![me]),
        ])
    }

    /// Processor time that each has used so far, in ms, with that of its children.
    fn cpu(&self) -> Vec<(&'static str, u64)> {
        let all: Vec<(i32, Vec<String>)> = std::fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, stat(pid)?)))
            .collect();
        let time = |pids: &[i32], of_children: bool| -> u64 {
            let belongs = |pid: &i32, fields: &[String]| {
                pids.contains(pid) || (of_children && pids.iter().any(|parent| fields[1] == parent.to_string()))
            };
            // proc(5): user and system time, then those of children that have ended; in hundredths of a second.
            let ticks = |fields: &[String]| {
                fields[11..15].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum::<u64>()
            };
            all.iter().filter(|(pid, fields)| belongs(pid, fields)).map(|(_, fields)| ticks(fields) * 10).sum()
        };
        self.0.iter().map(|(name, pids)| (*name, time(pids, *name == "postgres"))).collect()
    }
}

/// The fields of `/proc/PID/stat` after the process's name: its state, its parent, ….
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit(')').next()?.split_whitespace().map(str::to_owned).collect())
}

impl Round {
    #[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
    async fn print(&self, sql: &Sql, profiled: bool) {
        let jobs = CREATORS as f64;
        println!("  processor time of each job:");
        let all: u64 = self.cpu.iter().map(|(_, time)| time).sum();
        for (name, time) in &self.cpu {
            println!("    {name:<10} {:>7.3} ms", *time as f64 / jobs);
        }
        println!(
            "    together   {:>7.3} ms, {:.2} cores",
            all as f64 / jobs,
            all as f64 / 1e3 / self.time.as_secs_f64()
        );
        self.spent.print(self.time);
        self.sessions.print();
        println!("  transactions of each job: {:.2}", self.commits as f64 / jobs);
        if !profiled {
            println!("  no pg_stat_statements here to tell the statements");
            return;
        }
        let query = "SELECT calls, total_exec_time, left(regexp_replace(query, '\\s+', ' ', 'g'), 90) \
                     FROM pg_stat_statements ORDER BY total_exec_time DESC";
        let rows = sql.query(query, &[]).await.expect("the statements");
        let (calls, time) = rows
            .iter()
            .fold((0, 0.0), |(calls, time), row| (calls + row.get::<_, i64>(0), time + row.get::<_, f64>(1)));
        println!("  statements of each job: {:.2}, {:.3} ms in Postgres", calls as f64 / jobs, time / jobs);
        for row in rows.iter().take(14) {
            let (calls, time): (i64, f64) = (row.get(0), row.get(1));
            println!("    {:>6.2} times, {:>6.3} ms: {}", calls as f64 / jobs, time / jobs, row.get::<_, String>(2));
        }
    }
}
