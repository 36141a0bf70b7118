//! The metrics' table (`docs/metrics.md`) beside what the processes serve, and their values beside what was done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::system::free_port;
use crate::support::{DEADLINE, System, eventually};

/// A metric as the table or a process has it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Metric {
    pub kind: String,
    pub labels: BTreeSet<String>,
}

/// Each metric of the table, and which processes serve it.
pub type Table = BTreeMap<String, (Metric, BTreeSet<String>)>;

type Metrics = BTreeMap<String, Metric>;

/// Labels whose values are not listed.
const OPEN_LABELS: [&str; 5] = ["method", "route", "status", "version", "le"];

/// The values of a label.
pub struct LabelValues {
    label: String,
    /// Of these metrics; of all if there are none.
    of: BTreeSet<String>,
    values: BTreeSet<String>,
}

fn document() -> String {
    std::fs::read_to_string(repository().join("docs/metrics.md")).expect("the table")
}

fn words(cell: &str) -> BTreeSet<String> {
    let words = cell.split(',').map(|word| word.trim().trim_matches('`').to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

/// The rows of the table of labels.
pub fn label_values() -> Vec<LabelValues> {
    let text = document();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows = rows.filter(|(label, _)| !label.starts_with("metriqlab_")).map(|(label, rest)| {
        let (of, values) =
            rest.trim_end_matches(" |").split_once(" | ").unwrap_or_else(|| panic!("not three cells: {rest}"));
        let of = if of == "all" { BTreeSet::new() } else { words(of) };
        LabelValues { label: label.to_owned(), of, values: words(values) }
    });
    rows.collect()
}

/// The values that a metric's label may have, if they are listed.
pub fn allowed<'a>(all: &'a [LabelValues], metric: &str, label: &str) -> Option<&'a BTreeSet<String>> {
    let row = all.iter().find(|row| row.label == label && (row.of.is_empty() || row.of.contains(metric)));
    row.map(|row| &row.values)
}

/// The table's rows.
pub fn table() -> Table {
    let text = document();
    let rows = text.lines().filter(|line| line.starts_with("| `metriqlab_")).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, unit, meaning, served] = cells[..] else { panic!("not six cells: {line}") };
        assert!(!unit.is_empty() && !meaning.is_empty(), "{line}");
        (name.trim_matches('`').to_owned(), (Metric { kind: kind.to_owned(), labels: words(labels) }, words(served)))
    });
    let rows: Vec<_> = rows.collect();
    let table: Table = rows.iter().cloned().collect();
    assert_eq!(table.len(), rows.len(), "a name stands twice in the table");
    table
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Reads Prometheus's text format.
fn parse(text: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            kind.clone_into(&mut metrics.entry(name.to_owned()).or_default().kind);
        } else if !line.starts_with('#') && !line.is_empty() {
            let end = line.find(['{', ' ']).expect("a value");
            let labels = line[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(all, _)| all);
            let keys = labels.split("\",").filter_map(|pair| pair.split_once('=')).map(|(key, _)| key.to_owned());
            let metric = metrics.entry(base(&line[..end], &metrics)).or_default();
            metric.labels.extend(keys.filter(|key| key != "le"));
        }
    }
    metrics
}

/// The labels of each series in Prometheus's text format, with their values, behind their metric's name.
fn series<'a>(text: &'a str, known: &Metrics) -> Vec<(String, &'a str, &'a str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let series = lines.filter_map(|line| line.split_once('{')?.1.rsplit_once("} ").map(|(all, _)| (line, all)));
    let labels = series.flat_map(|(line, all)| {
        let name = line.split('{').next().map(|name| base(name, known)).unwrap_or_default();
        let pairs = all.trim_end_matches('"').split("\",").filter_map(|pair| pair.split_once("=\""));
        pairs.map(move |(label, value)| (name.clone(), label, value)).collect::<Vec<_>>()
    });
    labels.collect()
}

/// A histogram's name behind the names of its series.
pub fn base<T>(series: &str, known: &BTreeMap<String, T>) -> String {
    let stems = ["_bucket", "_sum", "_count"].into_iter().filter_map(|suffix| series.strip_suffix(suffix));
    stems.into_iter().find(|stem| known.contains_key(*stem)).unwrap_or(series).to_owned()
}

/// What the process at `address` serves, once all that is expected is there: the gauges of the fleet come with the first look.
async fn complete(http: &reqwest::Client, address: &str, expected: &Metrics) -> String {
    let started = Instant::now();
    loop {
        let answer = http.get(format!("{address}/metrics")).send().await.expect("an answer");
        let text = answer.text().await.expect("text");
        let served = parse(&text);
        let missing: Vec<&String> = expected.keys().filter(|name| !served.contains_key(*name)).collect();
        if missing.is_empty() {
            return text;
        }
        assert!(started.elapsed() < DEADLINE, "{address} does not serve {missing:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_says_what_the_processes_serve_and_nothing_else() {
    let bind = format!("127.0.0.1:{}", free_port());
    let system = System::builder().set("METRIQLAB_METRICS_BIND", &bind).start().await;
    let open_id = system.sandbox.user(3).await;
    let id = system.connect(&open_id).await;
    let creator = format!("/api/v1/creators/{id}");
    system.settled().await;
    let before = Counted::after(&system, &bind, "sync").await;
    system.client.post(&format!("{creator}/sync")).await.data(200);
    system.client.get("/no/such/route").await.error(404);
    system.client.delete(&creator).await.data(200);
    let (table, values) = (table(), label_values());
    for (process, address) in [("api", system.client.base.clone()), ("worker", format!("http://{bind}"))] {
        let rows = table.iter().filter(|(_, (_, served))| served.contains(process));
        let expected: Metrics = rows.map(|(name, (metric, _))| (name.clone(), metric.clone())).collect();
        let text = complete(&system.client.http, &address, &expected).await;
        for (name, metric) in &parse(&text) {
            assert_eq!(Some(metric), expected.get(name), "{name}, as the {process} serves it, and as the table has it");
        }
        for (name, label, value) in series(&text, &expected) {
            let listed = allowed(&values, &name, label).map(|values| values.contains(value));
            let is_open = OPEN_LABELS.contains(&label);
            assert!(listed.unwrap_or(is_open), "{name} of the {process} has {label}=\"{value}\"");
        }
    }
    eventually("the queue is seen empty", async || {
        let text = system.client.http.get(format!("http://{bind}/metrics")).send().await.ok()?.text().await.ok()?;
        let waiting = text.contains("metriqlab_queue_jobs{lane=\"bulk\",state=\"waiting\"} 0\n");
        (waiting && text.contains("metriqlab_fleet_workers 1\n") && text.contains("metriqlab_redis_up 1\n"))
            .then_some(())
    })
    .await;
    what_was_done_since_is_counted(&before, &Counted::after(&system, &bind, "revoke").await);
}

/// What both processes have counted up to a moment, and what TikTok has seen.
struct Counted {
    served: String,
    /// By endpoint.
    requests: Vec<(&'static str, u64)>,
}

impl Counted {
    /// Once the first job of a kind is counted, which is a moment after its end.
    async fn after(system: &System, bind: &str, kind: &str) -> Self {
        let (worker, kind) = (format!("http://{bind}"), format!("kind=\"{kind}\""));
        eventually("the last job is counted", async || {
            let text = text_of(system, &worker).await;
            (sum(&text, "metriqlab_jobs_finished_total", &["outcome=\"done\"", &kind]) >= 1).then_some(())
        })
        .await;
        let served = [text_of(system, &system.client.base).await, text_of(system, &worker).await].concat();
        let mut requests = Vec::new();
        for (endpoint, path) in [("user_info", "/v2/user/info/"), ("video_list", "/v2/video/list/")] {
            requests.push((endpoint, u64::try_from(system.sandbox.arrivals(path).await.len()).unwrap()));
        }
        Self { served, requests }
    }
}

/// A sync and a revocation, and a permit for each request that TikTok saw. Not from the beginning: the API's own look
/// at a new creator's profile may have been given up, after TikTok has counted it.
fn what_was_done_since_is_counted(before: &Counted, after: &Counted) {
    let rise = |name: &str, labels: &[&str]| sum(&after.served, name, labels) - sum(&before.served, name, labels);
    for kind in ["sync", "revoke"] {
        let labels = [&format!("kind=\"{kind}\"") as &str, "outcome=\"done\""];
        for name in ["metriqlab_jobs_finished_total", "metriqlab_jobs_run_seconds_count"] {
            assert_eq!(rise(name, &labels), 1, "{name} of {kind}");
        }
    }
    for ((endpoint, earlier), (_, all)) in before.requests.iter().zip(&after.requests) {
        let (label, requests) = (format!("endpoint=\"{endpoint}\""), all - earlier);
        assert!(requests >= 1, "{endpoint}: {requests}");
        let (of, ok) = ([label.as_str()], ["outcome=\"ok\"", label.as_str()]);
        let used = rise("metriqlab_budget_permits_total", &of) - rise("metriqlab_budget_unused_total", &of);
        assert_eq!(used, requests, "permits of {endpoint}");
        assert_eq!(rise("metriqlab_platform_requests_total", &ok), requests, "answers of {endpoint}");
        assert_eq!(rise("metriqlab_platform_request_seconds_count", &of), requests, "times of {endpoint}");
    }
}

/// Nobody strikes the last worker off Redis's list: that would take one that lives.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_have_all_died_are_not_counted_and_a_held_backlog_has_its_age() {
    let mut system = System::builder().start().await;
    let api = system.client.base.clone();
    let shows = async |what: &str| text_of(&system, &api).await.contains(what).then_some(());
    eventually("the worker is counted", async || shows("metriqlab_fleet_workers 1\n").await).await;
    for worker in &mut system.workers {
        worker.kill().await;
    }
    let shows = async |what: &str| text_of(&system, &api).await.contains(what).then_some(());
    eventually("it is missed", async || shows("metriqlab_fleet_workers 0\n").await).await;
    assert!(system.run(&["status"]).await.contains("nothing runs until"));
    // What Redis was not given has its age, too.
    let waits = "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, created_at) \
        SELECT uuid_v7(), 'sync', 'bulk', uuid_v7(), id, 'waiting', now() - interval '1 h' FROM projects LIMIT 1";
    system.sql().await.batch_execute(waits).await.expect("a job that waits");
    eventually("its age is shown", async || {
        let text = text_of(&system, &api).await;
        let line = text.lines().find(|line| line.starts_with("metriqlab_queue_oldest_seconds{lane=\"bulk\"}"))?;
        let age: f64 = line.rsplit(' ').next()?.parse().ok()?;
        (3600.0..7200.0).contains(&age).then_some(())
    })
    .await;
}

/// What the process at `address` serves.
async fn text_of(system: &System, address: &str) -> String {
    let answer = system.client.http.get(format!("{address}/metrics")).send().await.expect("an answer");
    answer.text().await.expect("text")
}

/// The same once it serves something.
async fn scraped(system: &System, address: &str) -> Option<String> {
    system.client.http.get(format!("{address}/metrics")).send().await.ok()?.text().await.ok()
}

/// The values of a metric's series that have all of these labels.
fn values<'a>(text: &'a str, name: &'a str, labels: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let series = text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "));
    series.filter(|(all, _)| labels.iter().all(|label| all.split(',').any(|one| one == *label))).map(|(_, value)| value)
}

/// The sum of a counter's series that have all of these labels.
fn sum(text: &str, name: &str, labels: &[&str]) -> u64 {
    values(text, name, labels).map(|value| value.parse::<u64>().expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_done_nothing_has_begun_its_counters() {
    let bind = format!("127.0.0.1:{}", free_port());
    let system = System::builder().apis(0).set("METRIQLAB_METRICS_BIND", &bind).start().await;
    let text = eventually("a scrape", async || scraped(&system, &format!("http://{bind}")).await).await;
    // A burst of failures is a rise from here.
    for kind in ["sync", "revoke"] {
        for outcome in ["done", "failed", "cancelled", "retry", "not_now", "gone"] {
            let line = format!("metriqlab_jobs_finished_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} 0");
            assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_in_postgres_is_part_of_a_bulk_jobs_wait() {
    let bind = format!("127.0.0.1:{}", free_port());
    let mut system =
        System::builder().set("METRIQLAB_METRICS_BIND", &bind).set("METRIQLAB_RESYNC_EVERY", "off").start().await;
    system.connect(&system.sandbox.user(1).await).await;
    system.settled().await;
    system.workers[0].terminate().await;
    let waiting = "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, run_at)
        SELECT uuid_v7(), 'sync', 'bulk', id, project_id, 'waiting', now() - interval '1 hour' FROM creators";
    assert_eq!(system.sql().await.execute(waiting, &[]).await.expect("a job that waits"), 1);
    system.add_worker();
    let labels = ["kind=\"sync\"", "lane=\"bulk\"", "outcome=\"done\""];
    let text = eventually("its wait is counted", async || {
        let text = scraped(&system, &format!("http://{bind}")).await?;
        (sum(&text, "metriqlab_jobs_wait_seconds_count", &labels) == 1).then_some(text)
    })
    .await;
    let waited: f64 =
        values(&text, "metriqlab_jobs_wait_seconds_sum", &labels).map(|value| value.parse::<f64>().unwrap()).sum();
    assert!(waited >= 3600.0, "{waited}");
}
