//! Webhooks.
use crate::state::State;

#[derive(Clone, Copy)]
pub(crate) enum Reason {
    Developer,
}

#[derive(Default)]
pub(crate) struct Webhooks {}

impl Webhooks {
    pub(crate) fn removed(&self, _state: &State, _open_id: &str, _reason: Reason) {}
}
