//! The same jobs with their rows in Postgres, by the calls that a sync makes: the promise is a row before it is a message,
//! a start raises its claim, and its last word is written behind that fence. First alone, then with all that a sync reads
//! and writes: what is left of it without the platform.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use shared::cadence::RECENT;
use shared::ids::{CreatorId, ProjectId};
use shared::platforms::Video;
use shared::queue::{Delivery, Final, Lane, Message, Outcome, Queue, Waiter, WorkerPool, WorkerSettings};
use shared::store::Store;
use shared::store::batches::BatchFilter;
use shared::store::jobs::{Job, Start};
use shared::store::single_flight::OpenSync;
use shared::store::syncs::{Listed, SyncResult};
use tokio_postgres::NoTls;
use uuid::Uuid;

use super::{Failure, IDLE_JOBS, percentiles, rate, work_off};

const CREATORS: i64 = 10_000;
const VIDEOS: i64 = 20;
/// A worker's own numbers.
const CONNECTIONS: usize = 16;
const WORKING: usize = 32;

/// Prints what the rows cost; says so if there is no Postgres.
pub async fn measure(queue: &Queue) -> Result<(), Failure> {
    let Ok(server) = std::env::var("METRIQLAB_TEST_DATABASE_URL") else {
        println!("with job rows: METRIQLAB_TEST_DATABASE_URL is not set: run `make bench`");
        return Ok(());
    };
    let name = format!("bench_{}", Uuid::new_v4().simple());
    let sql = connect(&server).await?;
    sql.batch_execute(&format!("CREATE DATABASE {name}")).await?;
    let fsync: String = sql.query_one("SHOW fsync", &[]).await?.get(0);
    let mut url = url::Url::parse(&server)?;
    url.set_path(&name);
    let store = Store::open(&SecretString::from(url.as_str()), CONNECTIONS)?;
    store.migrate().await?;
    let project = store.add_key("bench", &[1; 32], "mlk_bench").await?;
    let creator = fill(&connect(url.as_str()).await?).await?;

    println!("with job rows, {CREATORS} jobs, {CONNECTIONS} connections to Postgres, fsync {fsync}");
    latency(queue, &store, project, creator).await?;
    throughput(queue, &store, project, "no-op jobs", no_op).await?;
    throughput(queue, &store, project, "syncs of new videos", sync).await?;
    throughput(queue, &store, project, "syncs of changed videos", sync).await?;
    drop(store);
    sql.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    Ok(())
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Creators without open jobs; one of them.
async fn fill(sql: &tokio_postgres::Client) -> Result<CreatorId, Failure> {
    sql.batch_execute(&format!(
        "INSERT INTO credentials (id, platform, app, external_id, access_token, scopes, access_expires_at)
         VALUES (uuid_v7(), 'TIKTOK', 'app', 'x', '', '', now());
         INSERT INTO creators (id, project_id, credential_id, platform, external_id, connected_at, next_sync_at)
         SELECT uuid_v7(), projects.id, credentials.id, 'TIKTOK', 'x' || n, now(), now() + interval '1 day'
         FROM projects, credentials, generate_series(1, {CREATORS}) AS n;
         ANALYZE"
    ))
    .await?;
    let id: String = sql.query_one("SELECT id::text FROM creators LIMIT 1", &[]).await?.get(0);
    Ok(CreatorId::from(id.parse::<Uuid>()?))
}

/// A job that finds nothing: its start and its last word are written all the same.
async fn no_op(store: Store, delivery: Delivery) -> Outcome {
    let Ok(Start::Claimed(job)) = store.start_job(delivery.message.id).await else { return again() };
    finish(&store, &job, &[]).await
}

/// Reads the creator and its tokens, and writes videos that are new or have changed.
async fn sync(store: Store, delivery: Delivery) -> Outcome {
    let Ok(Start::Claimed(job)) = store.start_job(delivery.message.id).await else { return again() };
    let Ok(Some(_)) = store.sync_target(job.creator_id).await else { return again() };
    let now = Utc::now();
    let videos: Vec<Video> = (0..VIDEOS).map(|number| video(number, now)).collect();
    finish(&store, &job, &videos).await
}

async fn finish(store: &Store, job: &Job, videos: &[Video]) -> Outcome {
    let ids: Vec<String> = videos.iter().map(|video| video.external_id.clone()).collect();
    let result = SyncResult {
        profile: None,
        videos,
        listing: (!ids.is_empty()).then_some(Listed { ids: &ids, down_to: None }),
        missing_scopes: "",
        changed: false,
        resync_every: None,
        recent: RECENT,
        checkpoints: 0,
        stale: false,
    };
    match store.finish_sync(job.fence(), &result).await {
        Ok(()) => Outcome::Final(Final::Done),
        Err(_) => again(),
    }
}

fn again() -> Outcome {
    Outcome::RetryIn(Duration::from_secs(1))
}

fn video(number: i64, now: DateTime<Utc>) -> Video {
    let text = |what: &str| Some(format!("{what} {number}"));
    Video {
        external_id: format!("73{number:017}"),
        title: text("The title of a video"),
        description: text("What stands under a video, in a line or two of text, with a tag or two"),
        url: text("https://www.tiktok.com/@somebody/video"),
        cover_url: text("https://p16-sign.tiktokcdn-us.com/obj/tos-useast5-p-0068-tx/and-so-on-and-on"),
        duration: Some(30),
        views: Some(now.timestamp_micros()),
        likes: Some(number),
        comments: Some(number),
        shares: Some(number),
        published_at: now - TimeDelta::days(number),
    }
}

async fn latency(queue: &Queue, store: &Store, project: ProjectId, creator: CreatorId) -> Result<(), Failure> {
    let working = store.clone();
    let pool = WorkerPool::start(queue, WorkerSettings::default(), move |delivery| no_op(working.clone(), delivery));
    let reading = store.clone();
    let waiter = Waiter::start(queue, move |ids| {
        let store = reading.clone();
        Box::pin(async move { store.last_words(&ids).await })
    });
    let mut results = Vec::new();
    for round in 0..IDLE_JOBS + 100 {
        let asked = Instant::now();
        let OpenSync::New(id) = store.open_sync(project, creator, None).await? else {
            return Err("the job before is still open".into());
        };
        let watching = waiter.watch(id);
        queue.push(Lane::Sync, &Message { id, kind: "sync".to_owned(), trace: None, group: None }, None).await?;
        if watching.wait(tokio::time::Instant::now() + Duration::from_secs(30)).await.is_none() {
            return Err("a job did not end within 30 s".into());
        }
        if round >= 100 {
            results.push(asked.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    pool.stop(Duration::from_secs(5)).await;
    percentiles("  row, enqueue, result, idle", &mut results);
    Ok(())
}

/// A batch of all creators: its rows made and pushed, then worked off.
async fn throughput<F>(
    queue: &Queue,
    store: &Store,
    project: ProjectId,
    what: &str,
    handler: fn(Store, Delivery) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let jobs = usize::try_from(CREATORS)?;
    let start = Instant::now();
    store.open_batch(project, &BatchFilter::default()).await?;
    while store.grow_batches(None, 1000).await?.is_some() {}
    loop {
        let fed = store.feed(None, 200, 1000).await?;
        if fed.is_empty() {
            break;
        }
        let messages: Vec<Message> = fed.into_iter().map(|job| job.message).collect();
        queue.push_many(Lane::Bulk, &messages).await?;
    }
    let enqueued = rate(jobs, start.elapsed());
    let store = store.clone();
    let done = work_off(queue, jobs, WORKING, move |delivery| handler(store.clone(), delivery)).await;
    println!("  {what}: {enqueued:.0}/s made and pushed, {done:.0}/s done and acknowledged");
    Ok(())
}
