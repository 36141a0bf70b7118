//! Consents, connections, disconnects.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use shared::platforms::Platform;
use shared::queue::Final;
use shared::store::creators::CreatorFilter;
use shared::store::credentials::Lease;
use shared::store::disconnects::Disconnect;
use shared::store::single_flight::OpenSync;
use shared::store::syncs::WriteError;
use shared::store::videos::VideoQuery;
use uuid::Uuid;

use crate::{claim, connect, connect_at, start, store, video};

#[tokio::test(flavor = "multi_thread")]
async fn connecting_again_keeps_the_id_and_takes_the_newest_tokens() {
    let (store, project, _) = store().await;
    let now = Utc::now();
    let first = connect_at(&store, project, b"new", now).await;
    let second = connect_at(&store, project, b"old", now - TimeDelta::seconds(5)).await;
    assert_eq!(first.creator, second.creator);
    let credential = store.creator(project, first.creator).await.unwrap().unwrap().credential_id;
    let stored = store.credential(credential).await.unwrap().unwrap();
    assert_eq!(stored.access_token, b"new", "the older consent's tokens are dropped");
    connect_at(&store, project, b"newer", now + TimeDelta::seconds(5)).await;
    let newer = store.credential(credential).await.unwrap().unwrap();
    assert_eq!(newer.access_token, b"newer");
    assert!(newer.version > stored.version);
    assert_eq!(store.creators(project, &CreatorFilter::default(), None, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_connects_of_one_account_at_once_make_one_creator() {
    let (store, project, _) = store().await;
    let connected = futures::future::join_all((0..8).map(|_| connect(&store, project, b"a"))).await;
    assert!(connected.iter().all(|one| one.creator == connected[0].creator));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_hides_the_creator_cancels_its_sync_and_erases_it() {
    let (store, project, sql) = store().await;
    let connected = connect(&store, project, b"a").await;
    let creator = connected.creator;
    let sync = claim(&store, connected.sync.unwrap()).await;
    store.save_videos(sync, &[video("v1", 1)], None, &start()).await.unwrap();
    let credential = store.creator(project, creator).await.unwrap().unwrap().credential_id;
    let Disconnect::New { id, cancelled } = store.disconnect(project, creator, None).await.unwrap() else { panic!() };
    assert_eq!(cancelled, vec![connected.sync.unwrap()]);
    assert_eq!(store.disconnect(project, creator, None).await.unwrap(), Disconnect::Shared(id));
    assert_eq!(store.creator(project, creator).await.unwrap(), None);
    assert_eq!(store.videos(project, creator, &VideoQuery::default(), 10).await.unwrap(), None);
    assert_eq!(store.open_sync(project, creator, None).await.unwrap(), OpenSync::NotFound);
    assert!(matches!(store.save_videos(sync, &[video("v2", 1)], None, &start()).await, Err(WriteError::Disconnected)));
    assert!(store.sync_target(creator).await.unwrap().is_none());
    let fence = claim(&store, id).await;
    let leaving = store.leaving_creator(creator).await.unwrap().unwrap();
    assert_eq!(leaving.credential, credential);
    assert!(!store.is_held_by_others(credential, creator).await.unwrap());
    let owner = Uuid::new_v4();
    assert!(!store.finish_disconnect(fence, credential, owner).await.unwrap(), "no lease");
    store.lease_credential(credential, owner, Duration::from_secs(30)).await.unwrap();
    assert!(store.finish_disconnect(fence, credential, owner).await.unwrap());
    for table in ["creators", "videos", "credentials"] {
        let rows: i64 = sql.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0);
        assert_eq!(rows, 0, "{table}");
    }
    assert_eq!(store.last_words(&[id]).await.unwrap(), vec![(id, Final::Done)]);
    assert_eq!(store.disconnect(project, creator, None).await.unwrap(), Disconnect::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_another_project_holds_keeps_its_tokens() {
    let (store, project, _) = store().await;
    let other = store.add_key("other", &[8; 32], "mlk_def").await.unwrap();
    let creator = connect(&store, project, b"a").await.creator;
    let theirs = connect(&store, other, b"b").await.creator;
    assert_ne!(creator, theirs);
    let credential = store.creator(other, theirs).await.unwrap().unwrap().credential_id;
    let Disconnect::New { id, .. } = store.disconnect(project, creator, None).await.unwrap() else { panic!() };
    let fence = claim(&store, id).await;
    assert!(store.is_held_by_others(credential, creator).await.unwrap());
    let owner = Uuid::new_v4();
    store.lease_credential(credential, owner, Duration::from_secs(30)).await.unwrap();
    assert!(store.finish_disconnect(fence, credential, owner).await.unwrap());
    assert_eq!(store.credential(credential).await.unwrap().unwrap().access_token, b"b");
    assert!(store.creator(other, theirs).await.unwrap().is_some());
    let mine = Uuid::new_v4();
    let lease = store.lease_credential(credential, mine, Duration::from_secs(1)).await.unwrap();
    assert!(matches!(lease, Lease::Taken(_)), "the lease ended with the disconnect");
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_while_a_disconnect_is_under_way_is_a_fresh_creator() {
    let (store, project, sql) = store().await;
    let old = connect(&store, project, b"a").await.creator;
    let Disconnect::New { id, .. } = store.disconnect(project, old, None).await.unwrap() else { panic!() };
    let fence = claim(&store, id).await;
    let fresh = connect(&store, project, b"b").await;
    assert_ne!(fresh.creator, old);
    assert_eq!(fresh.completed_disconnects, vec![id]);
    assert_eq!(store.last_words(&[id]).await.unwrap(), vec![(id, Final::Done)]);
    let credential = store.creator(project, fresh.creator).await.unwrap().unwrap().credential_id;
    let owner = Uuid::new_v4();
    store.lease_credential(credential, owner, Duration::from_secs(30)).await.unwrap();
    assert!(!store.finish_disconnect(fence, credential, owner).await.unwrap(), "the old job writes nothing");
    let rows: i64 = sql.query_one("SELECT count(*) FROM creators", &[]).await.unwrap().get(0);
    assert_eq!(rows, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_is_taken_once_and_in_time() {
    use shared::store::audit::By;
    use shared::store::states::PendingConsent;
    let (store, project, sql) = store().await;
    let pending = PendingConsent {
        project_id: project,
        platform: Platform::Tiktok,
        redirect_url: None,
        external_ref: None,
        pkce_sealed: Some(vec![7]),
        pkce_verifier: Some("in plain text".into()),
    };
    store.add_state(By::CommandLine, &[1; 32], &pending).await.unwrap();
    store.add_state(By::CommandLine, &[2; 32], &pending).await.unwrap();
    let answers = futures::future::join_all((0..5).map(|_| store.take_state(&[1; 32]))).await;
    let taken: Vec<_> = answers.into_iter().filter_map(|taken| taken.unwrap()).collect();
    let [(once, _)] = &taken[..] else { panic!("taken {} times", taken.len()) };
    assert_eq!((once.pkce_sealed.as_deref(), &once.pkce_verifier), (Some(&[7][..]), &None), "no plain text is written");
    sql.execute("UPDATE oauth_states SET expires_at = now()", &[]).await.unwrap();
    assert!(store.take_state(&[2; 32]).await.unwrap().is_none(), "too late");
    store.add_state(By::CommandLine, &[3; 32], &pending).await.unwrap();
    sql.execute("UPDATE oauth_states SET expires_at = now()", &[]).await.unwrap();
    assert_eq!(store.prune_states(10).await.unwrap(), 1);
}
