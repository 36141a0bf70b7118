//! Every stored token under the first key of the list, while everything runs.

use std::collections::BTreeMap;

use futures::StreamExt as _;

use super::seal::seal_anew;
use crate::crypto::{KeyId, KeyRing, OpenError};
use crate::ids::CredentialId;
use crate::store::credentials::Credential;
use crate::store::sealed::SealedCount;
use crate::store::{Store, StoreError};

/// Rows that are read at a time.
const BATCH: i64 = 500;
/// Rows that are written at a time; the store has as many connections, and one more.
pub const WRITERS: usize = 8;
/// How often all rows are walked. A second time finds what a process with an older list has sealed meanwhile.
const WALKS: usize = 3;

/// What a rotation has done, and what it has left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Rows that are under the current key by this rotation.
    pub resealed: u64,
    /// Rows whose tokens the keys of the list do not open, and why; the key's id, if it can be read.
    pub unreadable: BTreeMap<(Option<KeyId>, &'static str), u64>,
    /// What is stored at the end.
    pub keys: KeyUse,
}

/// How many stored tokens each key has sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// The list's first key.
    pub current: u64,
    /// Keys of the list that are not the first.
    pub older: BTreeMap<KeyId, u64>,
    /// Keys that the list lacks.
    pub unknown: BTreeMap<KeyId, u64>,
    /// What no version of this program that we know of has sealed.
    pub foreign: u64,
}

impl KeyUse {
    /// Counts what is stored now.
    pub async fn count(store: &Store, keyring: &KeyRing) -> Result<Self, StoreError> {
        let mut found = Self::default();
        for SealedCount { header, tokens } in store.sealed_counts().await? {
            let tokens = u64::try_from(tokens).unwrap_or(0);
            match KeyId::that_sealed(&header) {
                Some(id) if id == keyring.current_id() => found.current += tokens,
                Some(id) if keyring.ids().any(|known| known == id) => *found.older.entry(id).or_default() += tokens,
                Some(id) => *found.unknown.entry(id).or_default() += tokens,
                None => found.foreign += tokens,
            }
        }
        Ok(found)
    }

    /// Whether everything is under the current key.
    pub fn is_current_alone(&self) -> bool {
        self.older.is_empty() && self.unknown.is_empty() && self.foreign == 0
    }
}

/// Seals every token with the first key. `progress` hears how many rows were looked at in this walk, after each batch.
///
/// It may be killed and started again, and run twice at once: a row is written only if its pair is still the one that was
/// read, and what is under the current key is left alone.
pub async fn rotate(store: &Store, keyring: &KeyRing, mut progress: impl FnMut(u64)) -> Result<Rotation, StoreError> {
    let mut rotation = Rotation::default();
    for _ in 0..WALKS {
        rotation.unreadable.clear();
        walk(store, keyring, &mut rotation, &mut progress).await?;
        rotation.keys = KeyUse::count(store, keyring).await?;
        if rotation.keys.older.is_empty() {
            break;
        }
    }
    Ok(rotation)
}

async fn walk(
    store: &Store,
    keyring: &KeyRing,
    rotation: &mut Rotation,
    progress: &mut impl FnMut(u64),
) -> Result<(), StoreError> {
    let header = keyring.header();
    let mut after: Option<CredentialId> = None;
    let mut seen = 0;
    loop {
        let batch = store.credentials_not_under(&header, after, BATCH).await?;
        let Some(last) = batch.last() else { return Ok(()) };
        after = Some(last.id);
        seen += batch.len() as u64;
        let mut writes = futures::stream::iter(batch.into_iter().map(|credential| write(store, keyring, credential)))
            .buffer_unordered(WRITERS);
        while let Some(written) = writes.next().await {
            match written? {
                Row::Resealed => rotation.resealed += 1,
                // A renewal came in between: the walk after this one sees under which key.
                Row::Changed => {}
                Row::Unreadable(key, why) => *rotation.unreadable.entry((key, why)).or_default() += 1,
            }
        }
        progress(seen);
    }
}

/// What became of a row.
enum Row {
    Resealed,
    Changed,
    Unreadable(Option<KeyId>, &'static str),
}

async fn write(store: &Store, keyring: &KeyRing, credential: Credential) -> Result<Row, StoreError> {
    let (access, refresh) = match seal_anew(keyring, &credential) {
        Ok(pair) => pair,
        Err(OpenError::Format) => return Ok(Row::Unreadable(None, "nothing that was sealed here")),
        Err(OpenError::UnknownKey { key_id }) => return Ok(Row::Unreadable(Some(key_id), "the list lacks this key")),
        Err(OpenError::Refused { key_id }) => return Ok(Row::Unreadable(Some(key_id), "changed since it was sealed")),
    };
    let written = store.reseal_pair(credential.id, credential.version, &access, refresh.as_deref()).await?;
    Ok(if written { Row::Resealed } else { Row::Changed })
}

/// How many of the newest rows do not open, of at most `limit`: the key is there, and they were changed.
pub async fn count_damaged(store: &Store, keyring: &KeyRing, limit: i64) -> Result<usize, StoreError> {
    let newest = store.newest_credentials(limit).await?;
    let damaged = |credential: &&Credential| matches!(seal_anew(keyring, credential), Err(OpenError::Refused { .. }));
    Ok(newest.iter().filter(damaged).count())
}
