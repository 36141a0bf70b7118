//! The schedule and the batches, done by real workers.

use std::time::Duration;

use serde_json::json;
use shared::cadence::{Cadence, ResyncEvery};
use shared::ids::CreatorId;
use shared::queue::Final;
use shared::store::batches::BatchFilter;

use crate::support::{System, wait_for};

/// Creators with so many videos each, all synced once. The worker that did it is gone.
async fn synced(system: &System, videos: &[u32]) -> Vec<(String, CreatorId)> {
    let worker = system.worker();
    let mut creators = Vec::new();
    for number in videos {
        let open_id = system.account(*number).await;
        let connected = system.connect(&open_id).await;
        assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
        creators.push((open_id, connected.creator));
    }
    worker.stop().await;
    creators
}

async fn open_jobs(system: &System) -> i64 {
    system.count("SELECT count(*) FROM jobs WHERE finished_at IS NULL").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creators_that_are_due_are_synced_once_each_by_whatever_worker() {
    let mut system = System::start().await;
    let creators = synced(&system, &[3; 12]).await;
    system.resync_every = Some(Duration::from_secs(3600));
    system.sql("UPDATE creators SET next_sync_at = now()").await;
    let workers = [system.worker(), system.worker(), system.worker()];
    wait_for("everybody's second sync", async || {
        (system.count("SELECT count(*) FROM jobs WHERE lane = 'bulk' AND state = 'done'").await == 12).then_some(())
    })
    .await;
    assert_eq!(system.count("SELECT count(*) FROM jobs").await, 24, "one each");
    for (open_id, _) in &creators {
        assert_eq!(system.requests(open_id, "path=/v2/user/info/").await, 2);
    }
    let bounds = "SELECT count(*) FROM creators WHERE next_sync_at > now() AND next_sync_at <= now() + interval '1 h'";
    assert_eq!(system.count(bounds).await, 12);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_sync_reads_the_recent_videos_and_the_tail_at_a_slower_turn() {
    let mut system = System::start().await;
    system.resync_every = Some(Duration::from_secs(24 * 3600));
    let (open_id, creator) = synced(&system, &[0]).await.remove(0);
    let pages = async || system.requests(&open_id, "path=/v2/video/list/").await;
    // Five are recent, ninety old: six pages at most, of which the first reaches into the old ones.
    let now = chrono::Utc::now().timestamp();
    let days_and_number = [(1, 5), (200, 15), (201, 15), (202, 15), (203, 15), (204, 15), (205, 15)];
    for (days, number) in days_and_number {
        let wanted = json!({ "count": number, "create_time": now - days * 86_400 });
        system.control("POST", &format!("/users/{open_id}/videos"), wanted).await;
    }
    system.sql("UPDATE creators SET deep_synced_at = NULL").await;
    let worker = system.worker();
    let turn = async || {
        let done = system.count("SELECT count(*) FROM jobs WHERE lane = 'bulk' AND state = 'done'").await;
        let before = pages().await;
        system.sql("UPDATE creators SET next_sync_at = now()").await;
        wait_for("a turn", async || {
            (system.count("SELECT count(*) FROM jobs WHERE lane = 'bulk' AND state = 'done'").await > done)
                .then_some(())
        })
        .await;
        pages().await - before
    };
    assert!(turn().await >= 5, "never read: all of them");
    assert_eq!(system.videos(creator).await.len(), 95);
    assert_eq!(turn().await, 1, "the recent ones");
    assert_eq!(system.videos(creator).await.len(), 95, "and nothing is hidden");
    system.sql("UPDATE creators SET deep_synced_at = now() - interval '7 days'").await;
    assert!(turn().await >= 5, "the tail's turn");
    assert_eq!(turn().await, 1);
    // A bulk resync that was asked for reads all of it.
    let before = pages().await;
    system.store.open_batch(system.project, &BatchFilter::default()).await.expect("a batch");
    wait_for("the batch", async || {
        (system.count("SELECT count(*) FROM batches WHERE finished_at IS NOT NULL").await == 1).then_some(())
    })
    .await;
    assert!(pages().await - before >= 5);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_back_the_schedule_reads_and_how_old_the_rest_may_get_are_settings() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let mut system = System::start().await;
    system.resync_every = Some(DAY);
    system.cadence = Cadence { recent: DAY * 5, deep: DAY * 3, ..Cadence::default() };
    let (open_id, creator) = synced(&system, &[0]).await.remove(0);
    let now = chrono::Utc::now().timestamp();
    for days in [1, 10, 20, 30] {
        let wanted = json!({ "count": 20, "create_time": now - days * 86_400 });
        system.control("POST", &format!("/users/{open_id}/videos"), wanted).await;
    }
    let worker = system.worker();
    // By the defaults, all of them are recent, and none is so old that the rest would be read.
    for (since_deep, listed) in [("2 days", 20..80), ("4 days", 80..81)] {
        let due = format!("UPDATE creators SET next_sync_at = now(), deep_synced_at = now() - interval '{since_deep}'");
        let done = "SELECT count(*) FROM jobs WHERE lane = 'bulk' AND state = 'done'";
        let before = system.count(done).await;
        system.sql(&due).await;
        wait_for("a turn", async || (system.count(done).await > before).then_some(())).await;
        let videos = system.videos(creator).await.len();
        assert!(listed.contains(&videos), "{videos} videos, all of them read {since_deep} ago");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_creator_is_left_alone() {
    let mut system = System::start().await;
    let creators = synced(&system, &[1, 1]).await;
    system.resync_every = Some(Duration::from_secs(3600));
    system.store.set_creator_resync(system.project, creators[0].1, ResyncEvery::Off).await.expect("set");
    system.sql("UPDATE creators SET next_sync_at = now()").await;
    let worker = system.worker();
    wait_for("both are looked at", async || {
        let due = system.count("SELECT count(*) FROM creators WHERE next_sync_at <= now()").await;
        (due == 0 && open_jobs(&system).await == 0).then_some(())
    })
    .await;
    assert_eq!(system.requests(&creators[0].0, "path=/v2/user/info/").await, 1);
    assert_eq!(system.requests(&creators[1].0, "path=/v2/user/info/").await, 2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_who_comes_while_the_schedule_reads_gets_all_videos() {
    let mut system = System::start().await;
    system.resync_every = Some(Duration::from_secs(24 * 3600));
    let (open_id, creator) = synced(&system, &[1]).await.remove(0);
    let now = chrono::Utc::now().timestamp();
    for days in [200, 201, 202] {
        let wanted = json!({ "count": 15, "create_time": now - days * 86_400 });
        system.control("POST", &format!("/users/{open_id}/videos"), wanted).await;
    }
    // All of its videos were read just now, the row says: the schedule would be content with the recent ones.
    system.sql("UPDATE creators SET deep_synced_at = now(), next_sync_at = now()").await;
    system.fault(json!({ "endpoint": "video_list", "kind": "slow", "delay_ms": 5000, "times": 1 })).await;
    let pages = async || system.requests(&open_id, "path=/v2/video/list/").await;
    let before = pages().await;
    let worker = system.worker();
    wait_for("the scheduled sync reads", async || (pages().await > before).then_some(())).await;
    let id = system.ask_for_sync(creator).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(system.count("SELECT count(*) FROM jobs").await, 2, "the one that ran was shared");
    assert_eq!(system.videos(creator).await.len(), 46);
    worker.stop().await;
}
