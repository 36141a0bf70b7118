//! The dead jobs of all projects, for operators.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::ids::JobId;
use shared::store::project_jobs::Doer;

use super::confirm::is_confirmed;
use super::error::ConsoleError;
use super::form::Form;
use super::job_words::JobLine;
use super::jobs::{
    JobPage, PAGE, ask_whether, before, discard_page, more_than_a_page, put_away, refused, retry_all, try_again,
};
use super::operations::{self, layout};
use super::page::{Layout, answer, path_id, see_other};
use super::who::{Operator, SignedIn};
use crate::app::Api;

#[derive(Template)]
#[template(path = "console/dead.html")]
struct DeadPage {
    layout: Layout,
    operations: String,
    base: String,
    lines: Vec<JobLine>,
    is_first: bool,
    /// The last job on this page, if there are older ones.
    before: Option<JobId>,
}

fn base() -> String {
    format!("{}/jobs", operations::base())
}

/// `GET /console/operations/jobs?before=`.
pub async fn list(Operator(who): Operator, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let after = before(&request)?;
    let mut found = api.within(api.store.dead_jobs(after, more_than_a_page())).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let page = DeadPage {
        layout: layout(&who, &api, "Dead jobs").await?.with_notice(&request),
        operations: operations::base(),
        base: base(),
        is_first: after.is_none(),
        before: found.last().map(|last| last.job.id).filter(|_| more),
        lines: found.into_iter().map(JobLine::new).collect(),
    };
    answer(false, &page)
}

/// `GET /console/operations/jobs/{job}`.
pub async fn show(Operator(who): Operator, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let page = page(&who, path_id(&request, "job")?, &api).await?;
    answer(false, &JobPage { layout: page.layout.with_notice(&request), ..page })
}

async fn page(who: &SignedIn, id: JobId, api: &Api) -> Result<JobPage, ConsoleError> {
    let found = api.within(api.store.listed_job(None, id)).await?.ok_or(ConsoleError::NotFound)?;
    let job = JobLine::new(found);
    Ok(JobPage {
        layout: layout(who, api, &job.title).await?,
        base: base(),
        list: "Dead jobs",
        // The operator may be no member of the project.
        creators: String::new(),
        batches: String::new(),
        may_change: true,
        counted_by: Vec::new(),
        job,
    })
}

/// `POST /console/operations/jobs/{job}/retry`.
pub async fn retry(
    Operator(who): Operator,
    request: HttpRequest,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    let id = path_id(&request, "job")?;
    match try_again(&api, &who, None, id).await? {
        None => Ok(see_other(&format!("{}/{id}?done=retried", base()))),
        Some(problem) => refused(page(&who, id, &api).await?, &problem),
    }
}

/// `POST /console/operations/jobs/retry-dead`: those of all projects.
pub async fn retry_dead(Operator(who): Operator, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let done = if retry_all(&api, &who, None).await? > 0 { "all-retried" } else { "none-retried" };
    Ok(see_other(&format!("{}?done={done}", base())))
}

/// `GET /console/operations/jobs/{job}/discard`: what it would mean, before it is done.
pub async fn ask_discard(
    Operator(who): Operator,
    request: HttpRequest,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    ask_whether(page(&who, path_id(&request, "job")?, &api).await?)
}

/// `POST /console/operations/jobs/{job}/discard`.
pub async fn discard(
    Operator(who): Operator,
    request: HttpRequest,
    form: Form,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    let id = path_id(&request, "job")?;
    if !is_confirmed(&form) {
        return discard_page(page(&who, id, &api).await?).ask_again();
    }
    match put_away(&api, Doer { by: who.by(), within: None }, id).await? {
        None => Ok(see_other(&format!("{}/{id}?done=discarded", base()))),
        Some(problem) => refused(page(&who, id, &api).await?, &problem),
    }
}
