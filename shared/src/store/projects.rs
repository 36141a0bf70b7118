//! Projects: who may change something of them at a time.

use diesel::dsl::exists;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::schema::{members, projects};
use crate::ids::ProjectId;

/// Takes the right to change who is a member: one at a time, so that the rules about all of them hold.
pub(super) async fn lock(connection: &mut AsyncPgConnection, project: ProjectId) -> QueryResult<()> {
    let row = projects::table.find(project).select(projects::id).for_no_key_update();
    row.first::<ProjectId>(connection).await.map(drop)
}

/// Whether somebody is a member.
pub(super) async fn has_members(connection: &mut AsyncPgConnection, project: ProjectId) -> QueryResult<bool> {
    diesel::select(exists(members::table.filter(members::project_id.eq(project)))).get_result(connection).await
}
