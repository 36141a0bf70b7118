//! Links that make whoever holds them a member of a project, once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::{self, Action, By, Deed};
use super::members::{Actor, add_member};
use super::schema::{self, invitations, members, users};
use super::time::{from_now, present};
use super::{Store, StoreError, projects};
use crate::ids::{InvitationId, ProjectId, UserId};
use crate::people::{Email, Role};

/// How long an invitation works.
pub const INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// So many of a project's invitations may be open at a time.
pub const MAX_INVITATIONS: i64 = 100;

/// An invitation that works, as whoever holds its link sees it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Invitation {
    /// Where it leads.
    pub project: ProjectId,
    /// That project's name.
    pub project_name: String,
    /// What its holder may do there.
    pub role: Role,
}

/// An open invitation, as the project's owners see it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct OpenInvitation {
    /// The invitation.
    pub id: InvitationId,
    /// What its holder may do.
    pub role: Role,
    /// Who made it; `None`: the program.
    pub invited_by: Option<String>,
    /// When it stops working.
    pub expires_at: DateTime<Utc>,
}

/// What came of making an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Inviting {
    /// It is made.
    Done,
    /// There are as many open ones as may be.
    Full,
    /// Who asked for it is no owner of the project by now.
    NotOwner,
}

/// What came of joining with a new account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// The account is made, and is a member.
    Done(UserId, ProjectId),
    /// The invitation works no longer.
    NotFound,
    /// There is an account with this address.
    EmailTaken,
}

impl Store {
    /// Makes an invitation that is known by its SHA-256, for an owner of the project.
    pub async fn invite(
        &self,
        project: ProjectId,
        actor: Actor<'_>,
        role: Role,
        hash: &[u8; 32],
    ) -> Result<Inviting, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                projects::lock(connection, project).await?;
                // Whoever asked may be no owner any more: that ended all links of theirs, and this is not to be one.
                let mine = members::table.find((project, actor.user)).select(members::role);
                if mine.first::<Role>(connection).await.optional()? != Some(Role::Owner) {
                    return Ok(Inviting::NotOwner);
                }
                let mine = || invitations::table.filter(invitations::project_id.eq(project));
                diesel::delete(mine().filter(invitations::expires_at.le(present()))).execute(connection).await?;
                if mine().count().get_result::<i64>(connection).await? >= MAX_INVITATIONS {
                    return Ok(Inviting::Full);
                }
                insert(connection, project, role, hash, Some(actor.email)).await?;
                let (action, subject) = (Action::MemberInvited, role.to_string());
                audit::write(connection, &Deed { project, actor: By::User(actor.email), action, subject: &subject })
                    .await?;
                Ok(Inviting::Done)
            })
            .await
    }

    /// An invitation to be the owner of a project that has no member yet, and an operator of the installation; `false` if
    /// it has one. The one before it works no longer.
    pub async fn invite_first_owner(&self, project: ProjectId, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                projects::lock(connection, project).await?;
                if projects::has_members(connection, project).await? {
                    return Ok(false);
                }
                let before = invitations::project_id.eq(project).and(invitations::invited_by.is_null());
                diesel::delete(invitations::table.filter(before)).execute(connection).await?;
                insert(connection, project, Role::Owner, hash, None).await?;
                Ok(true)
            })
            .await
    }

    /// The invitations of a project that work, newest first.
    pub async fn invitations(&self, project: ProjectId) -> Result<Vec<OpenInvitation>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(invitations::table
            .filter(invitations::project_id.eq(project).and(invitations::expires_at.gt(present())))
            .order(invitations::id.desc())
            .select((invitations::id, invitations::role, invitations::invited_by, invitations::expires_at))
            .load(&mut connection)
            .await?)
    }

    /// Takes an invitation back; says whether there was one.
    pub async fn withdraw_invitation(
        &self,
        project: ProjectId,
        actor: Actor<'_>,
        id: InvitationId,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                let invitation =
                    invitations::table.filter(invitations::id.eq(id).and(invitations::project_id.eq(project)));
                let role: Option<Role> =
                    diesel::delete(invitation).returning(invitations::role).get_result(connection).await.optional()?;
                let Some(role) = role else { return Ok(false) };
                let (action, subject) = (Action::InvitationWithdrawn, role.to_string());
                audit::write(connection, &Deed { project, actor: By::User(actor.email), action, subject: &subject })
                    .await?;
                Ok(true)
            })
            .await
    }

    /// What the link with this hash leads to, if it works.
    pub async fn invitation(&self, hash: &[u8; 32]) -> Result<Option<Invitation>, StoreError> {
        let mut connection = self.connection().await?;
        let somebody = exists(members::table.filter(members::project_id.eq(invitations::project_id)));
        Ok(invitations::table
            .inner_join(schema::projects::table)
            .filter(invitations::hash.eq(hash.as_slice()).and(invitations::expires_at.gt(present())))
            // The program's own is for the first owner.
            .filter(invitations::invited_by.is_not_null().or(not(somebody)))
            .select((schema::projects::id, schema::projects::name, invitations::role))
            .first(&mut connection)
            .await
            .optional()?)
    }

    /// Takes the invitation for a user. `None`: it works no longer.
    pub async fn join(&self, hash: &[u8; 32], actor: Actor<'_>) -> Result<Option<ProjectId>, StoreError> {
        let mut connection = self.connection().await?;
        connection.transaction(async |connection| take(connection, hash, actor).await).await.map_err(StoreError::from)
    }

    /// Takes the invitation with a new account, all or nothing.
    pub async fn join_as_new_user(
        &self,
        hash: &[u8; 32],
        email: &Email,
        password: &str,
    ) -> Result<Joining, StoreError> {
        let mut connection = self.connection().await?;
        let user = UserId::new();
        let joined = connection
            .transaction(async |connection| {
                diesel::insert_into(users::table)
                    .values((users::id.eq(user), users::email.eq(email), users::password.eq(password)))
                    .execute(connection)
                    .await?;
                // An error, so that the account goes with it.
                take(connection, hash, Actor { user, email }).await?.ok_or(diesel::result::Error::NotFound)
            })
            .await;
        match joined {
            Ok(project) => Ok(Joining::Done(user, project)),
            Err(diesel::result::Error::NotFound) => Ok(Joining::NotFound),
            Err(error) if super::members::is_unique_violation(&error) => Ok(Joining::EmailTaken),
            Err(error) => Err(error.into()),
        }
    }
}

async fn insert(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    role: Role,
    hash: &[u8; 32],
    invited_by: Option<&Email>,
) -> QueryResult<()> {
    diesel::insert_into(invitations::table)
        .values((
            invitations::id.eq(InvitationId::new()),
            invitations::hash.eq(hash.as_slice()),
            invitations::project_id.eq(project),
            invitations::role.eq(role),
            invitations::invited_by.eq(invited_by.map(AsRef::<str>::as_ref)),
            // Nobody but the program has made it: whoever was shown the link has the server's shell.
            invitations::operator.eq(invited_by.is_none()),
            invitations::expires_at.eq(from_now(INVITATION_LIFETIME)),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends the open invitations that somebody made: who is no owner any more must not come back as one by their own link.
pub(super) async fn end_of(
    connection: &mut AsyncPgConnection,
    project: ProjectId,
    inviter: &Email,
) -> QueryResult<usize> {
    let theirs = invitations::project_id.eq(project).and(invitations::invited_by.eq(inviter.as_ref()));
    diesel::delete(invitations::table.filter(theirs)).execute(connection).await
}

/// Takes an invitation. The program's own is for the first owner: it is dead once there is a member.
async fn take(connection: &mut AsyncPgConnection, hash: &[u8; 32], actor: Actor<'_>) -> QueryResult<Option<ProjectId>> {
    let open = || {
        let known = invitations::table.filter(invitations::hash.eq(hash.as_slice()));
        known.filter(invitations::expires_at.gt(present()))
    };
    let found: Option<ProjectId> = open().select(invitations::project_id).first(connection).await.optional()?;
    let Some(project) = found else { return Ok(None) };
    projects::lock(connection, project).await?;
    let taken: Option<(Role, Option<String>, bool)> = diesel::delete(open())
        .returning((invitations::role, invitations::invited_by, invitations::operator))
        .get_result(connection)
        .await
        .optional()?;
    let Some((role, invited_by, makes_operator)) = taken else { return Ok(None) };
    if invited_by.is_none() && projects::has_members(connection, project).await? {
        return Ok(None);
    }
    if makes_operator {
        diesel::update(users::table.find(actor.user)).set(users::operator.eq(true)).execute(connection).await?;
        let (by, subject) = (By::User(actor.email), actor.email.as_ref());
        audit::write_of_all(connection, by, Action::OperatorMade, subject).await?;
    }
    add_member(connection, project, actor.user, role).await?;
    let (action, subject) = (Action::MemberJoined, role.to_string());
    audit::write(connection, &Deed { project, actor: By::User(actor.email), action, subject: &subject }).await?;
    Ok(Some(project))
}
