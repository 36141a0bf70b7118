//! The sweeper: whatever open job Redis has forgotten is pushed again. DESIGN: Postgres holds the promise, Redis may be
//! flushed at any moment.
//!
//! Every worker process sweeps, with no leader: a push of a job that Redis knows changes nothing.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::Rng as _;
use shared::ids::JobId;
use shared::queue::{Lane, Message, Queue, QueueError, Sweep};
use shared::store::jobs::OpenJob;
use shared::store::{Store, StoreError};
use strum::VariantArray as _;

/// The pause between two sweeps, within these: processes that started together drift apart.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1500), Duration::from_millis(2500));
/// Rows at a time.
const PAGE: i64 = 500;
/// How long one sweep may take; the next one goes on where it stopped.
const SLICE: Duration = Duration::from_millis(500);
/// How long a push, or the end of a job, may take from Postgres to Redis.
const MOMENT: Duration = Duration::from_millis(250);

/// Why a sweep broke off.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Sweeps until it is dropped.
pub(crate) async fn run(store: Store, queue: Queue) {
    let mut after = None;
    let mut broken = false;
    loop {
        let pause = rand::rng().random_range(PAUSE.0..=PAUSE.1);
        tokio::time::sleep(pause).await;
        match sweep(&store, &queue, after).await {
            Ok(next) => {
                if broken {
                    tracing::info!("the sweeper sweeps again");
                }
                (after, broken) = (next, false);
            }
            // Once an outage, not once a sweep.
            Err(error) => {
                if !broken {
                    tracing::warn!(%error, "the sweeper waits");
                }
                broken = true;
            }
        }
    }
}

/// Looks at the open jobs after `after`, for at most a slice of time. Gives where to go on; `None` is from the start.
async fn sweep(store: &Store, queue: &Queue, mut after: Option<JobId>) -> Result<Option<JobId>, SweepError> {
    let began = Instant::now();
    let mut suspects = Vec::new();
    while began.elapsed() < SLICE {
        let page = store.jobs_in_redis(after, PAGE).await?;
        let next = page.last().map(|job| job.message.id);
        let full = i64::try_from(page.len()).is_ok_and(|rows| rows >= PAGE);
        // Redis has lost everything a moment ago, and workers are still telling it what they run: the next sweep.
        let Some((unknown, known)) = unknown(queue, page).await? else { break };
        suspects.extend(unknown);
        promote(queue, known).await?;
        after = next.filter(|_| full);
        if !full {
            break;
        }
    }
    if !suspects.is_empty() {
        confirm(store, queue, suspects).await?;
    }
    Ok(after)
}

/// Those that no lane knows, and those that one does; `None` if it is too soon to say.
async fn unknown(queue: &Queue, jobs: Vec<OpenJob>) -> Result<Option<(Vec<OpenJob>, Vec<OpenJob>)>, SweepError> {
    let ids: Vec<JobId> = jobs.iter().map(|job| job.message.id).collect();
    let Sweep::Unknown(unknown) = queue.unknown(&ids).await? else { return Ok(None) };
    let unknown: HashSet<JobId> = unknown.into_iter().collect();
    Ok(Some(jobs.into_iter().partition(|job| unknown.contains(&job.message.id))))
}

/// Moves the jobs that somebody waits for and that the bulk lane alone knows: the word of it was lost on its way to Redis.
async fn promote(queue: &Queue, mut known: Vec<OpenJob>) -> Result<(), SweepError> {
    known.retain(|job| job.lane == Lane::Sync);
    let ids: Vec<JobId> = known.iter().map(|job| job.message.id).collect();
    let Sweep::Unknown(left_behind) = queue.unknown_to(Lane::Sync, &ids).await? else { return Ok(()) };
    for job in known.iter().filter(|job| left_behind.contains(&job.message.id)) {
        tracing::info!(job = %job.message.id, "a job that somebody waits for is moved to their lane");
        queue.promote(Lane::Bulk, &job.message).await?;
    }
    Ok(())
}

/// Looks again a moment later, and pushes what is still forgotten: a row is there before its push, and a job leaves Redis
/// before its row is read again.
async fn confirm(store: &Store, queue: &Queue, mut suspects: Vec<OpenJob>) -> Result<(), SweepError> {
    tokio::time::sleep(MOMENT).await;
    let ids: Vec<JobId> = suspects.iter().map(|job| job.message.id).collect();
    let over: HashSet<JobId> = store.last_words(&ids).await?.into_iter().map(|(id, _)| id).collect();
    suspects.retain(|job| !over.contains(&job.message.id));
    let Some((forgotten, _)) = unknown(queue, suspects).await? else { return Ok(()) };
    let pushed = push(queue, &forgotten).await?;
    if pushed > 0 {
        crate::measure::recovered(pushed);
        tracing::warn!(jobs = pushed, "Redis had forgotten open jobs; they are pushed again");
    }
    Ok(())
}

/// Pushes these, each into its lane and for its time. Gives the number that was new: other workers sweep as well.
async fn push(queue: &Queue, jobs: &[OpenJob]) -> Result<u64, SweepError> {
    let mut pushed = 0;
    for lane in Lane::VARIANTS {
        let due = jobs.iter().filter(|job| job.lane == *lane && job.delay.is_zero());
        let due: Vec<Message> = due.map(|job| job.message.clone()).collect();
        if !due.is_empty() {
            pushed += queue.push_many(*lane, &due).await?;
        }
    }
    for job in jobs.iter().filter(|job| !job.delay.is_zero()) {
        pushed += u64::from(queue.push(job.lane, &job.message, Some(job.delay)).await?);
    }
    Ok(pushed)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use secrecy::SecretString;
    use shared::platforms::Platform;
    use shared::queue::{Gates, Outcome, WorkerPool, WorkerSettings};
    use shared::store::connections::NewConnection;
    use shared::store::credentials::{Account, SealedPair};
    use uuid::Uuid;

    use super::*;

    /// DESIGN: what Redis has forgotten is pushed again within so long.
    const PROMISED: Duration = Duration::from_secs(10);
    /// After a flush the sweeper is told nothing until every worker must have said what it runs.
    const SETTLES: Duration = Duration::from_secs(3);

    fn variable(name: &str) -> String {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `make test`"))
    }

    async fn store() -> Store {
        shared::telemetry::init_tls();
        let server = variable("METRIQLAB_TEST_DATABASE_URL");
        let name = format!("sweeper_{}", Uuid::new_v4().simple());
        let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls).await.expect("Postgres");
        tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let mut url = url::Url::parse(&server).expect("a URL");
        url.set_path(&name);
        let store = Store::open(&SecretString::from(url.to_string()), 4).expect("a store");
        store.migrate().await.expect("migrated");
        store
    }

    /// A connection whose first sync is written down, and never pushed.
    async fn forgotten_job(store: &Store) -> JobId {
        let pair = SealedPair {
            access_token: b"sealed".to_vec(),
            refresh_token: None,
            scopes: "user.info.basic".into(),
            access_expires_in: Duration::from_secs(7200),
            refresh_expires_in: None,
        };
        let new = NewConnection {
            project: store.add_key("project", &[1; 32], "mlk_test").await.expect("a project"),
            account: Account { platform: Platform::Tiktok, app: "app".into(), external_id: "open-1".into() },
            pair,
            granted_at: Utc::now(),
            missing_scopes: String::new(),
            external_ref: None,
            begun_by: None,
            lease_owner: Uuid::new_v4(),
        };
        store.connect(&new, None).await.expect("a connection").sync.expect("a first sync")
    }

    /// Not by a clock, which a machine at its limits would make worth nothing: one look is enough, and they come often enough.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_look_pushes_what_redis_has_forgotten_and_two_come_within_what_is_promised() {
        let store = store().await;
        let queue = Queue::connect(&variable("METRIQLAB_TEST_REDIS_URL"), &format!("test-{}", Uuid::new_v4()))
            .expect("a queue");
        let id = forgotten_job(&store).await;
        // It registers, and takes nothing.
        let pool =
            WorkerPool::start_gated(&queue, WorkerSettings::default(), &Gates::closed(), async |_| Outcome::Gone);
        let began = Instant::now();
        while queue.unknown(&[id]).await.expect("Redis") != Sweep::Unknown(vec![id]) {
            assert!(began.elapsed() < Duration::from_secs(60), "Redis does not say what it knows");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(sweep(&store, &queue, None).await.expect("a sweep"), None);
        assert_eq!(queue.unknown(&[id]).await.expect("Redis"), Sweep::Unknown(Vec::new()));
        assert_eq!(queue.depth(Lane::Sync).await.expect("Redis").ready, 1);
        pool.stop(Duration::ZERO).await;
        // One look may be on its way already, and have read before.
        let look = PAUSE.1 + SLICE + MOMENT;
        assert!(SETTLES + look * 2 <= PROMISED, "{look:?} from look to look");
    }
}
