//! Tokens: who is refused, which pair counts, who renews it.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use shared::store::connections::Connected;
use shared::store::creators::Status;
use shared::store::credentials::{Account, Lease, SealedPair};
use shared::store::single_flight::OpenSync;
use uuid::Uuid;

use crate::{account, claim, connect, connect_at, failure, pair, store};

#[tokio::test(flavor = "multi_thread")]
async fn only_the_pair_that_was_tried_is_declared_dead() {
    let (store, project, _) = store().await;
    let creator = connect(&store, project, b"a").await.creator;
    let status = async || store.creator(project, creator).await.unwrap().unwrap().status;
    let id = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let old = store.credential(id).await.unwrap().unwrap().version;
    let new = store.save_pair(id, old, &pair(b"b")).await.unwrap().expect("the pair is the stored one");
    assert_eq!(store.save_pair(id, old, &pair(b"c")).await.unwrap(), None, "compare and set");
    assert!(!store.mark_dead(id, old, "refused").await.unwrap());
    assert_eq!(status().await, Status::Active);
    assert!(store.mark_dead(id, new, "refused").await.unwrap());
    assert_eq!(status().await, Status::ReauthorizationRequired);
    assert_eq!(store.open_sync(project, creator, None).await.unwrap(), OpenSync::ReauthorizationRequired);
    store.save_pair(id, new, &pair(b"d")).await.unwrap().expect("a later good pair");
    assert_eq!(status().await, Status::Active, "heals it");
}

/// The connection finds the job open and makes none of its own: so that one must not end with the tokens that it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_tokens_were_refused_goes_on_if_the_creator_connects_before_its_end() {
    let (store, project, _) = store().await;
    let Connected { creator, sync, .. } = connect(&store, project, b"a").await;
    let fence = claim(&store, sync.expect("the first sync")).await;
    let id = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let version = store.credential(id).await.unwrap().unwrap().version;
    assert!(store.mark_dead(id, version, "refused").await.unwrap());
    assert_eq!(connect(&store, project, b"b").await.sync, None, "the open one is shared");
    assert!(!store.fail_refused_job(fence, &failure()).await.unwrap());
    let version = store.credential(id).await.unwrap().unwrap().version;
    assert!(store.mark_dead(id, version, "refused").await.unwrap());
    assert!(store.fail_refused_job(fence, &failure()).await.unwrap(), "and ends if nobody does");
    assert!(connect(&store, project, b"c").await.sync.is_some(), "then a connection makes one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_refresh_token_never_overwrites_the_stored_one() {
    let (store, project, _) = store().await;
    let creator = connect(&store, project, b"a").await.creator;
    let id = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let stored = store.credential(id).await.unwrap().unwrap();
    let renewed = SealedPair { refresh_token: None, refresh_expires_in: None, ..pair(b"b") };
    store.save_pair(id, stored.version, &renewed).await.unwrap().unwrap();
    let after = store.credential(id).await.unwrap().unwrap();
    assert_eq!(after.refresh_token.as_deref(), Some(b"refresh".as_slice()));
    assert_eq!(after.refresh_expires_at, stored.refresh_expires_at);
    assert_eq!(after.access_token, b"b");
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_removals_do_no_harm() {
    let (store, project, _) = store().await;
    let granted = Utc::now();
    let creator = connect_at(&store, project, b"a", granted).await.creator;
    let status = async || store.creator(project, creator).await.unwrap().unwrap().status;
    assert!(!store.note_removal(&account(), granted - TimeDelta::seconds(60), "old").await.unwrap());
    assert_eq!(status().await, Status::Active);
    for _ in 0..2 {
        assert!(store.note_removal(&account(), granted + TimeDelta::seconds(1), "by the creator").await.unwrap());
        assert_eq!(status().await, Status::ReauthorizationRequired);
    }
    let other = Account { external_id: "nobody".into(), ..account() };
    assert!(!store.note_removal(&other, granted, "x").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_has_one_owner_and_an_end() {
    let (store, project, sql) = store().await;
    let creator = connect(&store, project, b"a").await.creator;
    let id = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let (mine, theirs) = (Uuid::new_v4(), Uuid::new_v4());
    let term = Duration::from_secs(30);
    assert!(matches!(store.lease_credential(id, mine, term).await.unwrap(), Lease::Taken(_)));
    assert!(matches!(store.lease_account(&account(), theirs, term).await.unwrap(), Lease::Held));
    assert!(matches!(store.lease_credential(id, mine, term).await.unwrap(), Lease::Taken(_)), "its own again");
    store.release_lease(id, theirs).await.unwrap();
    assert!(matches!(store.lease_credential(id, theirs, term).await.unwrap(), Lease::Held), "not theirs to give");
    sql.execute("UPDATE credentials SET lease_expires_at = now() - '1s'::interval", &[]).await.unwrap();
    assert!(matches!(store.lease_credential(id, theirs, term).await.unwrap(), Lease::Taken(_)), "it ran out");
    store.release_lease(id, theirs).await.unwrap();
    assert!(matches!(store.lease_account(&account(), mine, term).await.unwrap(), Lease::Taken(_)));
    let nobody = Account { external_id: "nobody".into(), ..account() };
    assert!(matches!(store.lease_account(&nobody, mine, term).await.unwrap(), Lease::NoCredential));
}
