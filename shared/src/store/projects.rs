//! Projects as operators know them, by id or by name. A name is a label: anybody may give theirs the same one.

use chrono::{DateTime, Utc};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::audit::Action;
use super::schema::{audit_log, members, projects, users};
use super::{Store, StoreError};
use crate::ids::ProjectId;
use crate::people::{Email, Role};

/// Held while a project is made under a name, so that two who ask for the same one make it once.
const NAME_LOCK: i64 = 0x6d65_7472_6971_6e61;

/// A project that somebody has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedProject {
    /// The project.
    pub id: ProjectId,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who decides about it; nobody, if it was made on the command line.
    pub owners: Vec<Email>,
    /// Whether somebody has given it this or another name in the dashboard: then the name is no word of the server's shell.
    pub named_in_dashboard: bool,
}

impl Store {
    /// The project with this id; or, if the text is no id, all that are called so, oldest first.
    pub async fn projects_named(&self, named: &str) -> Result<Vec<NamedProject>, StoreError> {
        let mut connection = self.connection().await?;
        Ok(find(&mut connection, named).await?)
    }

    /// The same; if nothing is called so, a new one is. An id makes nothing.
    pub async fn find_or_add_project(&self, named: &str) -> Result<Vec<NamedProject>, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                lock_names(connection).await?;
                let found = find(connection, named).await?;
                if !found.is_empty() || named.parse::<ProjectId>().is_ok() {
                    return Ok(found);
                }
                insert(connection, named).await?;
                find(connection, named).await
            })
            .await
            .map_err(StoreError::from)
    }

    /// The oldest project of that name that nobody has named in the dashboard; a new one, if there is none. What is made for
    /// it does not go to whoever has called theirs the same.
    pub async fn find_or_add_shells_project(&self, name: &str) -> Result<ProjectId, StoreError> {
        let mut connection = self.connection().await?;
        connection
            .transaction(async |connection| {
                lock_names(connection).await?;
                let found = find(connection, name).await?.into_iter().find(|project| !project.named_in_dashboard);
                match found {
                    Some(project) => Ok(project.id),
                    None => insert(connection, name).await,
                }
            })
            .await
            .map_err(StoreError::from)
    }

    /// All projects, oldest first.
    pub async fn projects(&self) -> Result<Vec<ProjectId>, StoreError> {
        let mut connection = self.connection().await?;
        let all = projects::table.order((projects::created_at, projects::id)).select(projects::id);
        Ok(all.load(&mut connection).await?)
    }
}

async fn lock_names(connection: &mut AsyncPgConnection) -> QueryResult<usize> {
    diesel::sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(NAME_LOCK).execute(connection).await
}

async fn find(connection: &mut AsyncPgConnection, named: &str) -> QueryResult<Vec<NamedProject>> {
    let mut query = projects::table
        .order((projects::created_at, projects::id))
        .select((projects::id, projects::created_at))
        .into_boxed();
    query = match named.parse::<ProjectId>() {
        Ok(id) => query.filter(projects::id.eq(id)),
        Err(_) => query.filter(projects::name.eq(named)),
    };
    let found: Vec<(ProjectId, DateTime<Utc>)> = query.load(connection).await?;
    let ids: Vec<ProjectId> = found.iter().map(|(id, _)| *id).collect();
    let owners: Vec<(ProjectId, Email)> = members::table
        .inner_join(users::table)
        .filter(members::project_id.eq_any(&ids).and(members::role.eq(Role::Owner)))
        .order((members::created_at, members::user_id))
        .select((members::project_id, users::email))
        .load(connection)
        .await?;
    let owners_of = |id| owners.iter().filter(|(of, _)| *of == id).map(|(_, email)| email.clone()).collect();
    let naming = [Action::ProjectCreated.as_ref(), Action::ProjectRenamed.as_ref()];
    let named: Vec<Option<ProjectId>> = audit_log::table
        .filter(audit_log::project_id.eq_any(&ids).and(audit_log::action.eq_any(naming)))
        .select(audit_log::project_id)
        .distinct()
        .load(connection)
        .await?;
    let project = |(id, created_at)| NamedProject {
        id,
        created_at,
        owners: owners_of(id),
        named_in_dashboard: named.contains(&Some(id)),
    };
    Ok(found.into_iter().map(project).collect())
}

/// Makes a project, whoever else's is called the same.
pub(super) async fn insert(connection: &mut AsyncPgConnection, name: &str) -> QueryResult<ProjectId> {
    let id = ProjectId::new();
    let project = (projects::id.eq(id), projects::name.eq(name));
    diesel::insert_into(projects::table).values(project).execute(connection).await?;
    Ok(id)
}

/// Takes the right to change who is a member: one at a time, so that the rules about all of them hold.
pub(super) async fn lock(connection: &mut AsyncPgConnection, project: ProjectId) -> QueryResult<()> {
    let row = projects::table.find(project).select(projects::id).for_no_key_update();
    row.first::<ProjectId>(connection).await.map(drop)
}

/// Whether somebody is a member.
pub(super) async fn has_members(connection: &mut AsyncPgConnection, project: ProjectId) -> QueryResult<bool> {
    diesel::select(exists(members::table.filter(members::project_id.eq(project)))).get_result(connection).await
}
