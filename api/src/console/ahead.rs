//! What lies before a project's batches, kept for some seconds: a batch's page is read every two seconds in each tab that shows
//! it, and to count what is ahead costs far more than the batch's own row.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared::ids::ProjectId;
use shared::store::batches::Ahead;

use crate::app::Api;
use crate::error::ApiError;

const KEEP_FOR: Duration = Duration::from_secs(10);

/// What was counted last.
#[derive(Debug, Default)]
pub struct Counted(Mutex<HashMap<ProjectId, (Instant, Ahead)>>);

/// What lies before the project's batches, as of some seconds ago.
pub async fn ahead(api: &Api, project: ProjectId) -> Result<Ahead, ApiError> {
    let counted = &api.console.ahead;
    if let Some(known) = counted.known(project, Instant::now()) {
        return Ok(known);
    }
    let ahead = api.within(api.store.ahead(project)).await?;
    counted.keep(project, &ahead, Instant::now());
    Ok(ahead)
}

impl Counted {
    fn known(&self, project: ProjectId, now: Instant) -> Option<Ahead> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, ahead) = counted.get(&project)?;
        is_new(*at, now).then(|| ahead.clone())
    }

    fn keep(&self, project: ProjectId, ahead: &Ahead, now: Instant) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.retain(|_, (at, _)| is_new(*at, now));
        counted.insert(project, (now, ahead.clone()));
    }
}

fn is_new(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < KEEP_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_for_some_seconds_for_each_project() {
        let (counted, start) = (Counted::default(), Instant::now());
        let (one, other) = (ProjectId::new(), ProjectId::new());
        let ahead = |syncs| Ahead { syncs, pages: 1.0, others: Vec::new() };
        counted.keep(one, &ahead(1), start);
        counted.keep(other, &ahead(2), start + KEEP_FOR / 2);
        let known = |project, after| counted.known(project, start + after).map(|ahead| ahead.syncs);
        assert_eq!((known(one, KEEP_FOR / 2), known(other, KEEP_FOR / 2)), (Some(1), Some(2)));
        assert_eq!((known(one, KEEP_FOR), known(other, KEEP_FOR)), (None, Some(2)));
        counted.keep(one, &ahead(3), start + KEEP_FOR * 2);
        assert_eq!(known(one, KEEP_FOR * 2), Some(3));
        assert_eq!(counted.0.lock().unwrap().len(), 1, "what is old takes no room");
    }
}
