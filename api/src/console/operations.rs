//! The whole installation, for its operators: what `metriqlab status` shows, and the lanes' pause and resume.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use askama::filters::HtmlSafe;
use shared::overview::{LaneView, Overview, QuotaView};
use shared::queue::{Lane, WorkerInfo};
use shared::store::audit::Log;
use shared::store::lanes::LaneState;

use super::PATH;
use super::audit::Line;
use super::bar::Bar;
use super::error::ConsoleError;
use super::form::Form;
use super::moment::{Moment, span};
use super::numbers::Numbers;
use super::page::{Layout, answer, html, see_other};
use super::who::{Operator, SignedIn};
use crate::app::Api;
use crate::dispatch;

/// How long a page waits for what has to be counted; the next one has it.
const PATIENCE: Duration = Duration::from_millis(25);
/// Workers that are listed; of more there is the number.
const MOST_WORKERS: usize = 50;
const NO_APP: &str = "TIKTOK_CLIENT_KEY is not set for this process: what is used of the quota is not known.";
/// Lines of the log that are shown; a page of its own has all.
const LOG: i64 = 10;

/// Where this is.
pub fn base() -> String {
    format!("{PATH}/operations")
}

struct LaneLine {
    name: &'static str,
    about: &'static str,
    class: &'static str,
    state: &'static str,
    since: Option<Moment>,
    ready: String,
    delayed: String,
    running: String,
    waiting: String,
    dead: String,
    has_dead: bool,
    oldest: String,
}

struct WorkerLine {
    name: String,
    running: String,
    heard: Moment,
    is_late: bool,
}

struct QuotaLine {
    endpoint: &'static str,
    used: String,
    bar: Bar,
    needs: String,
    is_overbooked: bool,
    /// What holds the endpoint back.
    holds: Vec<String>,
}

/// What changes by itself: shown in the page, and alone for who looks again.
#[derive(Template)]
#[template(path = "console/operations-now.html")]
struct Now {
    base: String,
    redis_problem: String,
    /// What makes the figures of this page less than the whole truth.
    doubts: Vec<&'static str>,
    lanes: Vec<LaneLine>,
    workers: Vec<WorkerLine>,
    /// How many more there are; empty for none.
    more_workers: String,
    no_worker: bool,
    quota: Vec<QuotaLine>,
    held: Vec<String>,
    creators: Vec<(&'static str, String)>,
    /// What to do where the cadence needs more than there is.
    advice: String,
}

#[derive(Template)]
#[template(path = "console/operations.html")]
struct OperationsPage {
    layout: Layout,
    now: Now,
    base: String,
    lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "console/lane.html")]
struct LanePage {
    layout: Layout,
    base: String,
    lane: LaneLine,
    is_open: bool,
    is_paused: bool,
    is_draining: bool,
}

/// `GET /console/operations`.
pub async fn show(Operator(who): Operator, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let now = Now::of(&api.within(api.looker.look(PATIENCE)).await?, Numbers::of(&request));
    let log = api.within(api.store.audit_log(Log::Installation, None, LOG)).await?;
    let layout = layout(&who, &api, "Operations").await?.with_notice(&request);
    answer(false, &OperationsPage { layout, now, base: base(), lines: log.into_iter().map(Line::new).collect() })
}

/// `GET /console/operations/fragment`: the part of the page that changes.
pub async fn fragment(_: Operator, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let overview = api.within(api.looker.look(PATIENCE)).await?;
    html(StatusCode::OK, &Now::of(&overview, Numbers::of(&request)))
}

/// `GET /console/operations/lanes/{lane}`: what pausing it would mean, before it is done.
pub async fn lane(Operator(who): Operator, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let lane = path_lane(&request)?;
    let overview = api.within(api.looker.look(PATIENCE)).await?;
    let view = overview.lanes.iter().find(|view| view.lane == lane).ok_or(ConsoleError::NotFound)?;
    let state = view.setting.state;
    let page = LanePage {
        layout: layout(&who, &api, &format!("The lane {lane}")).await?.with_notice(&request),
        base: base(),
        lane: LaneLine::new(view, Numbers::of(&request)),
        is_open: state == LaneState::Open,
        is_paused: state == LaneState::Paused,
        is_draining: state == LaneState::Draining,
    };
    answer(false, &page)
}

/// `POST /console/operations/lanes/{lane}`.
pub async fn set_lane(
    Operator(who): Operator,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    let lane = path_lane(&request)?;
    let (state, done) = match form.text("state") {
        "open" => (LaneState::Open, "open"),
        "paused" => (LaneState::Paused, "paused"),
        "draining" => (LaneState::Draining, "draining"),
        _ => return Err(ConsoleError::Malformed("a lane has no such state".into())),
    };
    let work = Data::clone(&api);
    let set = api.detached(async move {
        work.within(work.store.set_lane(who.by(), lane, state)).await?;
        dispatch::announce_lanes(&work).await;
        Ok(())
    });
    set.await?;
    Ok(see_other(&format!("{}?done={done}", base())))
}

fn path_lane(request: &HttpRequest) -> Result<Lane, ConsoleError> {
    let name = request.match_info().get("lane").unwrap_or_default();
    name.parse().map_err(|_| ConsoleError::NotFound)
}

/// With the projects that the operator is a member of, to go back to.
pub async fn layout(who: &SignedIn, api: &Api, title: &str) -> Result<Layout, ConsoleError> {
    let projects = api.within(api.store.memberships(who.user)).await?;
    Ok(Layout::signed_in(who, title, "operations").with_projects(projects))
}

/// It escapes what it shows itself.
impl HtmlSafe for Now {}

impl Now {
    fn of(overview: &Overview, numbers: Numbers) -> Self {
        let workers = overview.workers.as_deref().unwrap_or_default();
        Self {
            base: base(),
            redis_problem: overview.redis_problem.clone().unwrap_or_default(),
            doubts: (!overview.app_is_set).then_some(NO_APP).into_iter().chain(overview.pace_problem()).collect(),
            lanes: overview.lanes.iter().map(|view| LaneLine::new(view, numbers)).collect(),
            workers: workers.iter().take(MOST_WORKERS).map(|worker| WorkerLine::new(worker, numbers)).collect(),
            more_workers: match workers.len().saturating_sub(MOST_WORKERS) {
                0 => String::new(),
                more => count(u64::try_from(more).ok(), numbers),
            },
            no_worker: overview.workers.as_ref().is_some_and(|workers| !workers.iter().any(WorkerInfo::is_alive)),
            quota: overview.quota.iter().map(|view| QuotaLine::new(view, numbers)).collect(),
            held: overview.held.iter().map(|(endpoint, wait)| held(endpoint, *wait)).collect(),
            creators: creators(overview, numbers),
            advice: advice(overview, numbers),
        }
    }
}

fn held(endpoint: &str, wait: Duration) -> String {
    format!("{endpoint} is held: TikTok fails for everybody. The next look is in {}.", span(wait))
}

fn count(count: Option<u64>, numbers: Numbers) -> String {
    count.map_or_else(|| "?".into(), |count| numbers.exact(i64::try_from(count).unwrap_or(i64::MAX)))
}

impl LaneLine {
    fn new(view: &LaneView, numbers: Numbers) -> Self {
        let (class, state) = match view.setting.state {
            LaneState::Open if !view.held_by.is_empty() => ("bad", "Held: TikTok fails"),
            LaneState::Open => ("good", "Open"),
            LaneState::Paused => ("warn", "Paused"),
            LaneState::Draining => ("warn", "Draining"),
            LaneState::Unknown => ("bad", "Held: a later version's word"),
        };
        let counted = |count: Option<i64>| count.map_or_else(|| "…".into(), |count| numbers.exact(count));
        Self {
            name: view.lane.as_str(),
            about: match view.lane {
                Lane::Revoke => "disconnects",
                Lane::Sync => "syncs that somebody waits for, and first ones",
                Lane::Bulk => "scheduled and bulk resyncs",
            },
            class,
            state,
            since: view.setting.changed_at.map(Moment::of),
            ready: count(view.depth.map(|depth| depth.ready), numbers),
            delayed: count(view.depth.map(|depth| depth.delayed), numbers),
            running: count(view.depth.map(|depth| depth.running), numbers),
            waiting: counted(view.waiting),
            dead: counted(view.dead),
            has_dead: view.dead.is_some_and(|dead| dead > 0),
            oldest: view.oldest.map_or_else(|| "–".into(), span),
        }
    }
}

impl WorkerLine {
    fn new(worker: &WorkerInfo, numbers: Numbers) -> Self {
        Self {
            name: worker.name.clone(),
            running: count(Some(worker.running), numbers),
            heard: Moment::ago(worker.last_heartbeat),
            is_late: !worker.is_alive(),
        }
    }
}

impl QuotaLine {
    fn new(view: &QuotaView, numbers: Numbers) -> Self {
        let quota = i64::from(view.quota);
        let used = view.snapshot.map(|snapshot| i64::from(snapshot.used));
        let said = used.map_or_else(|| "?".into(), |used| numbers.exact(used));
        let words = format!("{said} of {} in use", numbers.exact(quota));
        let class =
            if used.is_some_and(|used| used.saturating_mul(10) > quota.saturating_mul(9)) { "warn" } else { "good" };
        let mut holds = Vec::new();
        if let Some(snapshot) = view.snapshot {
            if let Some(pause) = snapshot.paused_for {
                holds.push(format!("Closed for {}: TikTok said 429, or the log of requests was lost.", span(pause)));
            }
            if snapshot.ceiling < snapshot.quota {
                let ceiling = numbers.exact(snapshot.ceiling.into());
                holds.push(format!("No more than {ceiling} are granted for a while, after a 429."));
            }
            holds.extend(snapshot.probe_in().map(|wait| held(view.endpoint, wait)));
        }
        Self {
            endpoint: view.endpoint,
            used: format!("{said} of {} in {}", numbers.exact(quota), span(view.window)),
            bar: Bar::new(words, quota, &[(class, used.unwrap_or(0))]),
            needs: view.forecast.map_or_else(|| "…".into(), |forecast| numbers.percent(forecast / 100.0)),
            is_overbooked: view.needed() > 100.0,
            holds,
        }
    }
}

fn creators(overview: &Overview, numbers: Numbers) -> Vec<(&'static str, String)> {
    let Some(counts) = &overview.counts else { return Vec::new() };
    let every = overview.resync_every.map_or_else(|| "never".to_owned(), span);
    vec![
        ("Active", numbers.exact(counts.creators.active)),
        ("Must connect again", numbers.exact(counts.creators.reauthorization_required)),
        ("On their way out", numbers.exact(counts.creators.disconnecting)),
        ("Due for a sync", numbers.exact(counts.creators.due)),
        ("On the schedule", numbers.exact(counts.forecast.creators)),
        ("Scheduled syncs", format!("{} a minute", numbers.rate(counts.forecast.syncs_per_minute))),
        ("Longest age", every),
    ]
}

/// What to do when the cadence asks for more than there is.
fn advice(overview: &Overview, numbers: Numbers) -> String {
    let Some(tightest) = overview.overbooked() else { return String::new() };
    let hours = overview.hours_needed();
    let set = hours.map_or_else(String::new, |hours| format!("set METRIQLAB_RESYNC_EVERY to {hours}h or more, "));
    format!(
        "At this cadence the creators need {} of the quota of {}: their data gets older than you asked for. What helps: \
         {set}sync some projects less often (metriqlab resync --project NAME --every TIME), or ask TikTok for a higher quota.",
        numbers.percent(tightest.needed().round() / 100.0),
        tightest.endpoint,
    )
}
