//! What `status` shows: read from Postgres and Redis, each second what is cheap, and what is not as often as it may be.

use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use shared::budget::{Budget, BudgetSettings, Snapshot};
use shared::platforms::tiktok::LIMITED_ENDPOINTS;
use shared::queue::{Depth, Lane, Queue, QueueError, WorkerInfo};
use shared::settings::{DatabaseSettings, QuotaSettings, RedisSettings};
use shared::store::lanes::{LaneSetting, LaneSettings};
use shared::store::overview::{CreatorCounts, LaneCounts};
use shared::store::schedule::Forecast;
use shared::store::{Store, StoreError};
use tokio_util::task::AbortOnDropHandle;

/// How long Redis may take to answer all.
const REDIS_WITHIN: Duration = Duration::from_secs(3);
/// What is counted in Postgres is counted again after so long, or after twenty times what it took: a twentieth of one
/// connection's time at most, however many creators there are.
const COUNT_EVERY: Duration = Duration::from_secs(2);
const COUNT_PAUSE: u32 = 20;

/// Reads it all, again and again.
pub struct Looker {
    store: Store,
    queue: Queue,
    budget: Option<Budget>,
    quota: QuotaSettings,
    resync_every: Option<Duration>,
    counted: Option<Counts>,
    /// When to count again, or the count under way.
    next: Next,
}

enum Next {
    At(Instant),
    UnderWay(AbortOnDropHandle<(Result<Counts, StoreError>, Duration)>),
}

#[derive(Debug, Clone)]
struct Counts {
    lanes: Vec<LaneCounts>,
    creators: CreatorCounts,
    forecast: Forecast,
}

/// What Redis says.
#[derive(Debug, Clone)]
pub struct InRedis {
    /// By [`Lane::ALL`].
    pub depths: [Depth; 3],
    pub workers: Vec<WorkerInfo>,
}

/// A lane.
#[derive(Debug, Clone)]
pub struct LaneView {
    pub lane: Lane,
    pub setting: LaneSetting,
    /// `None` without Redis.
    pub depth: Option<Depth>,
    pub waiting: i64,
    pub dead: i64,
    /// How long the oldest job has waited for its first try.
    pub oldest: Option<Duration>,
}

/// An endpoint's quota.
#[derive(Debug, Clone)]
pub struct QuotaView {
    pub endpoint: &'static str,
    pub quota: u32,
    pub window: Duration,
    /// `None` without Redis, or where no app is set.
    pub snapshot: Option<Snapshot>,
    /// What the creators need at their cadence, in percent of it.
    pub forecast: f64,
}

/// The fleet at one moment.
#[derive(Debug, Clone)]
pub struct Overview {
    pub at: DateTime<Utc>,
    /// Why Redis did not answer.
    pub redis_problem: Option<String>,
    pub lanes: Vec<LaneView>,
    pub workers: Option<Vec<WorkerInfo>>,
    /// Whether the budget is known: the app's key is set.
    pub app_is_set: bool,
    pub quota: Vec<QuotaView>,
    pub creators: CreatorCounts,
    pub forecast: Forecast,
    pub resync_every: Option<Duration>,
}

impl Looker {
    pub fn new(
        database: &DatabaseSettings,
        redis: &RedisSettings,
        quota: QuotaSettings,
        resync_every: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let store = Store::open(&database.url, 2)?;
        let url = redis.url.expose_secret();
        let limits = BudgetSettings { window: quota.rate_window, ..BudgetSettings::per_minute(quota.rate_per_minute) };
        let budget = match &quota.client_key {
            Some(app) => Some(Budget::new(url, &redis.prefix, app, limits, store.clone())?),
            None => None,
        };
        let queue = Queue::connect(url, &redis.prefix)?;
        Ok(Self { store, queue, budget, quota, resync_every, counted: None, next: Next::At(Instant::now()) })
    }

    /// One look at everything. It fails without Postgres alone.
    pub async fn look(&mut self) -> Result<Overview, StoreError> {
        let settings = self.store.lane_settings().await?;
        let counts = self.counts().await?;
        let redis = tokio::time::timeout(REDIS_WITHIN, self.in_redis()).await;
        let redis = redis
            .map_err(|_| format!("no answer within {REDIS_WITHIN:?}"))
            .and_then(|answer| answer.map_err(|error| error.to_string()));
        let (redis, redis_problem) = match redis {
            Ok(redis) => (Some(redis), None),
            Err(problem) => (None, Some(problem)),
        };
        Ok(Overview {
            at: Utc::now(),
            lanes: lanes(&settings, redis.as_ref(), &counts.lanes, Utc::now()),
            quota: self.quota(redis.is_some(), &counts.forecast).await,
            app_is_set: self.budget.is_some(),
            workers: redis.map(|redis| redis.workers),
            redis_problem,
            creators: counts.creators,
            forecast: counts.forecast,
            resync_every: self.resync_every,
        })
    }

    /// What was counted last; only the first count is waited for. The others go on beside the frames.
    async fn counts(&mut self) -> Result<Counts, StoreError> {
        if let Next::At(due) = self.next
            && Instant::now() >= due
        {
            let counting = tokio::spawn(count(self.store.clone(), self.resync_every));
            self.next = Next::UnderWay(AbortOnDropHandle::new(counting));
        }
        if let Next::UnderWay(counting) = &mut self.next
            && (counting.is_finished() || self.counted.is_none())
        {
            let counted = counting.await;
            self.next = Next::At(Instant::now() + COUNT_EVERY);
            let (counts, took) =
                counted.map_err(|error| StoreError::Unavailable(format!("the count broke off: {error}")))?;
            self.counted = Some(counts?);
            self.next = Next::At(Instant::now() + (took * COUNT_PAUSE).max(COUNT_EVERY));
        }
        self.counted.clone().ok_or_else(|| StoreError::Unavailable("nothing is counted yet".to_owned()))
    }

    async fn in_redis(&self) -> Result<InRedis, QueueError> {
        let [revoke, sync, bulk] = Lane::ALL;
        let depths = [self.queue.depth(revoke).await?, self.queue.depth(sync).await?, self.queue.depth(bulk).await?];
        Ok(InRedis { depths, workers: self.queue.workers().await? })
    }

    async fn quota(&self, in_reach: bool, forecast: &Forecast) -> Vec<QuotaView> {
        let mut views = Vec::new();
        for endpoint in LIMITED_ENDPOINTS {
            let snapshot = match &self.budget {
                Some(budget) if in_reach => budget.snapshot(endpoint).await.ok(),
                _ => None,
            };
            let needed = if endpoint == "user_info" { forecast.syncs_per_minute } else { forecast.pages_per_minute };
            let a_minute = f64::from(self.quota.rate_per_minute) * 60.0 / self.quota.rate_window.as_secs_f64();
            views.push(QuotaView {
                endpoint,
                quota: self.quota.rate_per_minute,
                window: self.quota.rate_window,
                snapshot,
                forecast: needed / a_minute * 100.0,
            });
        }
        views
    }
}

/// Counts, and says how long it took.
async fn count(store: Store, resync_every: Option<Duration>) -> (Result<Counts, StoreError>, Duration) {
    let began = Instant::now();
    let counts = async {
        Ok(Counts {
            lanes: store.lane_counts().await?,
            creators: store.creator_counts().await?,
            forecast: store.forecast(resync_every).await?,
        })
    };
    (counts.await, began.elapsed())
}

fn lanes(settings: &LaneSettings, redis: Option<&InRedis>, counts: &[LaneCounts], now: DateTime<Utc>) -> Vec<LaneView> {
    let view = |(place, lane): (usize, Lane)| {
        let counted = counts.iter().find(|counts| counts.lane == lane.as_str());
        let depth = redis.and_then(|redis| redis.depths.get(place).copied());
        let made = counted.and_then(|counts| counts.oldest);
        // What was counted a moment ago may run by now: Redis's word on its own line goes first where nothing else waits.
        let oldest = made.and_then(|made| (now - made).to_std().ok()).max(depth.and_then(|depth| depth.oldest));
        LaneView {
            lane,
            setting: settings.of(lane),
            depth,
            waiting: counted.map_or(0, |counts| counts.waiting),
            dead: counted.map_or(0, |counts| counts.dead),
            oldest,
        }
    };
    Lane::ALL.into_iter().enumerate().map(view).collect()
}

impl Overview {
    /// The endpoint whose quota the cadence needs most of.
    pub fn tightest(&self) -> Option<&QuotaView> {
        self.quota.iter().max_by(|one, other| one.forecast.total_cmp(&other.forecast))
    }

    /// As `--json` writes it; `status --help` describes it.
    pub fn to_json(&self) -> Value {
        let instant = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let lanes = self.lanes.iter().map(|lane| {
            json!({
                "lane": lane.lane.as_str(),
                "state": lane.setting.state.as_ref(),
                "changedAt": lane.setting.changed_at.map(instant),
                "ready": lane.depth.map(|depth| depth.ready),
                "delayed": lane.depth.map(|depth| depth.delayed),
                "running": lane.depth.map(|depth| depth.running),
                "waiting": lane.waiting,
                "dead": lane.dead,
                "oldestSeconds": lane.oldest.map(|oldest| oldest.as_secs_f64()),
            })
        });
        let quota = self.quota.iter().map(|quota| {
            json!({
                "endpoint": quota.endpoint,
                "quota": quota.quota,
                "windowSeconds": quota.window.as_secs_f64(),
                "used": quota.snapshot.map(|snapshot| snapshot.used),
                "pausedSeconds": quota.snapshot.and_then(|snapshot| snapshot.paused_for).map(|pause| pause.as_secs_f64()),
                "ceiling": quota.snapshot.map(|snapshot| snapshot.ceiling),
                "breaker": quota.snapshot.map(|snapshot| if snapshot.probe_in().is_some() { "open" } else { "closed" }),
                "probeSeconds": quota.snapshot.and_then(|snapshot| snapshot.probe_in()).map(|wait| wait.as_secs_f64()),
                "forecastPercent": quota.forecast,
            })
        });
        let workers = self.workers.as_ref().map(|workers| {
            let worker = |worker: &WorkerInfo| {
                json!({
                    "name": worker.name,
                    "jobs": worker.running,
                    "lastHeartbeatSeconds": worker.last_heartbeat.as_secs_f64(),
                })
            };
            workers.iter().map(worker).collect::<Vec<_>>()
        });
        json!({
            "at": instant(self.at),
            "redis": {"reachable": self.redis_problem.is_none(), "error": self.redis_problem},
            "lanes": lanes.collect::<Vec<_>>(),
            "workers": workers,
            "quota": quota.collect::<Vec<_>>(),
            "creators": {
                "active": self.creators.active,
                "reauthorizationRequired": self.creators.reauthorization_required,
                "disconnecting": self.creators.disconnecting,
                "due": self.creators.due,
            },
            "forecast": {
                "creators": self.forecast.creators,
                "syncsPerMinute": self.forecast.syncs_per_minute,
                "pagesPerMinute": self.forecast.pages_per_minute,
                "fits": self.tightest().is_none_or(|tightest| tightest.forecast <= 100.0),
            },
        })
    }
}
