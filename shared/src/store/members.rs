//! Projects as people see them, and who may do what in them. A project that has members keeps an owner.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, By, Deed};
use super::schema::{members, projects, users};
use super::{Store, StoreError};
use crate::ids::{ProjectId, UserId};
use crate::people::{Email, Role};

/// A project, and what one user may do in it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Membership {
    /// The project.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
}

/// A member of a project.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// Their address.
    pub email: Email,
    /// What they may do.
    pub role: Role,
    /// Since when they are a member.
    pub since: DateTime<Utc>,
}

/// Who does something.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// The user.
    pub user: UserId,
    /// Their address, for the log.
    pub email: &'a Email,
}

/// What came of a change to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// It is done.
    Done,
    /// There is no such member.
    NotFound,
    /// It would leave the project without an owner.
    LastOwner,
}

impl Store {
    /// The projects that a user is a member of, by name.
    pub async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(members::table
            .inner_join(projects::table)
            .filter(members::user_id.eq(user))
            .order(projects::name)
            .select((projects::id, projects::name, members::role))
            .load(&mut connection)
            .await?)
    }

    /// Makes a project, whose owner is who makes it. Others may be called the same.
    pub async fn create_project(&self, actor: Actor<'_>, name: &str) -> Result<ProjectId, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let project = super::projects::insert(connection, name).await?;
                add_member(connection, project, actor.user, Role::Owner).await?;
                let action = Action::ProjectCreated;
                audit::write(connection, &Deed { project, actor: By::User(actor.email), action, subject: name })
                    .await?;
                Ok(project)
            })
            .await
    }

    /// Makes a user an owner of a project: for the command line.
    pub async fn add_owner(&self, owner: Actor<'_>, project: ProjectId) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                add_member(connection, project, owner.user, Role::Owner).await?;
                let (action, subject) = (Action::MemberAdded, format!("{} ({})", owner.email, Role::Owner));
                audit::write(connection, &Deed { project, actor: By::CommandLine, action, subject: &subject }).await
            })
            .await
            .map_err(StoreError::from)
    }

    /// Calls a project something else.
    pub async fn rename_project(&self, project: ProjectId, actor: Actor<'_>, name: &str) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                diesel::update(projects::table.find(project)).set(projects::name.eq(name)).execute(connection).await?;
                let action = Action::ProjectRenamed;
                audit::write(connection, &Deed { project, actor: By::User(actor.email), action, subject: name }).await
            })
            .await
            .map_err(StoreError::from)
    }

    /// At most `limit` of a project's members, those who have been it longest first, behind the one who is it since then.
    pub async fn members(
        &self,
        project: ProjectId,
        after: Option<(DateTime<Utc>, UserId)>,
        limit: i64,
    ) -> Result<Vec<Member>, StoreError> {
        let mut query = members::table.inner_join(users::table).filter(members::project_id.eq(project)).into_boxed();
        if let Some((since, user)) = after {
            query = query
                .filter(members::created_at.ge(since))
                .filter(members::created_at.gt(since).or(members::user_id.gt(user)));
        }
        let mut connection = self.connection().await?;
        Ok(query
            .order((members::created_at, members::user_id))
            .limit(limit)
            .select((users::id, users::email, members::role, members::created_at))
            .load(&mut connection)
            .await?)
    }

    /// A project's member; `None` if the user is none.
    pub async fn member(&self, project: ProjectId, user: UserId) -> Result<Option<Member>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(members::table
            .inner_join(users::table)
            .filter(members::project_id.eq(project).and(members::user_id.eq(user)))
            .select((users::id, users::email, members::role, members::created_at))
            .first(&mut connection)
            .await
            .optional()?)
    }

    /// Lets a member do more, or less; `None` removes them.
    pub async fn change_member(
        &self,
        project: ProjectId,
        actor: Actor<'_>,
        user: UserId,
        role: Option<Role>,
    ) -> Result<MemberChange, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                // One change at a time: two owners who remove each other must not both succeed.
                super::projects::lock(connection, project).await?;
                let found: Option<(Email, Role)> = members::table
                    .inner_join(users::table)
                    .filter(members::project_id.eq(project).and(members::user_id.eq(user)))
                    .select((users::email, members::role))
                    .first(connection)
                    .await
                    .optional()?;
                let Some((email, before)) = found else { return Ok(MemberChange::NotFound) };
                if before == Role::Owner && role != Some(Role::Owner) && is_last_owner(connection, project).await? {
                    return Ok(MemberChange::LastOwner);
                }
                let member = members::table.find((project, user));
                let (action, subject) = if let Some(role) = role {
                    diesel::update(member).set(members::role.eq(role)).execute(connection).await?;
                    (Action::RoleChanged, format!("{email}: {before} → {role}"))
                } else {
                    diesel::delete(member).execute(connection).await?;
                    (Action::MemberRemoved, email.to_string())
                };
                if role != Some(Role::Owner) {
                    super::invitations::end_of(connection, project, &email).await?;
                }
                audit::write(connection, &Deed { project, actor: By::User(actor.email), action, subject: &subject })
                    .await?;
                Ok(MemberChange::Done)
            })
            .await
    }
}

/// Makes a user a member; one who is it already keeps the better of the two roles. Locks the project, as every change of its
/// members does: a role that was read must be the one that is written over.
pub(super) async fn add_member(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    user: UserId,
    role: Role,
) -> QueryResult<()> {
    super::projects::lock(connection, project).await?;
    let before: Option<Role> =
        members::table.find((project, user)).select(members::role).first(connection).await.optional()?;
    let role = before.map_or(role, |before| before.max(role));
    diesel::insert_into(members::table)
        .values((members::project_id.eq(project), members::user_id.eq(user), members::role.eq(role)))
        .on_conflict((members::project_id, members::user_id))
        .do_update()
        .set(members::role.eq(role))
        .execute(connection)
        .await?;
    Ok(())
}

async fn is_last_owner(connection: &mut AsyncPgConnection, project: ProjectId) -> QueryResult<bool> {
    let owners = members::table.filter(members::project_id.eq(project).and(members::role.eq(Role::Owner)));
    Ok(owners.count().get_result::<i64>(connection).await? <= 1)
}

pub(super) fn is_unique_violation(error: &diesel::result::Error) -> bool {
    use diesel::result::{DatabaseErrorKind, Error};
    matches!(error, Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
}
