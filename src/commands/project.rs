//! The project that an operator names: by its id, or by its name where that is one project's alone.

use anyhow::bail;
use chrono::SecondsFormat;
use shared::ids::ProjectId;
use shared::people;
use shared::store::Store;
use shared::store::projects::NamedProject;

use crate::usage::UsageError;

/// The project of that id or name.
pub async fn find(store: &Store, named: &str) -> anyhow::Result<ProjectId> {
    let named = check(named)?;
    the_one(named, &store.projects_named(named).await?)
}

/// The same; it is made if nothing is called so. Says whose it is: a name may have been somebody else's before.
pub async fn find_or_add(store: &Store, named: &str) -> anyhow::Result<ProjectId> {
    let named = check(named)?;
    let found = store.find_or_add_project(named).await?;
    let id = the_one(named, &found)?;
    // By its name: whoever gives an id has meant this one.
    if named.parse::<ProjectId>().is_err() && found.iter().any(|project| project.named_in_dashboard) {
        tracing::warn!(
            project = named,
            %id,
            "somebody has given this project its name in the dashboard: look at its owners, whether it is the one that you mean"
        );
    }
    tracing::info!(project = named, %id, owners = owners(&found), "the project");
    Ok(id)
}

/// What can be a name, or an id.
pub fn check(named: &str) -> Result<&str, UsageError> {
    let wrong = || UsageError("--project: a name has 1 to 100 characters, all of them visible".into());
    people::name(named).ok_or_else(wrong)
}

fn the_one(named: &str, found: &[NamedProject]) -> anyhow::Result<ProjectId> {
    match found {
        [] => bail!("there is no project {named}"),
        [one] => Ok(one.id),
        several => {
            let lines: Vec<String> = several.iter().map(line).collect();
            bail!("several projects are called {named}, give the id of the one that you mean: {}", lines.join("; "))
        }
    }
}

fn line(project: &NamedProject) -> String {
    let made = project.created_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("{} (made {made}, owners: {})", project.id, owners(std::slice::from_ref(project)))
}

fn owners(projects: &[NamedProject]) -> String {
    let owners: Vec<&str> = projects.iter().flat_map(|project| &project.owners).map(AsRef::as_ref).collect();
    if owners.is_empty() { "none".to_owned() } else { owners.join(", ") }
}
