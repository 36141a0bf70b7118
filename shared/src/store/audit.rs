//! Who did what: in a project, to the whole installation, or to an account. Each line is written in the transaction that does it.
//!
//! Not in it: single syncs that a program asks for. They are many, and the list of jobs has them.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use strum::{AsRefStr, Display, EnumIter, EnumString};

use super::creators::name_of;
use super::members::Actor;
use super::schema::{api_keys, audit_log, creators};
use super::{Store, StoreError};
use crate::ids::{ApiKeyId, AuditId, CreatorId, ProjectId, UserId};
use crate::people::Email;

/// So many refused sign-ins of an account are kept, the latest: they are the one deed that needs no right.
const REFUSALS: i64 = 100;
/// Who did what nobody is known to have done.
const SOMEBODY: &str = "somebody";

/// What can be done. The names are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsRefStr, Display, EnumIter, EnumString)]
#[strum(serialize_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    ProjectCreated,
    ProjectRenamed,
    ProjectResyncChanged,
    KeyCreated,
    KeyRerolled,
    KeyRevoked,
    MemberInvited,
    InvitationWithdrawn,
    MemberJoined,
    MemberAdded,
    RoleChanged,
    MemberRemoved,
    CreatorSynced,
    CreatorChanged,
    CreatorDisconnected,
    ConsentBegun,
    CreatorConnected,
    JobRetried,
    DeadJobsRetried,
    JobDiscarded,
    ResyncBegun,
    LanePaused,
    LaneDrained,
    LaneResumed,
    PasswordLinkMade,
    OperatorMade,
    OperatorUnmade,
    SignedIn,
    SignInRefused,
    SignedOut,
    SessionEnded,
    OtherSessionsEnded,
    PasswordChanged,
    AccountClosed,
}

/// Who does something.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// A user, called by their address.
    User(&'a Email),
    /// A program with this key, called by the key's first characters.
    Key(ApiKeyId),
    /// Whoever has the server's shell.
    CommandLine,
    /// Whoever the log was told of before, when the deed was begun; `None`: nobody knows.
    Noted(Option<&'a str>),
}

impl By<'_> {
    /// How the log calls them. No part of a key but its first characters, which all of its project see.
    pub(super) async fn name(self, connection: &mut AsyncPgConnection) -> QueryResult<String> {
        Ok(match self {
            Self::User(email) => email.to_string(),
            Self::Key(id) => {
                let prefix = api_keys::table.find(id).select(api_keys::prefix);
                let prefix: Option<String> = prefix.first(connection).await.optional()?;
                prefix.map_or_else(|| "API key".to_owned(), |prefix| format!("API key {prefix}…"))
            }
            Self::CommandLine => "command line".to_owned(),
            Self::Noted(name) => name.unwrap_or(SOMEBODY).to_owned(),
        })
    }
}

/// Something that somebody did in a project.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// Where.
    pub project: ProjectId,
    /// Who.
    pub actor: By<'a>,
    /// What.
    pub action: Action,
    /// To whom or what, as people call it.
    pub subject: &'a str,
}

/// Whose lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// A project's.
    Project(ProjectId),
    /// Those of the whole installation: what is no project's and no account's.
    Installation,
    /// An account's.
    Account(UserId),
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct AuditLine {
    /// The line. A later one's is greater.
    pub id: AuditId,
    /// What they were called then.
    pub actor: String,
    /// An [`Action`]'s name, or one that a newer version knows.
    pub action: String,
    /// To whom or what, as it was called then.
    pub subject: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Writes a line, in the caller's transaction.
pub(super) async fn write(connection: &mut AsyncPgConnection, deed: &Deed<'_>) -> QueryResult<()> {
    insert(connection, Log::Project(deed.project), deed.actor, deed.action, deed.subject).await
}

/// Writes a line of the whole installation, in the caller's transaction.
pub(super) async fn write_of_all(
    connection: &mut AsyncPgConnection,
    actor: By<'_>,
    action: Action,
    subject: &str,
) -> QueryResult<()> {
    insert(connection, Log::Installation, actor, action, subject).await
}

/// Writes a line about somebody's own account, in the caller's transaction.
pub(super) async fn write_of_account(
    connection: &mut AsyncPgConnection,
    Actor { user, email }: Actor<'_>,
    action: Action,
    subject: &str,
) -> QueryResult<()> {
    insert(connection, Log::Account(user), By::User(email), action, subject).await
}

/// Writes a line about an account by somebody else, in the caller's transaction.
pub(super) async fn write_about_account(
    connection: &mut AsyncPgConnection,
    user: UserId,
    actor: By<'_>,
    action: Action,
    subject: &str,
) -> QueryResult<()> {
    insert(connection, Log::Account(user), actor, action, subject).await
}

async fn insert(
    connection: &mut AsyncPgConnection,
    log: Log,
    actor: By<'_>,
    action: Action,
    subject: &str,
) -> QueryResult<()> {
    let (project, user) = match log {
        Log::Project(project) => (Some(project), None),
        Log::Installation => (None, None),
        Log::Account(user) => (None, Some(user)),
    };
    let actor = actor.name(connection).await?;
    diesel::insert_into(audit_log::table)
        .values((
            audit_log::id.eq(AuditId::new()),
            audit_log::project_id.eq(project),
            audit_log::user_id.eq(user),
            audit_log::actor.eq(actor),
            audit_log::action.eq(action.as_ref()),
            audit_log::subject.eq(subject),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// What people call a creator.
pub(super) async fn creator_name(connection: &mut AsyncPgConnection, creator: CreatorId) -> QueryResult<String> {
    let names = (creators::username, creators::display_name, creators::external_id);
    let row = creators::table.find(creator).select(names);
    let (username, shown, account): (Option<String>, Option<String>, String) = row.first(connection).await?;
    Ok(name_of(username.as_deref(), shown.as_deref(), &account).to_owned())
}

impl Store {
    /// At most `limit` lines, newest first, from before the line `before`.
    pub async fn audit_log(&self, log: Log, before: Option<AuditId>, limit: i64) -> Result<Vec<AuditLine>, StoreError> {
        let mut query = audit_log::table
            .order(audit_log::id.desc())
            .limit(limit)
            .select((audit_log::id, audit_log::actor, audit_log::action, audit_log::subject, audit_log::at))
            .into_boxed();
        query = match log {
            Log::Project(project) => query.filter(audit_log::project_id.eq(project)),
            Log::Installation => query.filter(audit_log::project_id.is_null().and(audit_log::user_id.is_null())),
            Log::Account(user) => query.filter(audit_log::user_id.eq(user)),
        };
        if let Some(before) = before {
            query = query.filter(audit_log::id.lt(before));
        }
        let mut connection = self.connection().await?;
        Ok(query.load(&mut connection).await?)
    }

    /// Notes that somebody was refused who tried to sign in as this user, from that address. Of these lines the latest are
    /// kept, and those alone: anybody can make them.
    pub async fn note_refused_sign_in(&self, user: UserId, address: &str) -> Result<(), StoreError> {
        let action = Action::SignInRefused;
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                insert(connection, Log::Account(user), By::Noted(None), action, address).await?;
                let lines = diesel::alias!(audit_log as lines);
                let too_many = lines
                    .filter(lines.field(audit_log::user_id).eq(user))
                    .filter(lines.field(audit_log::action).eq(action.as_ref()))
                    .order(lines.field(audit_log::id).desc())
                    .offset(REFUSALS)
                    .select(lines.field(audit_log::id));
                diesel::delete(audit_log::table.filter(audit_log::id.eq_any(too_many))).execute(connection).await
            })
            .await?;
        Ok(())
    }
}
