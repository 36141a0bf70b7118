//! A creator's page: how the numbers went, and the videos.

use std::collections::HashMap;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use chrono::{DateTime, Utc};
use shared::ids::VideoId;
use shared::people::Role;
use shared::store::creator_list::SyncNow;
use shared::store::creators::Creator;
use shared::store::history::{CreatorPoint, HistoryRange, Interval};
use shared::store::trends::{Engagement, VideoTrend};
use shared::store::videos::{SortOrder, StoredVideo, VideoPosition, VideoQuery, VideoSort};
use strum::VariantArray as _;

use super::figures::{Line, Panel, Past, engagement_rate};
use super::period::Period;
use super::state::reason_words;
use super::videos::{COLUMNS, Column, VideoRow, aria_sort, parts};
use super::{CreatorLine, creator};
use crate::app::Api;
use crate::console::chart::{HEIGHT, SPARK_HEIGHT, SPARK_WIDTH, WIDTH};
use crate::console::error::ConsoleError;
use crate::console::numbers::Numbers;
use crate::console::page::{Layout, answer, query};
use crate::console::who::Member;
use crate::cursor;

/// Videos in a page of the table.
const VIDEOS: i64 = 25;
/// The best ones.
const BEST: i64 = 5;
/// Points of a line at most: two years of days, or of weeks, or of months.
const MAX_POINTS: i64 = 750;
/// So many points of days are few enough to ask for all there are.
const FIRST_DAYS: usize = 3;
/// What TikTok wants to be allowed for the counters of a profile, and for videos.
const STATS_SCOPE: &str = "user.info.stats";
const VIDEOS_SCOPE: &str = "video.list";

#[derive(Template)]
#[template(path = "console/creator.html")]
struct CreatorPage {
    layout: Layout,
    project: String,
    may_change: bool,
    creator: CreatorLine,
    reason: String,
    missing: String,
    period: Period,
    /// Each period's name, its query, and whether it is shown.
    periods: Vec<(&'static str, String, bool)>,
    panels: Vec<Panel>,
    /// What is missing for the panels to have lines.
    too_short: Option<&'static str>,
    /// When the panels' values were recorded, and when their lines begin and end: seconds since 1970.
    times: String,
    from: i64,
    to: i64,
    lines: Vec<Line>,
    engagement: EngagementCard,
    best: Vec<VideoRow>,
    has_videos: bool,
    columns: Vec<Column>,
    rows: Vec<VideoRow>,
    is_first: bool,
    /// The query of the first page, and of the next one; that is empty if there is none.
    first: String,
    next: String,
}

impl CreatorPage {
    /// Why the creator must connect again.
    fn why(&self) -> &'static str {
        reason_words(&self.reason)
    }
}

/// The engagement rate, and what it is made of.
struct EngagementCard {
    rate: Option<String>,
    made_of: String,
    left_out: String,
}

/// What of a creator is looked at.
struct View {
    period: Period,
    sort: VideoSort,
    order: SortOrder,
    after: Option<VideoPosition>,
}

impl View {
    fn of(request: &HttpRequest, creator: &Creator) -> Result<Self, ConsoleError> {
        let word = |name: &str| query(request, name);
        let (sort, order) = (word("sort").parse().unwrap_or_default(), word("order").parse().unwrap_or_default());
        let after = cursor::video_position(creator.id, sort, order, &word("after"));
        Ok(Self {
            period: word("period").parse().unwrap_or_default(),
            sort,
            order,
            after: after.map_err(|_| ConsoleError::NotFound)?,
        })
    }

    /// The query of another view. Only words and cursors of ours are in it.
    fn query(period: Period, sort: VideoSort, order: SortOrder, after: &str) -> String {
        let mut query = format!("?period={}&sort={sort}&order={order}", period.as_ref());
        if !after.is_empty() {
            query.push_str("&after=");
            query.push_str(after);
        }
        query
    }

    fn periods(&self) -> Vec<(&'static str, String, bool)> {
        let link =
            |period: &Period| (period.name(), Self::query(*period, self.sort, self.order, ""), *period == self.period);
        Period::VARIANTS.iter().map(link).collect()
    }

    /// A column's head leads to the other end, if the page is sorted by it; else to the most, or newest.
    fn columns(&self) -> Vec<Column> {
        let column = |(sort, name): &(VideoSort, &'static str)| {
            let is_sorted = *sort == self.sort;
            let order = if is_sorted && self.order == SortOrder::Desc { SortOrder::Asc } else { SortOrder::Desc };
            let href = Self::query(self.period, *sort, order, "");
            Column { name, href, sorted: if is_sorted { aria_sort(self.order) } else { "" } }
        };
        COLUMNS.iter().map(column).collect()
    }
}

/// What the store tells.
struct Found {
    past: Past,
    engagement: Engagement,
    best: Vec<StoredVideo>,
    videos: Vec<StoredVideo>,
    trends: HashMap<VideoId, VideoTrend>,
}

/// `GET /console/projects/{project}/creators/{creator}?period=&sort=&order=&after=`.
pub async fn show(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let creator = creator(&member, &request, &api).await?;
    let view = View::of(&request, &creator)?;
    let sync = api.within(api.store.syncs_now(&[creator.id])).await?.remove(&creator.id);
    let found = Box::pin(find(&api, &creator, &view, Utc::now())).await?;
    let numbers = Numbers::of(&request);
    answer(false, &page(&member, &request, creator, &view, found, sync, numbers))
}

async fn find(api: &Api, creator: &Creator, view: &View, now: DateTime<Utc>) -> Result<Found, ConsoleError> {
    let (project, id) = (creator.project_id, creator.id);
    let start = view.period.from(now);
    let before = match start {
        Some(start) => api.within(api.store.creator_point_before(project, id, start)).await?,
        None => None,
    };
    let past = Past::new(start, now, before, recorded(api, creator, start).await?);
    let published = start.unwrap_or(DateTime::UNIX_EPOCH);
    let most = VideoQuery { from: Some(published), sort: VideoSort::Views, ..VideoQuery::default() };
    let asked = VideoQuery { sort: view.sort, order: view.order, after: view.after, ..VideoQuery::default() };
    // Each may read all of the creator's videos: side by side, since nobody waits longer for a page than for its slowest part.
    let (engagement, best, videos) = futures::try_join!(
        api.within(api.store.engagement(project, id, published)),
        api.within(api.store.videos(project, id, &most, BEST)),
        api.within(api.store.videos(project, id, &asked, VIDEOS + 1)),
    )?;
    let (best, videos) = (best.unwrap_or_default(), videos.unwrap_or_default());
    let ids: Vec<VideoId> = videos.iter().chain(&best).map(|video| video.id).collect();
    let trends = api.within(api.store.video_trends(project, id, &ids, parts(past.from, past.to))).await?;
    Ok(Found { past, engagement, best, videos, trends })
}

/// What was recorded since `start`: a point a day. Of a past that is too long for that, one a week or a month; of one that has
/// just begun, every sync.
async fn recorded(
    api: &Api,
    creator: &Creator,
    start: Option<DateTime<Utc>>,
) -> Result<Vec<CreatorPoint>, ConsoleError> {
    let mut points = Vec::new();
    for interval in [Interval::Day, Interval::Week, Interval::Month] {
        let (found, more) = read(api, creator, start, interval).await?;
        points = found;
        if !more {
            break;
        }
    }
    if points.len() <= FIRST_DAYS {
        let (all, more) = read(api, creator, start, Interval::Raw).await?;
        points = if more { points } else { all };
    }
    Ok(points)
}

async fn read(
    api: &Api,
    creator: &Creator,
    start: Option<DateTime<Utc>>,
    interval: Interval,
) -> Result<(Vec<CreatorPoint>, bool), ConsoleError> {
    let range = HistoryRange { from: start.unwrap_or(DateTime::UNIX_EPOCH), to: DateTime::<Utc>::MAX_UTC, interval };
    let found = api.store.creator_history(creator.project_id, creator.id, range, MAX_POINTS + 1);
    Ok(cursor::page(api.within(found).await?.ok_or(ConsoleError::NotFound)?, MAX_POINTS))
}

fn page(
    member: &Member,
    request: &HttpRequest,
    creator: Creator,
    view: &View,
    found: Found,
    sync: Option<SyncNow>,
    numbers: Numbers,
) -> CreatorPage {
    let Found { past, engagement, best, videos, trends } = found;
    let missing = creator.missing_scopes.clone();
    let lacks = |scope: &str| missing.split(',').any(|missing| missing.trim() == scope);
    let (id, reason) = (creator.id, creator.status_reason.clone().unwrap_or_default());
    let (videos, more) = cursor::page(videos, VIDEOS);
    let next = videos.last().filter(|_| more).map(|last| {
        let after = cursor::after_video(id, view.sort, view.order, last.position(view.sort));
        View::query(view.period, view.sort, view.order, &after)
    });
    let row = |video: StoredVideo| VideoRow::new(video.clone(), trends.get(&video.id), past.from, numbers);
    let panels = panels(&past, &creator, lacks(STATS_SCOPE), lacks(VIDEOS_SCOPE), numbers);
    let is_synced = creator.last_synced_at.is_some();
    let line = CreatorLine::new(creator, sync, numbers);
    CreatorPage {
        layout: Layout::project(member, &line.name, "creators").with_notice(request),
        project: member.project().to_string(),
        may_change: member.may(Role::Developer),
        creator: line,
        reason,
        missing,
        period: view.period,
        periods: view.periods(),
        panels,
        too_short: too_short(&past, is_synced),
        times: past.times(),
        from: past.from.timestamp(),
        to: past.to.timestamp(),
        lines: past.lines(numbers),
        engagement: engagement_card(&engagement, view.period, numbers),
        best: best.into_iter().filter(|video| video.views.is_some()).map(row).collect(),
        has_videos: !videos.is_empty() || view.after.is_some(),
        columns: view.columns(),
        rows: videos.into_iter().map(row).collect(),
        is_first: view.after.is_none(),
        first: View::query(view.period, view.sort, view.order, ""),
        next: next.unwrap_or_default(),
    }
}

fn panels(past: &Past, creator: &Creator, no_stats: bool, no_videos: bool, numbers: Numbers) -> Vec<Panel> {
    let untold = "The platform has not told this yet.";
    let stats = if no_stats { "The creator has not allowed user.info.stats." } else { untold };
    let list = if no_videos { "The creator has not allowed video.list." } else { untold };
    let views = past.points.last().and_then(|point| point.views);
    vec![
        past.panel("Followers", creator.followers, stats, |point| point.counters.followers, numbers),
        past.panel("Likes", creator.likes, stats, |point| point.counters.likes, numbers),
        past.panel("Views", views, list, |point| point.views, numbers),
    ]
}

fn too_short(past: &Past, is_synced: bool) -> Option<&'static str> {
    match (past.is_short(), past.points.is_empty()) {
        (false, _) => None,
        (true, true) if is_synced => Some(
            "No change is on record: a sync that finds the same numbers records nothing, and what was recorded longer ago than \
             the history is kept is gone. The numbers above are those of the last sync.",
        ),
        (true, true) => Some("Nothing is recorded yet: that begins with the first sync."),
        (true, false) => Some(
            "One sync is recorded so far. The lines begin when another one finds other numbers: wait for the next one by \
             schedule, or sync now.",
        ),
    }
}

fn engagement_card(sums: &Engagement, period: Period, numbers: Numbers) -> EngagementCard {
    let videos = |number: i64| {
        let noun = if number == 1 { "video" } else { "videos" };
        format!("{} {noun}", numbers.exact(number))
    };
    let rate = engagement_rate(sums);
    let [likes, comments, shares, views] =
        [sums.likes, sums.comments, sums.shares, sums.views].map(|sum| numbers.exact(sum));
    let made_of = match (rate, sums.videos) {
        (Some(_), _) => {
            format!(
                "({likes} + {comments} + {shares}) ÷ {views}, over {} published {}.",
                videos(sums.counted),
                period.words()
            )
        }
        (None, 0) => format!("No video was published {}.", period.words()),
        (None, _) => format!("No views are known of the {} published {}.", videos(sums.videos), period.words()),
    };
    let left_out = sums.videos - sums.counted;
    let left_out = match left_out {
        0 => String::new(),
        _ => format!("{} left out: the platform did not tell all four numbers.", videos(left_out)),
    };
    EngagementCard { rate: rate.map(|rate| numbers.percent(rate)), made_of, left_out }
}
