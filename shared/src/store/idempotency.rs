//! Requests that came with an `Idempotency-Key`: who runs one, and what was answered. Who runs one holds its lease, which ends
//! by itself when its process dies.

use std::time::Duration;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::schema::idempotency_keys as requests;
use super::time::{ago, from_now, present};
use super::{Store, StoreError};
use crate::ids::ProjectId;

/// How long an answer is kept (CONTRACT, `Idempotency-Key`).
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long a run is believed to go on without a word of it: what a crash costs a client.
const LEASE: Duration = Duration::from_secs(15);
/// How often a request is looked for that is ended while one looks.
const LOOKS: usize = 3;

/// Which request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKey {
    /// Whose.
    pub project: ProjectId,
    /// The SHA-256 of its route and key.
    pub hash: [u8; 32],
}

/// Leave to run a request: the only one, until it is not renewed for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLease {
    /// Which one.
    pub key: RequestKey,
    owner: Uuid,
}

/// What is known of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestClaim {
    /// Nothing: the caller runs it.
    New(RequestLease),
    /// What it was answered, as it was stored.
    Answered(Vec<u8>),
    /// Somebody runs it.
    Running,
    /// Its key came with another body.
    OtherBody,
}

impl Store {
    /// Takes a request, unless somebody has; one whose runner has died, and one from before yesterday, can be taken again.
    pub async fn claim_request(&self, key: RequestKey, body_hash: &[u8; 32]) -> Result<RequestClaim, StoreError> {
        let owner = Uuid::new_v4();
        let mut connection = self.connection().await?;
        let forgotten = requests::created_at.le(ago(KEPT));
        let abandoned = requests::answer
            .is_null()
            .and(requests::lease_expires_at.le(present()))
            .and(requests::body_hash.eq(excluded(requests::body_hash)));
        for _ in 0..LOOKS {
            let insert = diesel::insert_into(requests::table)
                .values((
                    requests::project_id.eq(key.project),
                    requests::request_hash.eq(key.hash.as_slice()),
                    requests::body_hash.eq(body_hash.as_slice()),
                    requests::lease_owner.eq(owner),
                    requests::lease_expires_at.eq(from_now(LEASE)),
                ))
                .on_conflict((requests::project_id, requests::request_hash))
                .do_update()
                .set((
                    requests::body_hash.eq(excluded(requests::body_hash)),
                    requests::lease_owner.eq(excluded(requests::lease_owner)),
                    requests::lease_expires_at.eq(excluded(requests::lease_expires_at)),
                    requests::answer.eq(None::<Vec<u8>>),
                    requests::created_at.eq(present()),
                ));
            let taken = diesel::query_dsl::methods::FilterDsl::filter(insert, forgotten.or(abandoned))
                .execute(&mut connection)
                .await?;
            if taken > 0 {
                return Ok(RequestClaim::New(RequestLease { key, owner }));
            }
            let known: Option<(Vec<u8>, Option<Vec<u8>>)> = requests::table
                .find((key.project, key.hash.as_slice()))
                .select((requests::body_hash, requests::answer))
                .first(&mut connection)
                .await
                .optional()?;
            match known {
                // It was given up just now.
                None => {}
                Some((known, _)) if known != body_hash => return Ok(RequestClaim::OtherBody),
                Some((_, Some(answer))) => return Ok(RequestClaim::Answered(answer)),
                Some((_, None)) => return Ok(RequestClaim::Running),
            }
        }
        Ok(RequestClaim::Running)
    }

    /// Says that a request still runs. False: somebody else runs it by now.
    pub async fn renew_request(&self, lease: &RequestLease) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let renewed = diesel::update(held(lease))
            .set(requests::lease_expires_at.eq(from_now(LEASE)))
            .execute(&mut connection)
            .await?;
        Ok(renewed > 0)
    }

    /// Keeps what a request was answered. False: somebody else runs it by now, and will keep another answer.
    pub async fn finish_request(&self, lease: &RequestLease, answer: &[u8]) -> Result<bool, StoreError> {
        let mut connection = self.connection().await?;
        let kept = diesel::update(held(lease)).set(requests::answer.eq(answer)).execute(&mut connection).await?;
        Ok(kept > 0)
    }

    /// Gives up a request that has no answer to be kept: the next one runs it.
    pub async fn release_request(&self, lease: &RequestLease) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        diesel::delete(held(lease)).execute(&mut connection).await?;
        Ok(())
    }

    /// Forgets an answer that nobody can open any more.
    pub async fn forget_request(&self, key: RequestKey, answer: &[u8]) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        let known = requests::table.find((key.project, key.hash.as_slice())).filter(requests::answer.eq(answer));
        diesel::delete(known).execute(&mut connection).await?;
        Ok(())
    }

    /// Forgets those from before yesterday; at most `limit` at a time.
    pub async fn prune_requests(&self, limit: i64) -> Result<usize, StoreError> {
        let mut connection = self.connection().await?;
        let old = diesel::alias!(requests as old_requests);
        let hashes = old
            .filter(old.field(requests::created_at).le(ago(KEPT)))
            .select(old.field(requests::request_hash))
            .limit(limit);
        let forgotten =
            requests::table.filter(requests::request_hash.eq_any(hashes)).filter(requests::created_at.le(ago(KEPT)));
        Ok(diesel::delete(forgotten).execute(&mut connection).await?)
    }
}

/// The row, as long as the lease holds.
#[diesel::dsl::auto_type(no_type_alias)]
fn held<'a>(lease: &'a RequestLease) -> _ {
    let project: ProjectId = lease.key.project;
    let hash: &'a [u8] = lease.key.hash.as_slice();
    let owner: Uuid = lease.owner;
    requests::table
        .filter(requests::project_id.eq(project))
        .filter(requests::request_hash.eq(hash))
        .filter(requests::lease_owner.eq(owner))
}
