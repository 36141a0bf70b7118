//! Who did what, in a project or to the whole installation. Each line is written in the transaction that does it.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use strum::{AsRefStr, Display, EnumIter, EnumString};

use super::schema::audit_log;
use super::{Store, StoreError};
use crate::ids::{AuditId, ProjectId};
use crate::people::Email;

/// What can be done. The names are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr, Display, EnumIter, EnumString)]
#[strum(serialize_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    ProjectCreated,
    ProjectRenamed,
    KeyCreated,
    KeyRerolled,
    KeyRevoked,
    MemberInvited,
    InvitationWithdrawn,
    MemberJoined,
    RoleChanged,
    MemberRemoved,
    CreatorSynced,
    CreatorDisconnected,
    ConsentBegun,
    JobRetried,
    DeadJobsRetried,
    JobDiscarded,
    ResyncBegun,
    LanePaused,
    LaneDrained,
    LaneResumed,
}

/// Something that somebody did in a project.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// Where.
    pub project: ProjectId,
    /// Who.
    pub actor: &'a Email,
    /// What.
    pub action: Action,
    /// To whom or what, as people call it.
    pub subject: &'a str,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct AuditLine {
    /// The line. A later one's is greater.
    pub id: AuditId,
    /// The email that the user had then.
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
    diesel::insert_into(audit_log::table)
        .values((
            audit_log::id.eq(AuditId::new()),
            audit_log::project_id.eq(deed.project),
            audit_log::actor.eq(deed.actor),
            audit_log::action.eq(deed.action.as_ref()),
            audit_log::subject.eq(deed.subject),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes a line of the whole installation, in the caller's transaction.
pub(super) async fn write_of_all(
    connection: &mut AsyncPgConnection,
    actor: &Email,
    action: Action,
    subject: &str,
) -> QueryResult<()> {
    diesel::insert_into(audit_log::table)
        .values((
            audit_log::id.eq(AuditId::new()),
            audit_log::actor.eq(actor),
            audit_log::action.eq(action.as_ref()),
            audit_log::subject.eq(subject),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// The last `limit` lines of the whole installation, newest first: what operators did that is no project's.
    pub async fn audit_log_of_all(&self, limit: i64) -> Result<Vec<AuditLine>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(audit_log::table
            .filter(audit_log::project_id.is_null())
            .order(audit_log::id.desc())
            .limit(limit)
            .select((audit_log::id, audit_log::actor, audit_log::action, audit_log::subject, audit_log::at))
            .load(&mut connection)
            .await?)
    }

    /// Writes a line about something that is not done by one statement of Postgres's.
    pub async fn add_deed(&self, deed: &Deed<'_>) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        Ok(write(&mut connection, deed).await?)
    }

    /// At most `limit` lines of `project`, newest first, from before the line `before`.
    pub async fn audit_log(
        &self,
        project: ProjectId,
        before: Option<AuditId>,
        limit: i64,
    ) -> Result<Vec<AuditLine>, StoreError> {
        let mut query = audit_log::table
            .filter(audit_log::project_id.eq(project))
            .order(audit_log::id.desc())
            .limit(limit)
            .select((audit_log::id, audit_log::actor, audit_log::action, audit_log::subject, audit_log::at))
            .into_boxed();
        if let Some(before) = before {
            query = query.filter(audit_log::id.lt(before));
        }
        let mut connection = self.connection().await?;
        Ok(query.load(&mut connection).await?)
    }
}
