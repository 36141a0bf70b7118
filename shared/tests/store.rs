//! The store's promises, on a real Postgres.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use shared::ids::JobId;
use shared::platforms::{Profile, Video};
use shared::queue::Final;
use shared::store::creators::{CreatorFilter, Status};
use shared::store::credentials::Lease;
use shared::store::disconnects::Disconnect;
use shared::store::jobs::{Failure, Fence, JobState, OpenSync, Start};
use shared::store::syncs::{SyncResult, WriteError};
use support::{Database, account, connection, pair, video};
use uuid::Uuid;

const NOTHING_LEFT: SyncResult<'static> = SyncResult { profile: None, videos: &[], listing: None, missing_scopes: "" };

fn failure() -> Failure {
    Failure { code: "platform_error", message: "it failed".to_owned(), log_id: None }
}

fn videos(count: usize) -> Vec<Video> {
    (0..count).map(|number| video(&number.to_string(), i64::try_from(number).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_for_a_sync_at_once_share_one_job() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let first = database.start(connected.sync.expect("a first sync")).await;
    database.store.finish_sync(first.fence(), &NOTHING_LEFT).await.expect("done");

    let asked = join_all((0..20).map(|_| database.store.open_sync(project, connected.creator, None))).await;
    let asked: Vec<OpenSync> = asked.into_iter().map(|answer| answer.expect("an answer")).collect();
    let new: Vec<JobId> = asked.iter().filter_map(|it| if let OpenSync::New(id) = it { Some(*id) } else { None }).collect();
    assert_eq!(new.len(), 1, "{asked:?}");
    let shared = OpenSync::Shared { id: new[0], promoted: false };
    assert!(asked.iter().all(|it| *it == OpenSync::New(new[0]) || *it == shared), "{asked:?}");

    let job = database.start(new[0]).await;
    database.store.finish_sync(job.fence(), &NOTHING_LEFT).await.expect("done");
    let later = database.store.open_sync(project, connected.creator, None).await.expect("an answer");
    assert!(matches!(later, OpenSync::New(id) if id != new[0]), "{later:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_of_another_project_is_not_found() {
    let database = Database::create().await;
    let (mine, other) = (database.project("mine").await, database.project("other").await);
    let creator = database.connect(mine, "a").await.creator;
    assert_eq!(database.store.open_sync(other, creator, None).await.expect("an answer"), OpenSync::NotFound);
    assert_eq!(database.store.disconnect(other, creator, None).await.expect("an answer"), Disconnect::NotFound);
    assert_eq!(database.store.videos(other, creator, None, 10).await.expect("an answer"), None);
    assert_eq!(database.store.creator(other, creator).await.expect("an answer"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_bulk_job_becomes_interactive_with_all_its_tries() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let id = connected.sync.expect("a first sync");
    for state in ["waiting", "enqueued", "retrying"] {
        let set = format!("UPDATE jobs SET lane = 'bulk', attempts = 6, run_at = now() + interval '1 hour', state = '{state}'");
        database.client().await.batch_execute(&set).await.expect("a bulk job");
        let asked = database.store.open_sync(project, connected.creator, None).await.expect("an answer");
        assert_eq!(asked, OpenSync::Shared { id, promoted: true });
        let job = database.store.job(project, id).await.expect("read").expect("a job");
        assert!(job.lane.is_interactive());
        assert_eq!(job.attempts, 0);
        assert!(job.run_at <= Utc::now() + TimeDelta::seconds(1));
        assert!(JobState::IN_REDIS.contains(&job.state), "{:?}", job.state);
        let again = database.store.open_sync(project, connected.creator, None).await.expect("an answer");
        assert_eq!(again, OpenSync::Shared { id, promoted: false });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_counts_as_an_attempt_unless_the_last_one_was_left_running() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let id = database.connect(project, "a").await.sync.expect("a first sync");
    let first = database.start(id).await;
    assert_eq!((first.claim, first.attempts), (1, 1));
    let takeover = database.start(id).await;
    assert_eq!((takeover.claim, takeover.attempts), (2, 1));
    assert!(database.store.retry_job(takeover.fence(), Duration::from_secs(5), &failure()).await.expect("written"));
    let retry = database.start(id).await;
    assert_eq!((retry.claim, retry.attempts), (3, 2));
    assert!(database.store.postpone_job(retry.fence(), Duration::from_secs(5)).await.expect("written"));
    let after_a_wait = database.start(id).await;
    assert_eq!((after_a_wait.claim, after_a_wait.attempts), (4, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overtaken_start_writes_nothing() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let id = connected.sync.expect("a first sync");
    let old = database.start(id).await.fence();
    let new = database.start(id).await.fence();
    assert_writes_nothing(&database, old).await;
    assert_eq!(database.count("SELECT count(*) FROM videos").await, 0);
    database.store.save_videos(new, &videos(3)).await.expect("written");
    database.store.finish_sync(new, &NOTHING_LEFT).await.expect("done");
    assert_eq!(database.store.start_job(id).await.expect("read"), Start::Finished(Final::Done));
    // Nor does the one who finished it, twice.
    assert_writes_nothing(&database, new).await;
}

async fn assert_writes_nothing(database: &Database, fence: Fence) {
    let store = &database.store;
    assert!(matches!(store.save_videos(fence, &videos(3)).await, Err(WriteError::Superseded)));
    assert!(matches!(store.finish_sync(fence, &NOTHING_LEFT).await, Err(WriteError::Superseded)));
    assert!(!store.retry_job(fence, Duration::ZERO, &failure()).await.expect("an answer"));
    assert!(!store.postpone_job(fence, Duration::ZERO).await.expect("an answer"));
    assert!(!store.fail_job(fence, &failure()).await.expect("an answer"));
    assert!(!store.cancel_job(fence).await.expect("an answer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_stops_a_running_sync_at_its_next_write() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let id = connected.sync.expect("a first sync");
    let sync = database.start(id).await.fence();
    database.store.save_videos(sync, &videos(3)).await.expect("written");

    let disconnect = database.store.disconnect(project, connected.creator, None).await.expect("an answer");
    let Disconnect::New { id: revoke, cancelled } = disconnect else { panic!("{disconnect:?}") };
    assert_eq!(cancelled, [id]);
    assert!(matches!(database.store.save_videos(sync, &videos(9)).await, Err(WriteError::Disconnected)));
    assert!(matches!(database.store.finish_sync(sync, &NOTHING_LEFT).await, Err(WriteError::Disconnected)));
    assert_eq!(database.store.last_words(&[id]).await.expect("read"), [(id, Final::Cancelled)]);

    // Gone from every read at once, before anything is deleted.
    assert_eq!(database.store.creator(project, connected.creator).await.expect("read"), None);
    assert_eq!(database.store.videos(project, connected.creator, None, 10).await.expect("read"), None);
    assert_eq!(database.store.creators(project, &CreatorFilter::default(), None, 10).await.expect("read"), []);
    let asked = database.store.open_sync(project, connected.creator, None).await.expect("an answer");
    assert_eq!(asked, OpenSync::NotFound);
    let second = database.store.disconnect(project, connected.creator, None).await.expect("an answer");
    assert_eq!(second, Disconnect::Shared(revoke));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_erases_the_creator_and_its_tokens_under_the_lease_alone() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let credential = database.credential_of(connected.creator).await;
    let sync = database.start(connected.sync.expect("a first sync")).await.fence();
    database.store.save_videos(sync, &videos(3)).await.expect("written");
    let Disconnect::New { id, .. } = database.store.disconnect(project, connected.creator, None).await.expect("new") else {
        panic!("not new")
    };
    let revoke = database.start(id).await.fence();
    assert!(!database.store.finish_disconnect(revoke, credential, Uuid::new_v4()).await.expect("an answer"));
    assert_eq!(database.count("SELECT count(*) FROM videos").await, 3);

    let owner = Uuid::new_v4();
    let lease = database.store.lease_credential(credential, owner, Duration::from_secs(10)).await.expect("an answer");
    assert!(matches!(lease, Lease::Taken(_)));
    assert!(database.store.finish_disconnect(revoke, credential, owner).await.expect("erased"));
    for table in ["creators", "credentials", "videos"] {
        assert_eq!(database.count(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    assert_eq!(database.store.last_words(&[id]).await.expect("read"), [(id, Final::Done)]);
    let later = database.store.disconnect(project, connected.creator, None).await.expect("an answer");
    assert_eq!(later, Disconnect::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_of_two_projects_keeps_its_tokens_until_the_last_lets_go() {
    let database = Database::create().await;
    let (one, two) = (database.project("one").await, database.project("two").await);
    let (first, second) = (database.connect(one, "a").await, database.connect(two, "a").await);
    let credential = database.credential_of(first.creator).await;
    assert_eq!(credential, database.credential_of(second.creator).await);
    for (project, creator, others) in [(one, first.creator, true), (two, second.creator, false)] {
        let asked = database.store.disconnect(project, creator, None).await.expect("an answer");
        let Disconnect::New { id, .. } = asked else { panic!("{asked:?}") };
        let fence = database.start(id).await.fence();
        let owner = Uuid::new_v4();
        database.store.lease_credential(credential, owner, Duration::from_secs(10)).await.expect("an answer");
        assert_eq!(database.store.is_held_by_others(credential, creator).await.expect("an answer"), others);
        assert!(database.store.finish_disconnect(fence, credential, owner).await.expect("erased"));
        assert_eq!(database.count("SELECT count(*) FROM credentials").await, i64::from(others));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_again_keeps_the_creator_and_takes_the_newest_tokens() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let now = Utc::now();
    let newest = connection(project, "a", now);
    let older = connection(project, "a", now - TimeDelta::seconds(5));
    let first = database.store.connect(&newest, None).await.expect("connected");
    let second = database.store.connect(&older, None).await.expect("connected");
    assert_eq!(first.creator, second.creator);
    assert_eq!(second.sync, None, "the first sync is still open");
    let credential = database.credential_of(first.creator).await;
    let stored = database.store.credential(credential).await.expect("read").expect("a credential");
    assert_eq!(stored.access_token, newest.pair.access_token);
    let third = connection(project, "a", now + TimeDelta::seconds(5));
    database.store.connect(&third, None).await.expect("connected");
    let stored = database.store.credential(credential).await.expect("read").expect("a credential");
    assert_eq!(stored.access_token, third.pair.access_token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connects_of_one_account_at_once_make_one_creator() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = join_all((0..8).map(|_| database.connect(project, "a"))).await;
    let creators: HashSet<_> = connected.iter().map(|it| it.creator).collect();
    assert_eq!(creators.len(), 1);
    assert_eq!(connected.iter().filter(|it| it.sync.is_some()).count(), 1);
    assert_eq!(database.count("SELECT count(*) FROM credentials").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_during_a_disconnect_makes_a_fresh_creator_that_nobody_revokes() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let old = database.connect(project, "a").await;
    let credential = database.credential_of(old.creator).await;
    let sync = database.start(old.sync.expect("a first sync")).await.fence();
    database.store.save_videos(sync, &videos(3)).await.expect("written");
    let asked = database.store.disconnect(project, old.creator, None).await.expect("an answer");
    let Disconnect::New { id, .. } = asked else { panic!("{asked:?}") };
    let revoke = database.start(id).await.fence();
    let owner = Uuid::new_v4();
    database.store.lease_credential(credential, owner, Duration::from_secs(10)).await.expect("an answer");

    let new = database.connect(project, "a").await;
    assert_ne!(new.creator, old.creator);
    assert_eq!(new.completed_disconnects, [id]);
    assert!(new.sync.is_some());
    assert_eq!(database.store.last_words(&[id]).await.expect("read"), [(id, Final::Done)]);
    assert_eq!(database.store.leaving_creator(old.creator).await.expect("read"), None);
    assert_eq!(database.store.videos(project, new.creator, None, 10).await.expect("read"), Some(Vec::new()));
    // The revocation that was under way has lost lease and job.
    assert!(!database.store.finish_disconnect(revoke, credential, owner).await.expect("an answer"));
    assert!(!database.store.finish_empty_disconnect(revoke).await.expect("an answer"));
    assert!(database.store.creator(project, new.creator).await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_pair_that_was_tried_is_declared_dead_and_a_good_one_heals() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let creator = database.connect(project, "a").await.creator;
    let id = database.credential_of(creator).await;
    let status = async || database.store.creator(project, creator).await.expect("read").expect("a creator").status;
    let tried = database.store.credential(id).await.expect("read").expect("a credential").version;
    let newer = database.store.save_pair(id, tried, &pair("newer")).await.expect("saved").expect("a version");
    assert!(newer > tried);
    assert!(!database.store.mark_dead(id, tried, "invalid_grant").await.expect("an answer"));
    assert_eq!(status().await, Status::Active);
    assert!(database.store.mark_dead(id, newer, "invalid_grant").await.expect("an answer"));
    assert_eq!(status().await, Status::ReauthorizationRequired);
    let asked = database.store.open_sync(project, creator, None).await.expect("an answer");
    assert!(matches!(asked, OpenSync::ReauthorizationRequired | OpenSync::Shared { .. }), "{asked:?}");
    assert_eq!(database.store.save_pair(id, tried, &pair("late")).await.expect("an answer"), None);
    assert!(database.store.save_pair(id, newer, &pair("good")).await.expect("saved").is_some());
    assert_eq!(status().await, Status::Active);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_refresh_token_keeps_the_stored_one() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let id = database.credential_of(database.connect(project, "a").await.creator).await;
    let before = database.store.credential(id).await.expect("read").expect("a credential");
    let mut answer = pair("new");
    answer.refresh_token = None;
    answer.refresh_expires_in = None;
    database.store.save_pair(id, before.version, &answer).await.expect("saved").expect("a version");
    let after = database.store.credential(id).await.expect("read").expect("a credential");
    assert_eq!(after.access_token, answer.access_token);
    assert_eq!((after.refresh_token, after.refresh_expires_at), (before.refresh_token, before.refresh_expires_at));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_older_than_the_grant_does_no_harm() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let creator = database.connect(project, "a").await.creator;
    let note = async |seconds| {
        let at = Utc::now() + TimeDelta::seconds(seconds);
        database.store.note_removal(&account("a"), at, "authorization.removed").await.expect("an answer")
    };
    assert!(!note(-60).await);
    let status = database.store.creator(project, creator).await.expect("read").expect("a creator").status;
    assert_eq!(status, Status::Active);
    assert!(note(60).await);
    let creator = database.store.creator(project, creator).await.expect("read").expect("a creator");
    assert_eq!(creator.status, Status::ReauthorizationRequired);
    assert_eq!(creator.status_reason.as_deref(), Some("authorization.removed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_has_one_owner_until_it_ends() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let id = database.credential_of(database.connect(project, "a").await.creator).await;
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let lease = async |owner, term| database.store.lease_credential(id, owner, term).await.expect("an answer");
    assert!(matches!(lease(one, Duration::from_secs(60)).await, Lease::Taken(_)));
    assert!(matches!(lease(one, Duration::from_secs(60)).await, Lease::Taken(_)), "its owner may extend it");
    assert!(matches!(lease(two, Duration::from_secs(60)).await, Lease::Held));
    database.store.release_lease(id, two).await.expect("an answer");
    assert!(matches!(lease(two, Duration::from_secs(60)).await, Lease::Held), "not the one to release it");
    database.store.release_lease(id, one).await.expect("an answer");
    assert!(matches!(lease(two, Duration::ZERO).await, Lease::Taken(_)));
    assert!(matches!(lease(one, Duration::from_secs(60)).await, Lease::Taken(_)), "a term that is over");
    let owners = join_all((0..10).map(|_| lease(Uuid::new_v4(), Duration::from_secs(60)))).await;
    assert!(owners.iter().all(|lease| matches!(lease, Lease::Held)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_changed_videos_are_written_and_what_is_not_listed_returns_under_its_id() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let fence = database.start(connected.sync.expect("a first sync")).await.fence();
    let store = &database.store;
    let mut listed = videos(5);
    assert_eq!(store.save_videos(fence, &listed).await.expect("written"), 5);
    assert_eq!(store.save_videos(fence, &listed).await.expect("written"), 0);
    listed[2].views = Some(i64::MAX);
    listed[3].likes = None;
    assert_eq!(store.save_videos(fence, &listed).await.expect("written"), 2);

    let read = async || store.videos(project, connected.creator, None, 10).await.expect("read").expect("a creator");
    let before = read().await;
    assert_eq!(before[2].views, Some(i64::MAX));
    assert_eq!(before[3].likes, None);
    let ids: Vec<String> = ["0", "1", "2", "3"].map(str::to_owned).to_vec();
    let profile = Profile { username: Some("spike".to_owned()), followers: Some(7), ..Profile::default() };
    let result = SyncResult { profile: Some(&profile), videos: &[], listing: Some(&ids), missing_scopes: "x" };
    store.finish_sync(fence, &result).await.expect("done");
    assert_eq!(read().await, before[..4]);
    let creator = store.creator(project, connected.creator).await.expect("read").expect("a creator");
    assert_eq!((creator.username.as_deref(), creator.followers, creator.missing_scopes.as_str()), (Some("spike"), Some(7), "x"));
    assert!(creator.last_synced_at.is_some());

    let fence = database.start(database.sync_job(project, connected.creator).await).await.fence();
    assert_eq!(store.save_videos(fence, &listed).await.expect("written"), 1);
    assert_eq!(read().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_through_the_pages_shows_every_video_once_while_syncs_go_on() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let fence = database.start(connected.sync.expect("a first sync")).await.fence();
    // Seven videos of each second.
    let all: Vec<Video> = (0..60).map(|number| video(&number.to_string(), number / 7)).collect();
    database.store.save_videos(fence, &all).await.expect("written");
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = database.store.videos(project, connected.creator, after, 8).await.expect("read").expect("a creator");
        let Some(last) = page.last() else { break };
        after = Some(last.position());
        seen.extend(page.into_iter().map(|video| (video.published_at, video.external_id)));
        let mut changed: Vec<Video> = all.iter().map(|video| Video { views: Some(i64::try_from(seen.len()).unwrap()), ..video.clone() }).collect();
        changed.push(video(&format!("new {}", seen.len()), -100));
        database.store.save_videos(fence, &changed).await.expect("written");
    }
    assert_eq!(seen.len(), 60);
    let ids: HashSet<&String> = seen.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 60);
    assert!(seen.windows(2).all(|pair| pair[0].0 >= pair[1].0), "newest first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_through_the_creators_shows_each_once_oldest_first() {
    let database = Database::create().await;
    let project = database.project("p").await;
    for number in 0..25 {
        database.connect(project, &number.to_string()).await;
    }
    // Half of them connected at one instant.
    let client = database.client().await;
    client.batch_execute("UPDATE creators SET connected_at = '2026-01-01' WHERE external_id::int % 2 = 0").await.unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = database.store.creators(project, &CreatorFilter::default(), after, 4).await.expect("read");
        let Some(last) = page.last() else { break };
        after = Some(last.position());
        seen.extend(page);
    }
    assert_eq!(seen.iter().map(|creator| creator.id).collect::<HashSet<_>>().len(), 25);
    assert_eq!(seen.len(), 25);
    assert!(seen.windows(2).all(|pair| pair[0].connected_at <= pair[1].connected_at));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_dropped_on_its_way_leaves_nothing_behind() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let connected = database.connect(project, "a").await;
    let fence = database.start(connected.sync.expect("a first sync")).await.fence();
    let small = Database::open(&database.url, 1);
    let mut client = database.client().await;
    let lock = client.transaction().await.expect("a transaction");
    lock.execute("SELECT 1 FROM jobs FOR UPDATE", &[]).await.expect("locked");
    let written = tokio::time::timeout(Duration::from_millis(200), small.save_videos(fence, &videos(3))).await;
    assert!(written.is_err(), "it waits for the lock");
    lock.rollback().await.expect("unlocked");
    // The pool's only connection was in a transaction; the next caller must not find it there.
    assert_eq!(small.save_videos(fence, &videos(1)).await.expect("written"), 1);
    drop(small);
    assert_eq!(database.count("SELECT count(*) FROM videos").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_sees_open_jobs_in_order_and_no_others() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let mut open = Vec::new();
    for number in 0..7 {
        open.push(database.connect(project, &number.to_string()).await.sync.expect("a first sync"));
    }
    let done = database.start(open.remove(0)).await;
    database.store.finish_sync(done.fence(), &NOTHING_LEFT).await.expect("done");
    let waiting = open.remove(0);
    let set = format!("UPDATE jobs SET state = 'waiting' WHERE id = '{waiting}'");
    database.client().await.batch_execute(&set).await.expect("a waiting job");
    let late = database.start(open[2]).await;
    database.store.retry_job(late.fence(), Duration::from_secs(60), &failure()).await.expect("written");

    let first = database.store.jobs_in_redis(None, 3).await.expect("read");
    let rest = database.store.jobs_in_redis(first.last().map(|job| job.message.id), 3).await.expect("read");
    let ids: Vec<JobId> = first.iter().chain(&rest).map(|job| job.message.id).collect();
    assert_eq!(ids, open);
    assert!(first[2].delay > Duration::from_secs(50), "{:?}", first[2].delay);
    assert!(first[0].delay.is_zero());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_jobs_are_pruned_and_open_ones_never() {
    let database = Database::create().await;
    let project = database.project("p").await;
    let ids = [database.connect(project, "a").await.sync, database.connect(project, "b").await.sync].map(Option::unwrap);
    let job = database.start(ids[0]).await;
    database.store.finish_sync(job.fence(), &NOTHING_LEFT).await.expect("done");
    assert_eq!(database.store.prune_jobs(10).await.expect("pruned"), 0);
    let age = "UPDATE jobs SET created_at = now() - interval '1 month', \
               finished_at = CASE WHEN finished_at IS NOT NULL THEN now() - interval '8 days' END";
    database.client().await.batch_execute(age).await.expect("aged");
    assert_eq!(database.store.prune_jobs(10).await.expect("pruned"), 1);
    assert_eq!(database.store.start_job(ids[0]).await.expect("read"), Start::Unknown);
    assert!(matches!(database.store.start_job(ids[1]).await.expect("read"), Start::Claimed(_)));
}
