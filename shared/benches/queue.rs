//! What we claim of the queue's speed, measured: `make bench`, or `cargo bench -p metriqlab-shared --bench queue`.
//!
//! Prints latency at idle, throughput, and Redis's memory before and after. Needs `METRIQLAB_TEST_REDIS_URL`; a Redis
//! that does nothing else gives the truest figures.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shared::ids::JobId;
use shared::queue::{Delivery, Final, Lane, Message, Outcome, Queue, Waiter, WorkerPool, WorkerSettings};

const IDLE_JOBS: usize = 2_000;
const BULK_JOBS: usize = 200_000;
const IDLE_TIME: Duration = Duration::from_secs(10);
const CONCURRENCY: usize = 128;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = std::env::var("METRIQLAB_TEST_REDIS_URL")
        .map_err(|_| "METRIQLAB_TEST_REDIS_URL is not set: run `make bench`")?;
    let queue = Queue::connect(&url, &format!("bench-{}", JobId::new()))?;
    queue.ping().await?;
    let before = memory(&url).await?;
    latency(&queue).await?;
    idle(&queue).await?;
    throughput(&queue).await?;
    let after = memory(&url).await?;
    println!("redis memory: {before} bytes before, {after} after");
    Ok(())
}

/// Jobs that do nothing, one at a time.
async fn latency(queue: &Queue) -> Result<(), Failure> {
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
    print_percentiles("enqueue to start, idle", &mut starts);
    print_percentiles("enqueue to result, idle", &mut results);
    pool.stop(Duration::from_secs(5)).await;
    Ok(())
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

/// Everything pushed first, then worked off by one process.
async fn throughput(queue: &Queue) -> Result<(), Failure> {
    let jobs: Vec<Message> = (0..BULK_JOBS).map(|_| noop()).collect();
    let start = Instant::now();
    queue.push_many(Lane::Bulk, &jobs).await?;
    print_rate("bulk enqueue", BULK_JOBS, start.elapsed());

    let ran = Arc::new(AtomicUsize::new(0));
    let counted = ran.clone();
    let start = Instant::now();
    let settings = WorkerSettings { concurrency: CONCURRENCY, ..WorkerSettings::default() };
    let pool = WorkerPool::start(queue, settings, move |_: Delivery| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Outcome::Final(Final::Done) }
    });
    while ran.load(Ordering::Relaxed) < BULK_JOBS || pool.running() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    print_rate(&format!("no-op jobs acknowledged, {CONCURRENCY} at a time"), BULK_JOBS, start.elapsed());
    pool.stop(Duration::from_secs(5)).await;
    Ok(())
}

fn noop() -> Message {
    Message { id: JobId::new(), kind: "noop".to_owned(), trace: None, group: None }
}

fn print_percentiles(what: &str, samples: &mut [Duration]) {
    samples.sort_unstable();
    let at = |percent: usize| samples.get(samples.len() * percent / 100).copied().unwrap_or_default();
    let max = samples.last().copied().unwrap_or_default();
    println!("{what}: p50 {:?}, p99 {:?}, max {max:?} ({} jobs)", at(50), at(99), samples.len());
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn print_rate(what: &str, jobs: usize, time: Duration) {
    println!("{what}: {:.0}/s ({jobs} in {time:.2?})", jobs as f64 / time.as_secs_f64());
}

async fn memory(url: &str) -> Result<u64, Failure> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.and_then(|number| number.trim().parse().ok()).unwrap_or_default())
}
