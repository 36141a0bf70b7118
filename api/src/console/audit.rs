//! The audit log of a project.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::ids::AuditId;
use shared::store::audit::{Action, AuditLine};

use super::error::ConsoleError;
use super::moment::Moment;
use super::page::{Layout, answer, query};
use super::who::Member;
use crate::app::Api;

const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditPage {
    layout: Layout,
    project: String,
    lines: Vec<Line>,
    is_first: bool,
    /// The last line on this page, if there are older ones.
    before: Option<AuditId>,
}

/// A line of the log on a page.
pub struct Line {
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To whom or what.
    pub subject: String,
    /// When.
    pub at: Moment,
}

impl Line {
    /// In words.
    pub fn new(line: AuditLine) -> Self {
        // What a newer version has written is shown by its name.
        let action = line.action.parse::<Action>().map_or(line.action, |action| words(action).to_owned());
        Self { actor: line.actor, action, subject: line.subject, at: Moment::of(line.at) }
    }
}

fn words(action: Action) -> &'static str {
    match action {
        Action::ProjectCreated => "made the project",
        Action::ProjectRenamed => "renamed the project to",
        Action::KeyCreated => "made the key",
        Action::KeyRerolled => "rerolled the key",
        Action::KeyRevoked => "revoked the key",
        Action::MemberInvited => "made an invitation for the role",
        Action::InvitationWithdrawn => "withdrew an invitation for the role",
        Action::MemberJoined => "joined with the role",
        Action::RoleChanged => "changed the role of",
        Action::MemberRemoved => "removed",
        Action::CreatorSynced => "synced the creator",
        Action::CreatorDisconnected => "disconnected the creator",
        Action::ConsentBegun => "began to connect a creator",
        Action::JobRetried => "tried again the",
        Action::DeadJobsRetried => "tried dead jobs again, in number",
        Action::JobDiscarded => "discarded the",
        Action::ResyncBegun => "asked for a resync of",
        Action::LanePaused => "paused the lane",
        Action::LaneDrained => "drained the lane",
        Action::LaneResumed => "opened the lane",
    }
}

/// `GET /console/projects/{project}/audit`. A page's cost does not grow with its depth.
pub async fn list(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let asked = query(&request, "before");
    let before = match asked.as_str() {
        "" => None,
        text => Some(text.parse::<AuditId>().map_err(|_| ConsoleError::NotFound)?),
    };
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut lines = api.within(api.store.audit_log(member.project(), before, limit)).await?;
    let more = lines.len() > PAGE;
    lines.truncate(PAGE);
    let page = AuditPage {
        layout: Layout::project(&member, "Audit log", "audit"),
        project: member.project().to_string(),
        is_first: before.is_none(),
        before: lines.last().map(|line| line.id).filter(|_| more),
        lines: lines.into_iter().map(Line::new).collect(),
    };
    answer(false, &page)
}
