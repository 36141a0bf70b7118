//! Projects as operators know them, by id or by name. A name is a label: anybody may give theirs the same one.

use chrono::{DateTime, Utc};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::schema::{members, projects, users};
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
                let lock = diesel::sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(NAME_LOCK);
                lock.execute(connection).await?;
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

    /// All projects, oldest first.
    pub async fn projects(&self) -> Result<Vec<ProjectId>, StoreError> {
        let mut connection = self.connection().await?;
        let all = projects::table.order((projects::created_at, projects::id)).select(projects::id);
        Ok(all.load(&mut connection).await?)
    }
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
        .filter(members::project_id.eq_any(ids).and(members::role.eq(Role::Owner)))
        .order((members::created_at, members::user_id))
        .select((members::project_id, users::email))
        .load(connection)
        .await?;
    let owners_of = |id| owners.iter().filter(|(of, _)| *of == id).map(|(_, email)| email.clone()).collect();
    Ok(found.into_iter().map(|(id, created_at)| NamedProject { id, created_at, owners: owners_of(id) }).collect())
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
