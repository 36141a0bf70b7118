//! What we claim of the queue's speed, measured: `make bench BENCHES=queue`.
//!
//! The queue alone beside BullMQ, on the same Redis with the same number of jobs, one after the other; then the queue with
//! its jobs as rows in Postgres. Needs `METRIQLAB_TEST_REDIS_URL` and, for the rows, `METRIQLAB_TEST_DATABASE_URL`; servers
//! that do nothing else give the truest figures.

mod bullmq;
mod rows;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shared::ids::JobId;
use shared::queue::{Delivery, Final, Lane, Message, Outcome, Queue, Waiter, WorkerPool, WorkerSettings};

const IDLE_JOBS: usize = 2_000;
const BULK_JOBS: usize = 100_000;
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Jobs at a time, where as many as possible are to be done.
const CONCURRENCY: usize = 512;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What one queue can do: rates in jobs per second, times from enqueue to result in milliseconds.
struct Figures {
    enqueued: f64,
    acknowledged: f64,
    p50: f64,
    p99: f64,
}

/// Node runs BullMQ on one thread. Beside it so do we; what a thread for each core makes of it is told apart.
fn main() -> Result<(), Failure> {
    let url = std::env::var("METRIQLAB_TEST_REDIS_URL")
        .map_err(|_| "METRIQLAB_TEST_REDIS_URL is not set: run `make bench`")?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("with a thread for each of {cores} cores");
    on_threads(cores, some_latency(url.clone()))?;
    println!("on one thread, as BullMQ");
    on_threads(1, measure(url))
}

/// On threads of a pool, where the work of a process is done: the main thread would be one more.
fn on_threads(threads: usize, work: impl Future<Output = Result<(), Failure>> + Send + 'static) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async { tokio::spawn(work).await? })
}

async fn some_latency(url: String) -> Result<(), Failure> {
    let queue = Queue::connect(&url, &format!("bench-{}", JobId::new()))?;
    latency(&queue).await.map(|_| ())
}

async fn measure(url: String) -> Result<(), Failure> {
    let queue = Queue::connect(&url, &format!("bench-{}", JobId::new()))?;
    queue.ping().await?;
    let before = memory(&url).await?;
    let (p50, p99) = latency(&queue).await?;
    idle(&queue).await?;
    let (enqueued, acknowledged) = throughput(&queue).await?;
    let ours = Figures { enqueued, acknowledged, p50, p99 };
    println!("redis memory: {before} bytes before, {} after", memory(&url).await?);
    println!("the queue alone, {BULK_JOBS} jobs; {IDLE_JOBS} one at a time for the latency");
    let theirs = bullmq::measure(&url, BULK_JOBS, IDLE_JOBS).await?;
    if theirs.is_none() {
        println!("  no BullMQ to compare with: `make bench` installs it");
    }
    beside(&ours, theirs.as_ref());
    rows::measure(&queue).await
}

/// A table of ours beside theirs.
fn beside(ours: &Figures, theirs: Option<&(String, Figures)>) {
    let name = theirs.map_or("-", |(name, _)| name);
    println!("  {:<26} {:>12} {name:>14} {:>8}", "", "ours", "ours is");
    let row = |what: &str, unit: &str, digits: usize, of: fn(&Figures) -> f64| {
        let ours = of(ours);
        print!("  {what:<26} {ours:>9.digits$} {unit:<2}");
        match theirs.map(|(_, theirs)| of(theirs)) {
            Some(theirs) => println!(" {theirs:>11.digits$} {unit:<2} {:>7.2}x", ours / theirs),
            None => println!(),
        }
    };
    row("bulk enqueue", "/s", 0, |figures| figures.enqueued);
    row("no-op jobs acknowledged", "/s", 0, |figures| figures.acknowledged);
    row("enqueue to result, p50", "ms", 3, |figures| figures.p50);
    row("enqueue to result, p99", "ms", 3, |figures| figures.p99);
}

/// Jobs that do nothing, one at a time: median and 99th percentile from enqueue to result, in ms.
async fn latency(queue: &Queue) -> Result<(f64, f64), Failure> {
    let started: Arc<Mutex<Option<Instant>>> = Arc::default();
    let noted = started.clone();
    let pool = WorkerPool::start(queue, WorkerSettings::default(), move |_: Delivery| {
        if let Ok(mut started) = noted.lock() {
            *started = Some(Instant::now());
        }
        async { Outcome::Final(Final::Done) }
    });
    let waiter = Waiter::start(queue, |_| Box::pin(async { Ok::<_, String>(Vec::new()) }));
    let (mut starts, mut results) = (Vec::new(), Vec::new());
    for round in 0..IDLE_JOBS + 100 {
        let job = noop();
        let watching = waiter.watch(job.id);
        let pushed = Instant::now();
        queue.push(Lane::Sync, &job, None).await?;
        let end = watching.wait(tokio::time::Instant::now() + Duration::from_secs(30)).await;
        let result = pushed.elapsed();
        if end.is_none() {
            return Err("a job did not end within 30 s".into());
        }
        let start = started.lock().ok().and_then(|mut started| started.take());
        // The first ones make connections and load scripts.
        if round >= 100 {
            results.push(result);
            starts.extend(start.map(|start| start.duration_since(pushed)));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    pool.stop(Duration::from_secs(5)).await;
    percentiles("enqueue to start, idle", &mut starts);
    Ok(percentiles("enqueue to result, idle", &mut results))
}

/// A worker and a waiter with nothing to do.
async fn idle(queue: &Queue) -> Result<(), Failure> {
    let pool = WorkerPool::start(queue, WorkerSettings::default(), |_: Delivery| async { Outcome::Gone });
    let _waiter = Waiter::start(queue, |_| Box::pin(async { Ok::<_, String>(Vec::new()) }));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = cpu_time();
    tokio::time::sleep(IDLE_TIME).await;
    if let (Some(before), Some(after)) = (before, cpu_time()) {
        println!("idle worker and waiter: {:?} of CPU in {IDLE_TIME:?}", after.saturating_sub(before));
    } else {
        println!("idle worker and waiter: no /proc here to tell the CPU time");
    }
    pool.stop(Duration::from_secs(5)).await;
    Ok(())
}

/// CPU time of this process, from `/proc/self/stat` (proc(5): fields 14 and 15, in ticks of 10 ms).
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 10))
}

/// Everything pushed first, then worked off by one process: jobs enqueued and acknowledged per second.
async fn throughput(queue: &Queue) -> Result<(f64, f64), Failure> {
    let jobs: Vec<Message> = (0..BULK_JOBS).map(|_| noop()).collect();
    let start = Instant::now();
    queue.push_many(Lane::Bulk, &jobs).await?;
    let enqueued = rate(BULK_JOBS, start.elapsed());
    let acknowledged = work_off(queue, BULK_JOBS, CONCURRENCY, |_| async { Outcome::Final(Final::Done) }).await;
    Ok((enqueued, acknowledged))
}

/// How many of `jobs` that are in the bulk lane are acknowledged per second, `handler` doing so many at a time.
async fn work_off<F>(
    queue: &Queue,
    jobs: usize,
    concurrency: usize,
    handler: impl Fn(Delivery) -> F + Send + Sync + 'static,
) -> f64
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = ran.clone();
    let start = Instant::now();
    let settings = WorkerSettings { concurrency, ..WorkerSettings::default() };
    let pool = WorkerPool::start(queue, settings, move |delivery| {
        counted.fetch_add(1, Ordering::Relaxed);
        handler(delivery)
    });
    while ran.load(Ordering::Relaxed) < jobs || pool.running() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = rate(jobs, start.elapsed());
    pool.stop(Duration::from_secs(5)).await;
    rate
}

fn noop() -> Message {
    Message { id: JobId::new(), kind: "noop".to_owned(), trace: None, group: None }
}

/// Prints them, and answers median and 99th percentile in ms.
fn percentiles(what: &str, samples: &mut [Duration]) -> (f64, f64) {
    samples.sort_unstable();
    let at = |percent: usize| samples.get(samples.len() * percent / 100).copied().unwrap_or_default();
    let max = samples.last().copied().unwrap_or_default();
    println!("{what}: p50 {:?}, p99 {:?}, max {max:?} ({} jobs)", at(50), at(99), samples.len());
    (at(50).as_secs_f64() * 1e3, at(99).as_secs_f64() * 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn rate(jobs: usize, time: Duration) -> f64 {
    jobs as f64 / time.as_secs_f64()
}

async fn memory(url: &str) -> Result<u64, Failure> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.and_then(|number| number.trim().parse().ok()).unwrap_or_default())
}
