//! The audit log: of a project, of the installation, of one's own account.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use shared::ids::AuditId;
use shared::store::audit::{Action, AuditLine, Log};

use super::error::ConsoleError;
use super::moment::Moment;
use super::operations;
use super::page::{Layout, answer, query};
use super::who::{Member, Operator, SignedIn};
use super::{PATH, account};
use crate::app::Api;

const PAGE: usize = 50;

/// A log, a page of it.
#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditPage {
    layout: Layout,
    /// The page that it belongs to: where that is, and what it is called.
    above: Option<(String, &'static str)>,
    lead: &'static str,
    /// What is said where there is no line.
    nothing: &'static str,
    /// Where it is.
    base: String,
    lines: Vec<Line>,
    is_first: bool,
    before: Option<AuditId>,
}

/// The lines of a page.
struct Part {
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
        Action::ProjectResyncChanged => "set how old data may get:",
        Action::KeyCreated => "made the key",
        Action::KeyRerolled => "rerolled the key",
        Action::KeyRevoked => "revoked the key",
        Action::MemberInvited => "made an invitation for the role",
        Action::InvitationWithdrawn => "withdrew an invitation for the role",
        Action::MemberJoined => "joined with the role",
        Action::MemberAdded => "made a member of",
        Action::RoleChanged => "changed the role of",
        Action::MemberRemoved => "removed",
        Action::CreatorSynced => "synced the creator",
        Action::CreatorChanged => "changed the creator",
        Action::CreatorDisconnected => "disconnected the creator",
        Action::ConsentBegun => "began to connect a creator",
        Action::CreatorConnected => "connected the creator",
        Action::JobRetried => "tried again the",
        Action::DeadJobsRetried => "tried dead jobs again, in number",
        Action::JobDiscarded => "discarded the",
        Action::ResyncBegun => "asked for a resync of",
        Action::LanePaused => "paused the lane",
        Action::LaneDrained => "drained the lane",
        Action::LaneResumed => "opened the lane",
        Action::PasswordLinkMade => "made a link to set the password of",
        Action::OperatorMade => "made an operator of",
        Action::OperatorUnmade => "took the operator’s rights from",
        Action::SignedIn => "signed in from",
        Action::SignInRefused => "was refused a sign-in from",
        Action::SignedOut => "signed out at",
        Action::SessionEnded => "ended the session at",
        Action::OtherSessionsEnded => "ended the other sessions, in number",
        Action::PasswordChanged => "set a new password",
        Action::AccountClosed => "ended all sessions, and the password, of",
    }
}

/// `GET /console/projects/{project}/audit`.
pub async fn list(member: Member, request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ConsoleError> {
    let Part { lines, is_first, before } = Part::read(&request, &api, Log::Project(member.project())).await?;
    let page = AuditPage {
        layout: Layout::project(&member, "Audit log", "audit"),
        above: None,
        lead: "Who did what in this project, the latest first. Not in it: single syncs that programs ask for, which the jobs show.",
        nothing: "As soon as somebody makes a key or invites a member, it stands here.",
        base: format!("{PATH}/projects/{}/audit", member.project()),
        lines,
        is_first,
        before,
    };
    answer(false, &page)
}

/// `GET /console/operations/log`.
pub async fn list_of_all(
    Operator(who): Operator,
    request: HttpRequest,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    let Part { lines, is_first, before } = Part::read(&request, &api, Log::Installation).await?;
    let page = AuditPage {
        layout: operations::layout(&who, &api, "What operators did").await?,
        above: Some((operations::base(), "Operations")),
        lead: "What was done to the whole installation, from here or on the command line, the latest first.",
        nothing: "As soon as somebody holds a lane or makes a user, it stands here.",
        base: format!("{}/log", operations::base()),
        lines,
        is_first,
        before,
    };
    answer(false, &page)
}

/// `GET /console/account/log`.
pub async fn list_of_account(
    who: SignedIn,
    request: HttpRequest,
    api: Data<Api>,
) -> Result<HttpResponse, ConsoleError> {
    let projects = api.within(api.store.memberships(who.user)).await?;
    let Part { lines, is_first, before } = Part::read(&request, &api, Log::Account(who.user)).await?;
    let page = AuditPage {
        layout: Layout::signed_in(&who, "What was done to your account", "account").with_projects(projects),
        above: Some((account::base(), "Your account")),
        lead: "Sign-ins, sessions and passwords, the latest first. Of refused sign-ins the last hundred are kept.",
        nothing: "Nothing is noted yet.",
        base: format!("{}/log", account::base()),
        lines,
        is_first,
        before,
    };
    answer(false, &page)
}

impl Part {
    /// What the query asks for. A page's cost does not grow with its depth.
    async fn read(request: &HttpRequest, api: &Api, log: Log) -> Result<Self, ConsoleError> {
        let asked = query(request, "before");
        let before = match asked.as_str() {
            "" => None,
            text => Some(text.parse::<AuditId>().map_err(|_| ConsoleError::NotFound)?),
        };
        let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
        let mut lines = api.within(api.store.audit_log(log, before, limit)).await?;
        let more = lines.len() > PAGE;
        lines.truncate(PAGE);
        Ok(Self {
            is_first: before.is_none(),
            before: lines.last().map(|line| line.id).filter(|_| more),
            lines: lines.into_iter().map(Line::new).collect(),
        })
    }
}
