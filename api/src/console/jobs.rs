//! A project's jobs: what became of them, why, and what to do.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::ids::{BatchId, JobId, ProjectId};
use shared::people::Role;
use shared::store::audit::By;
use shared::store::dead_jobs::{Discard, JobFilter, Retry, RetryOne};
use shared::store::jobs::JobKind;
use shared::store::project_jobs::{Doer, Listing, MOST_COUNTED, StateCount};
use strum::IntoEnumIterator as _;
use url::form_urlencoded;

use super::PATH;
use super::confirm::{ConfirmPage, is_confirmed};
use super::error::ConsoleError;
use super::form::Form;
use super::job_words::{ErrorWords, JobLine, Tab, once};
use super::numbers::Numbers;
use super::page::{Layout, answer, html, path_id, query, see_other};
use super::who::{Member, SignedIn};
use crate::app::Api;
use crate::dispatch;
use crate::error::ApiError;

/// Jobs on a page.
pub const PAGE: usize = 50;
/// Dead jobs that one statement tries again, and so many statements at one click.
const SOME_DEAD: i64 = 500;
const MOST_TURNS: usize = 20;

/// A tab, and how many jobs it has.
struct TabLink {
    tab: Tab,
    count: String,
    query: String,
}

#[derive(Template)]
#[template(path = "console/jobs.html")]
struct JobsPage {
    layout: Layout,
    /// Where the jobs' pages are.
    base: String,
    creators: String,
    may_change: bool,
    tab: Tab,
    kind: Option<JobKind>,
    tabs: Vec<TabLink>,
    lines: Vec<JobLine>,
    is_first: bool,
    /// The query of the first page, and of the next, which is empty if there is none.
    first: String,
    next: String,
}

impl JobsPage {
    /// What to do about each kind of error on the page, once.
    fn advice(&self) -> Vec<&ErrorWords> {
        once(self.lines.iter().filter(|line| line.is_dead).filter_map(|line| line.error.as_ref()))
    }
}

/// A job's page, in its project or among all that are dead.
#[derive(Template)]
#[template(path = "console/job.html")]
pub struct JobPage {
    /// What stands around it.
    pub layout: Layout,
    /// Where the list is.
    pub base: String,
    /// What the list is called.
    pub list: &'static str,
    /// Where creators' pages are; empty if the reader may not see them.
    pub creators: String,
    /// Where batches' pages are; likewise.
    pub batches: String,
    /// Whether it may be tried again or discarded.
    pub may_change: bool,
    /// The job.
    pub job: JobLine,
    /// The batches that count it.
    pub counted_by: Vec<BatchId>,
}

/// `GET /console/projects/{project}/jobs?state=&kind=&before=`. A page's cost does not grow with its depth.
pub async fn list(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let tab = query(&request, "state").parse().unwrap_or(Tab::All);
    let kind: Option<JobKind> = query(&request, "kind").parse().ok();
    let before = before(&request)?;
    let project = member.project();
    let listing = Listing { states: tab.states().to_vec(), kind };
    let counts = api.within(api.store.project_job_counts(project, kind)).await?;
    let mut found = api.within(api.store.project_jobs(project, &listing, before, more_than_a_page())).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(|last| query_of(tab, kind, Some(last.job.id))).unwrap_or_default();
    let numbers = Numbers::of(&request);
    let page = JobsPage {
        layout: Layout::project(&member, "Jobs", "jobs").with_notice(&request),
        base: base(&member),
        creators: format!("{PATH}/projects/{project}/creators"),
        may_change: member.may(Role::Developer),
        tab,
        kind,
        tabs: Tab::iter()
            .map(|tab| TabLink { tab, count: count(&counts, tab, numbers), query: query_of(tab, kind, None) })
            .collect(),
        lines: found.into_iter().map(JobLine::new).collect(),
        is_first: before.is_none(),
        first: query_of(tab, kind, None),
        next,
    };
    answer(false, &page)
}

/// The job in the query before which a page begins.
pub fn before(request: &HttpRequest) -> Result<Option<JobId>, ConsoleError> {
    match query(request, "before").as_str() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| ConsoleError::NotFound),
    }
}

/// One more than a page has, to know whether there is another.
pub fn more_than_a_page() -> i64 {
    i64::try_from(PAGE + 1).unwrap_or(i64::MAX)
}

fn base(member: &Member) -> String {
    format!("{PATH}/projects/{}/jobs", member.project())
}

fn query_of(tab: Tab, kind: Option<JobKind>, before: Option<JobId>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("state", &tab.to_string());
    if let Some(kind) = kind {
        query.append_pair("kind", kind.as_ref());
    }
    if let Some(before) = before {
        query.append_pair("before", &before.to_string());
    }
    query.finish()
}

/// A tab's number, as far as it was counted; nothing for all.
fn count(counts: &[StateCount], tab: Tab, numbers: Numbers) -> String {
    if tab == Tab::All {
        return String::new();
    }
    let of_tab = |count: &&StateCount| tab.states().iter().any(|state| state.as_ref() == count.state);
    let number: i64 = counts.iter().filter(of_tab).map(|count| count.number).sum();
    let more = if number >= MOST_COUNTED { "+" } else { "" };
    format!("{}{more}", numbers.exact(number.min(MOST_COUNTED)))
}

/// `GET /console/projects/{project}/jobs/{job}`.
pub async fn show(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let page = page(&member, path_id(&request, "job")?, &api).await?;
    answer(false, &JobPage { layout: page.layout.with_notice(&request), ..page })
}

async fn page(member: &Member, id: JobId, api: &Api) -> Result<JobPage, ConsoleError> {
    let project = member.project();
    let found = api.within(api.store.listed_job(Some(project), id)).await?.ok_or(ConsoleError::NotFound)?;
    let job = JobLine::new(found);
    Ok(JobPage {
        layout: Layout::project(member, &job.title, "jobs"),
        base: base(member),
        list: "Jobs",
        creators: format!("{PATH}/projects/{project}/creators"),
        batches: format!("{PATH}/projects/{project}/batches"),
        may_change: member.may(Role::Developer),
        counted_by: api.within(api.store.batches_of(id)).await?,
        job,
    })
}

/// `POST /console/projects/{project}/jobs/{job}/retry`.
pub async fn retry(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let id = path_id(&request, "job")?;
    match try_again(&api, &member.who, Some(member.project()), id).await? {
        None => Ok(see_other(&format!("{}/{id}?done=retried", base(&member)))),
        Some(problem) => refused(page(&member, id, &api).await?, &problem),
    }
}

/// `GET /console/projects/{project}/jobs/{job}/discard`: what it would mean, before it is done.
pub async fn ask_discard(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    ask_whether(page(&member, path_id(&request, "job")?, &api).await?)
}

/// Asks whether a job is to be put away; of one that can't be, its page says what it is.
pub fn ask_whether(page: JobPage) -> Result<HttpResponse, ConsoleError> {
    if page.job.is_dead && page.job.may_discard {
        return discard_page(page).ask();
    }
    Ok(see_other(&format!("{}/{}", page.base, page.job.id)))
}

/// The question whether a job is to be put away, in its project or among all that are dead.
pub fn discard_page(page: JobPage) -> ConfirmPage {
    let title = &page.job.title;
    ConfirmPage {
        question: format!("Discard the job “{title}”?"),
        meaning: vec![
            "It is never tried again, and batches count it as skipped. This can’t be undone.".to_owned(),
            "The creator stays as it is, and its next syncs come as ever.".to_owned(),
        ],
        fields: Vec::new(),
        button: "Discard the job".to_owned(),
        back: (format!("{}/{}", page.base, page.job.id), "No, keep the job"),
        layout: page.layout,
    }
}

/// `POST /console/projects/{project}/jobs/{job}/discard`.
pub async fn discard(
    member: Member,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let id = path_id(&request, "job")?;
    if !is_confirmed(&form) {
        return discard_page(page(&member, id, &api).await?).ask_again();
    }
    match put_away(&api, Doer { by: member.who.by(), within: Some(member.project()) }, id).await? {
        None => Ok(see_other(&format!("{}/{id}?done=discarded", base(&member)))),
        Some(problem) => refused(page(&member, id, &api).await?, &problem),
    }
}

/// The job's page, with a word about what was not done to it.
pub fn refused(page: JobPage, problem: &str) -> Result<HttpResponse, ConsoleError> {
    html(StatusCode::CONFLICT, &JobPage { layout: page.layout.with_problem(problem), ..page })
}

/// Tries a dead job again; one of `within` alone, if that is a project. `Some`: why not.
pub async fn try_again(
    api: &Data<Api>,
    who: &SignedIn,
    within: Option<ProjectId>,
    id: JobId,
) -> Result<Option<String>, ConsoleError> {
    let (work, email) = (Data::clone(api), who.email.clone());
    let outcome = api.detached(async move {
        let outcome = work.within(work.store.retry_one(Doer { by: By::User(&email), within }, id)).await?;
        if let RetryOne::Retried { lane, message } = &outcome {
            dispatch::push(&work, *lane, message).await;
        }
        Ok(outcome)
    });
    match outcome.await? {
        RetryOne::Retried { .. } | RetryOne::Not(Retry::Retried) => Ok(None),
        RetryOne::Not(Retry::Overtaken) => {
            Ok(Some("Not tried again: the creator has a newer job of this kind, which does the same.".into()))
        }
        RetryOne::Not(Retry::Gone) => Ok(Some("Not tried again: the creator was disconnected.".into())),
        RetryOne::Not(Retry::Refused) => Ok(Some(
            "Not tried again: TikTok no longer accepts the creator's authorization. The creator must connect again."
                .into(),
        )),
        RetryOne::NotDead(_) => Ok(Some("Not tried again: the job is not dead any more.".into())),
        RetryOne::UnknownLane(_) => {
            Ok(Some("Not tried again: it is in a lane that only a later version of the server knows.".into()))
        }
        RetryOne::Unknown => Err(ConsoleError::NotFound),
    }
}

/// Puts a dead job away. `Some`: why not.
pub async fn put_away(api: &Data<Api>, doer: Doer<'_>, id: JobId) -> Result<Option<String>, ConsoleError> {
    match api.within(api.store.discard_job(doer, id, &[])).await? {
        Discard::Discarded { .. } => Ok(None),
        Discard::Revocation => Ok(Some(
            "Not discarded: a disconnect is never given up, for the authorization would stay at TikTok and the creator's \
             data here. Try it again instead."
                .into(),
        )),
        Discard::Awaited => Ok(Some("Not discarded: the job is not dead any more.".into())),
        Discard::Over(_) => Ok(Some("Not discarded: the job has had another end already.".into())),
        Discard::Unknown => Err(ConsoleError::NotFound),
    }
}

/// `POST /console/projects/{project}/jobs/retry-dead`: all of them, up to some thousands. Syncs wait in the bulk lane, where
/// they stand in nobody's way.
pub async fn retry_dead(member: Member, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    member.require(Role::Developer)?;
    let retried = retry_all(&api, &member.who, Some(member.project())).await?;
    let (tab, done) = if retried > 0 { (Tab::Queued, "all-retried") } else { (Tab::Dead, "none-retried") };
    Ok(see_other(&format!("{}?{}&done={done}", base(&member), query_of(tab, None, None))))
}

/// Tries dead jobs again, of a project or of all, up to some thousands. Gives the number of those that are open again.
pub async fn retry_all(api: &Data<Api>, who: &SignedIn, project: Option<ProjectId>) -> Result<usize, ConsoleError> {
    let (work, email) = (Data::clone(api), who.email.clone());
    let filter = JobFilter { project, ..JobFilter::default() };
    let retried = api.detached(async move {
        let (mut before, mut retried) = (None, 0);
        for _ in 0..MOST_TURNS {
            let judged = work.within(work.store.retry_dead(By::User(&email), &filter, before, SOME_DEAD)).await?;
            retried += judged.iter().filter(|(_, verdict)| *verdict == Retry::Retried).count();
            before = judged.last().map(|(id, _)| *id);
            if before.is_none() {
                break;
            }
        }
        Ok::<_, ApiError>(retried)
    });
    Ok(retried.await?)
}
