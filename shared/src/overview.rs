//! The fleet at one moment, for people: what Postgres and Redis say of lanes, workers, quota and creators. What is cheap is
//! read at each look, and what has to be counted as often as it may be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::budget::{Budget, Quota, Snapshot};
use crate::cadence::Cadence;
use crate::platforms::tiktok::{ENDPOINTS, LIMITED_ENDPOINTS, TikTok};
use crate::queue::{Depth, Lane, Queue, QueueError, WorkerInfo};
use crate::store::lanes::{LaneSetting, LaneSettings};
use crate::store::overview::{CreatorCounts, LaneCounts};
use crate::store::paces::Pace;
use crate::store::schedule::Forecast;
use crate::store::{Store, StoreError};

/// How long Redis may take to answer all.
const REDIS_WITHIN: Duration = Duration::from_secs(3);
/// What is counted in Postgres is counted again after so long, or after twenty times what it took: a twentieth of one
/// connection's time at most, however many creators there are.
const COUNT_EVERY: Duration = Duration::from_secs(2);
const COUNT_PAUSE: u32 = 20;

/// Looks at it all, again and again.
pub struct Looker {
    store: Store,
    queue: Queue,
    budget: Option<Arc<Budget>>,
    /// What this process was told, which holds where no worker has said what it goes by.
    told: Pace,
    counting: Mutex<Counting>,
}

/// What was counted last, and when the next count is due or under way.
struct Counting {
    counted: Option<Counts>,
    next: Next,
}

enum Next {
    At(Instant),
    UnderWay(AbortOnDropHandle<(Result<Counts, StoreError>, Duration)>),
}

/// What is counted in Postgres.
#[derive(Debug, Clone)]
pub struct Counts {
    /// When.
    pub at: DateTime<Utc>,
    /// Creators by what can be done with them.
    pub creators: CreatorCounts,
    /// What they need.
    pub forecast: Forecast,
    /// The lanes that have jobs.
    pub lanes: Vec<LaneCounts>,
}

/// What Redis says.
struct InRedis {
    /// By [`Lane::ALL`].
    depths: [Depth; 3],
    workers: Vec<WorkerInfo>,
}

/// A lane.
#[derive(Debug, Clone)]
pub struct LaneView {
    /// Which.
    pub lane: Lane,
    /// What operators said of it.
    pub setting: LaneSetting,
    /// The endpoints whose outage holds it: no job of it runs but those that look whether they are back.
    pub held_by: Vec<&'static str>,
    /// What of it is in Redis; `None` without Redis.
    pub depth: Option<Depth>,
    /// Jobs that wait in Postgres; `None` if they are not counted yet.
    pub waiting: Option<i64>,
    /// Jobs that were given up; likewise.
    pub dead: Option<i64>,
    /// How long the oldest job has waited for its first try.
    pub oldest: Option<Duration>,
}

/// An endpoint's quota.
#[derive(Debug, Clone)]
pub struct QuotaView {
    /// Which.
    pub endpoint: &'static str,
    /// Requests in a window.
    pub quota: u32,
    /// The window.
    pub window: Duration,
    /// `None` without Redis, or where no app is set.
    pub snapshot: Option<Snapshot>,
    /// What the creators need at their cadence, in percent of it; `None` if they are not counted yet.
    pub forecast: Option<f64>,
}

/// The fleet at one moment.
#[derive(Debug, Clone)]
pub struct Overview {
    /// When.
    pub at: DateTime<Utc>,
    /// Why Redis did not answer.
    pub redis_problem: Option<String>,
    /// Every lane.
    pub lanes: Vec<LaneView>,
    /// The worker processes; `None` without Redis.
    pub workers: Option<Vec<WorkerInfo>>,
    /// Whether the budget is known: the app's key is set.
    pub app_is_set: bool,
    /// Every limited endpoint.
    pub quota: Vec<QuotaView>,
    /// The other endpoints that are held after an outage, and when the next look is due.
    pub held: Vec<(&'static str, Duration)>,
    /// `None` if nothing is counted yet.
    pub counts: Option<Counts>,
    /// How old a creator's data may get where nobody says otherwise: as the workers have it.
    pub resync_every: Option<Duration>,
    /// What the workers go by: one pace, if they agree; none, if no worker has said it.
    pub paces: Vec<Pace>,
}

impl Looker {
    /// Looks through these. Without a budget, nothing is known of the quota's use. `quota` and `cadence` hold where no
    /// worker has said what it goes by.
    pub fn new(store: Store, queue: Queue, budget: Option<Arc<Budget>>, quota: Quota, cadence: Cadence) -> Self {
        let counting = Mutex::new(Counting { counted: None, next: Next::At(Instant::now()) });
        Self { store, queue, budget, told: Pace { cadence, quota }, counting }
    }

    /// The same for a process that calls TikTok.
    pub fn of(store: Store, queue: Queue, tiktok: &TikTok, cadence: Cadence) -> Self {
        Self::new(store, queue, Some(tiktok.budget()), tiktok.quota(), cadence)
    }

    /// One look at everything. It fails without Postgres alone. What was last counted too long ago is waited for, for
    /// `patience` at most.
    pub async fn look(&self, patience: Duration) -> Result<Overview, StoreError> {
        let settings = self.store.lane_settings().await?;
        let paces = self.store.paces().await?;
        let pace = paces.first().copied().unwrap_or(self.told);
        let counts = self.counts(pace, patience).await;
        let redis = tokio::time::timeout(REDIS_WITHIN, self.in_redis()).await;
        let redis = redis
            .map_err(|_| format!("no answer within {REDIS_WITHIN:?}"))
            .and_then(|answer| answer.map_err(|error| error.to_string()));
        let (redis, redis_problem) = match redis {
            Ok(redis) => (Some(redis), None),
            Err(problem) => (None, Some(problem)),
        };
        let in_reach = redis.is_some();
        let quota = self.quotas(pace.quota, in_reach, counts.as_ref()).await;
        Ok(Overview {
            at: Utc::now(),
            lanes: lanes(&settings, redis.as_ref(), counts.as_ref(), &quota, Utc::now()),
            quota,
            held: if in_reach { self.held().await } else { Vec::new() },
            app_is_set: self.budget.is_some(),
            workers: redis.map(|redis| redis.workers),
            redis_problem,
            counts,
            resync_every: pace.cadence.every,
            paces,
        })
    }

    /// What was counted last. A count goes on beside the looks; one that nobody has looked at for a while is waited for.
    async fn counts(&self, pace: Pace, patience: Duration) -> Option<Counts> {
        let mut counting = self.counting.lock().await;
        let mut is_old = counting.counted.is_none();
        if let Next::At(due) = counting.next
            && Instant::now() >= due
        {
            is_old |= due.elapsed() >= COUNT_EVERY;
            let count = tokio::spawn(count(self.store.clone(), pace.cadence));
            counting.next = Next::UnderWay(AbortOnDropHandle::new(count));
        }
        let Counting { counted, next } = &mut *counting;
        if let Next::UnderWay(count) = next
            && (count.is_finished() || is_old)
            && let Ok(ended) = tokio::time::timeout(patience, count).await
        {
            *next = Next::At(Instant::now() + COUNT_EVERY);
            match ended {
                Ok((Ok(counts), took)) => {
                    *counted = Some(counts);
                    *next = Next::At(Instant::now() + (took * COUNT_PAUSE).max(COUNT_EVERY));
                }
                // What was counted last is shown on, with its time: all else is known.
                Ok((Err(error), _)) => tracing::warn!(%error, "the creators and jobs are not counted"),
                Err(error) => tracing::warn!(%error, "a count of the creators and jobs broke off"),
            }
        }
        counted.clone()
    }

    async fn in_redis(&self) -> Result<InRedis, QueueError> {
        let [revoke, sync, bulk] = Lane::ALL;
        let depths = [self.queue.depth(revoke).await?, self.queue.depth(sync).await?, self.queue.depth(bulk).await?];
        Ok(InRedis { depths, workers: self.queue.workers().await? })
    }

    async fn snapshot(&self, endpoint: &'static str) -> Option<Snapshot> {
        self.budget.as_ref()?.snapshot(endpoint).await.ok()
    }

    async fn quotas(&self, quota: Quota, in_reach: bool, counts: Option<&Counts>) -> Vec<QuotaView> {
        let mut views = Vec::new();
        let a_minute = f64::from(quota.requests) * 60.0 / quota.window.as_secs_f64();
        for endpoint in LIMITED_ENDPOINTS {
            let needed = |forecast: &Forecast| {
                if endpoint == "user_info" { forecast.syncs_per_minute } else { forecast.pages_per_minute }
            };
            views.push(QuotaView {
                endpoint,
                quota: quota.requests,
                window: quota.window,
                snapshot: if in_reach { self.snapshot(endpoint).await } else { None },
                forecast: counts.map(|counts| needed(&counts.forecast) / a_minute * 100.0),
            });
        }
        views
    }

    async fn held(&self) -> Vec<(&'static str, Duration)> {
        let mut held = Vec::new();
        for endpoint in ENDPOINTS.into_iter().filter(|endpoint| !LIMITED_ENDPOINTS.contains(endpoint)) {
            let probe_in = self.snapshot(endpoint).await.and_then(|snapshot| snapshot.probe_in());
            held.extend(probe_in.map(|wait| (endpoint, wait)));
        }
        held
    }
}

/// Counts, and says how long it took.
async fn count(store: Store, cadence: Cadence) -> (Result<Counts, StoreError>, Duration) {
    let began = Instant::now();
    let counts = async {
        Ok(Counts {
            lanes: store.lane_counts().await?,
            creators: store.creator_counts().await?,
            forecast: store.forecast(cadence).await?,
            at: Utc::now(),
        })
    };
    (counts.await, began.elapsed())
}

fn lanes(
    settings: &LaneSettings,
    redis: Option<&InRedis>,
    counts: Option<&Counts>,
    quota: &[QuotaView],
    now: DateTime<Utc>,
) -> Vec<LaneView> {
    let is_held = |view: &&QuotaView| view.snapshot.is_some_and(|snapshot| snapshot.probe_in().is_some());
    let held: Vec<&'static str> = quota.iter().filter(is_held).map(|view| view.endpoint).collect();
    let view = |(place, lane): (usize, Lane)| {
        let counted = counts.and_then(|counts| counts.lanes.iter().find(|counts| counts.lane == lane.as_str()));
        let depth = redis.and_then(|redis| redis.depths.get(place).copied());
        let made = counted.and_then(|counts| counts.oldest);
        // What was counted a moment ago may run by now: Redis's word on its own line goes first where nothing else waits.
        let oldest = made.and_then(|made| (now - made).to_std().ok()).max(depth.and_then(|depth| depth.oldest));
        // A lane that was not counted beside others has none.
        let number = |count: fn(&LaneCounts) -> i64| counts.map(|_| counted.map_or(0, count));
        LaneView {
            lane,
            setting: settings.of(lane),
            held_by: if lane == Lane::Bulk { held.clone() } else { Vec::new() },
            depth,
            waiting: number(|counts| counts.waiting),
            dead: number(|counts| counts.dead),
            oldest,
        }
    };
    Lane::ALL.into_iter().enumerate().map(view).collect()
}

impl Overview {
    /// Why the forecast may not be what the workers do.
    pub fn pace_problem(&self) -> Option<&'static str> {
        match self.paces.len() {
            0 => Some("No worker has run for a day: the forecast goes by the settings given here."),
            1 => None,
            _ => Some(
                "The workers do not agree on cadence and quota: the forecast goes by the one that was started last. Give \
                 all of them the same METRIQLAB_RESYNC_EVERY, _RECENT and _DEEP and TIKTOK_RATE_PER_MINUTE.",
            ),
        }
    }

    /// The endpoint of whose quota the cadence needs more than there is; of several, the one that needs most.
    pub fn overbooked(&self) -> Option<&QuotaView> {
        self.tightest().filter(|tightest| tightest.needed() > 100.0)
    }

    /// The longest age, in hours, with which the cadence would fit where it does not.
    pub fn hours_needed(&self) -> Option<u64> {
        let factor = (self.overbooked()?.needed() / 100.0).min(1e6);
        Some(self.resync_every?.mul_f64(factor).as_secs().div_ceil(3600))
    }

    /// The endpoint whose quota the cadence needs most of.
    pub fn tightest(&self) -> Option<&QuotaView> {
        self.quota.iter().max_by(|one, other| one.needed().total_cmp(&other.needed()))
    }
}

impl QuotaView {
    /// The forecast; 0 while nothing is counted.
    pub fn needed(&self) -> f64 {
        self.forecast.unwrap_or(0.0)
    }
}
