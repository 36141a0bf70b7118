//! A sync that stops before its end goes on from there: no page is paid for twice, and what is shown is true all the same.

use serde_json::json;
use shared::ids::{CreatorId, JobId};
use shared::queue::{Final, Lane};
use shared::store::jobs::JobState;
use shared::store::single_flight::OpenSync;

use crate::support::{System, postgres, wait_for};

/// Pages, and what else a creator of this many videos costs at each sync.
const VIDEOS: u32 = 300;

async fn pages(system: &System, open_id: &str) -> u64 {
    system.requests(open_id, "path=/v2/video/list/").await
}

/// A creator that was synced once, by a worker that is gone. Gives its accounts, and the pages that a sync takes.
async fn synced(system: &System) -> (String, CreatorId, u64) {
    let worker = system.worker();
    let open_id = system.account(VIDEOS).await;
    let connected = system.connect(&open_id).await;
    assert_eq!(system.last_word(connected.sync.expect("a first sync")).await, Final::Done);
    worker.stop().await;
    let pages = pages(system, &open_id).await;
    (open_id, connected.creator, pages)
}

/// A bulk job as a batch makes it: it reads everything.
async fn bulk_sync(system: &System, creator: CreatorId) -> JobId {
    bulk_sync_after(system, creator, 0).await
}

/// The same, after so many tries that failed.
async fn bulk_sync_after(system: &System, creator: CreatorId, failed: u32) -> JobId {
    let (id, project) = (JobId::new(), system.project);
    system
        .sql(&format!(
            "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, batched, attempts) \
             VALUES ('{id}', 'sync', 'bulk', '{creator}', '{project}', 'enqueued', true, {failed})"
        ))
        .await;
    system.push(Lane::Bulk, "sync", id).await;
    id
}

async fn state(system: &System, id: JobId, state: JobState) {
    wait_for("the job's state", async || (system.job(id).await.state == state).then_some(())).await;
}

/// A client asks for the creator, and shares the job that is open.
async fn ask(system: &System, creator: CreatorId, id: JobId) {
    let asked = system.store.open_sync(system.project, creator, None).await.expect("an answer");
    assert_eq!(asked, OpenSync::Shared { id, promoted: true });
    let message = shared::queue::Message { id, kind: "sync".to_owned(), trace: None, group: None };
    system.queue.promote(Lane::Bulk, &message).await.expect("promoted");
}

async fn hide(system: &System, open_id: &str, place: usize) {
    let id = system.listed(open_id).await[place]["id"].as_str().expect("an id").to_owned();
    system.control("PATCH", &format!("/users/{open_id}/videos/{id}"), json!({ "hidden": true })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_start_reads_no_page_again_unless_what_was_read_is_of_no_use() {
    let system = System::start().await;
    let (open_id, creator, full) = synced(&system).await;
    let before_the_fault = 12;
    let worker = system.worker();
    for (spoil, anew) in [
        ("", false),
        ("UPDATE checkpoints SET cursor = 'nonsense'", true),
        // A client must not be shown what was read long before it asked.
        ("UPDATE checkpoints SET began_at = now() - interval '3 min'", true),
        ("UPDATE checkpoints SET saved_at = now() - interval '61 min'", true),
        ("UPDATE checkpoints SET granted_at = now() - interval '1 day'", true),
    ] {
        // One that was listed before the stop, and one that comes after it.
        hide(&system, &open_id, 5).await;
        hide(&system, &open_id, 250).await;
        let (listed, profiles) =
            (pages(&system, &open_id).await, system.requests(&open_id, "path=/v2/user/info/").await);
        let fault = json!({ "endpoint": "video_list", "kind": "bad_gateway", "after": before_the_fault, "times": 1 });
        system.fault(fault).await;
        // Its next try by itself would come in minutes: it is the client who brings it on.
        let id = bulk_sync_after(&system, creator, 6).await;
        state(&system, id, JobState::Retrying).await;
        wait_for("the job to be back in Redis", async || {
            (system.queue.depth(Lane::Bulk).await.expect("a depth").delayed == 1).then_some(())
        })
        .await;
        assert!(system.count("SELECT count(*) FROM checkpoints").await > 0);
        if !spoil.is_empty() {
            system.sql(spoil).await;
        }
        ask(&system, creator, id).await;
        assert_eq!(system.last_word(id).await, Final::Done, "{spoil}");
        // The failed one is one more.
        let expected = if anew { before_the_fault + 1 + full } else { full + 1 };
        let read = pages(&system, &open_id).await - listed;
        assert!(read.abs_diff(expected) <= 1, "{read} pages, and not {expected}: {spoil}");
        let profiles = system.requests(&open_id, "path=/v2/user/info/").await - profiles;
        assert_eq!(profiles, if anew { 2 } else { 1 }, "{spoil}");
        let shown: Vec<String> = system.videos(creator).await.into_iter().map(|video| video.external_id).collect();
        let said = system.listed(&open_id).await;
        let said: Vec<&str> = said.iter().map(|video| video["id"].as_str().expect("an id")).collect();
        assert_eq!(shown, said, "{spoil}");
        assert_eq!(system.count("SELECT count(*) FROM checkpoints").await, 0);
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_would_be_long_gives_the_slot_back_and_is_no_attempt() {
    let system = System::start().await;
    let (open_id, creator, full) = synced(&system).await;
    let listed = pages(&system, &open_id).await;
    system.fault(json!({ "endpoint": "video_list", "kind": "slow", "delay_ms": 5000, "after": 4, "times": 1 })).await;
    let worker = system.worker();
    let id = bulk_sync(&system, creator).await;
    wait_for("a few pages", async || (pages(&system, &open_id).await > listed + 4).then_some(())).await;
    system.pause("video_list", 600).await;
    wait_for("the job to be parked", async || {
        let job = system.job(id).await;
        (job.state == JobState::Enqueued && job.attempts == 0 && job.claim == 1).then_some(())
    })
    .await;
    assert_eq!(system.count("SELECT count(*) FROM jobs WHERE run_at > now() + interval '5 min'").await, 1);
    system.clear_faults().await;
    system.pause("video_list", 0).await;
    ask(&system, creator, id).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(pages(&system, &open_id).await - listed, full);
    assert_eq!(system.requests(&open_id, "path=/v2/user/info/").await, 2);
    assert_eq!(system.job(id).await.attempts, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_costs_a_bulk_sync_the_pages_since_its_last_batch_alone_however_long_it_was_parked() {
    let system = System::start().await;
    let (open_id, creator, full) = synced(&system).await;
    let listed = pages(&system, &open_id).await;
    // The pages after the first batch take long, each of them: the sync does not come to its end before the stop, also if it had
    // to begin anew meanwhile.
    system.fault(json!({ "endpoint": "video_list", "kind": "slow", "delay_ms": 100, "times": 10 })).await;
    system.fault(json!({ "endpoint": "video_list", "kind": "slow", "delay_ms": 3000 })).await;
    let first = system.hasty_worker();
    let id = bulk_sync(&system, creator).await;
    // A note of the profile alone has no page to go on with.
    let batches = "SELECT count(*) FROM checkpoints WHERE cursor IS NOT NULL";
    wait_for("a batch", async || (system.count(batches).await > 0).then_some(())).await;
    first.stop().await;
    system.clear_faults().await;
    system.sql("UPDATE checkpoints SET began_at = now() - interval '50 min'").await;
    let second = system.worker();
    assert_eq!(system.last_word(id).await, Final::Done);
    let read = pages(&system, &open_id).await - listed;
    // A batch is ten pages.
    assert!(read <= full + 10, "{read} pages instead of {full}");
    assert_eq!(system.requests(&open_id, "path=/v2/user/info/").await, 2);
    assert_eq!(system.videos(creator).await.len(), usize::try_from(VIDEOS).expect("a size"));
    second.stop().await;
}

/// The next profile takes long enough to be worth a note.
async fn dear_profile(system: &System) {
    system.fault(json!({ "endpoint": "user_info", "kind": "slow", "delay_ms": 60, "times": 1 })).await;
}

/// Waits until a sync has noted its profile.
async fn note(system: &System) {
    let noted = "SELECT count(*) FROM checkpoints WHERE part = 0 AND cursor IS NULL";
    wait_for("the note", async || (system.count(noted).await == 1).then_some(())).await;
}

/// Else every crash would cost calls of one endpoint whose syncs can't use their turn at the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_is_noted_while_its_first_page_is_on_its_way_and_not_read_again_after_a_crash() {
    let system = System::start().await;
    let (open_id, creator, full) = synced(&system).await;
    let listed = pages(&system, &open_id).await;
    dear_profile(&system).await;
    system.fault(json!({ "endpoint": "video_list", "kind": "slow", "delay_ms": 20_000, "times": 1 })).await;
    let first = system.hasty_worker();
    let id = bulk_sync(&system, creator).await;
    note(&system).await;
    wait_for("the page's call", async || (pages(&system, &open_id).await == listed + 1).then_some(())).await;
    first.stop().await;
    let second = system.worker();
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(system.requests(&open_id, "path=/v2/user/info/").await, 2, "one for each sync");
    assert_eq!(pages(&system, &open_id).await - listed, full + 1, "the one that was cut off is one more");
    assert_eq!(system.videos(creator).await.len(), usize::try_from(VIDEOS).expect("a size"));
    assert_eq!(system.count("SELECT count(*) FROM checkpoints").await, 0);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_who_comes_after_the_note_shares_the_sync_and_nothing_is_read_twice() {
    let system = System::start().await;
    let (open_id, creator, full) = synced(&system).await;
    let listed = pages(&system, &open_id).await;
    dear_profile(&system).await;
    system.control("PATCH", &format!("/users/{open_id}"), json!({ "follower_count": 4_321 })).await;
    system.fault(json!({ "endpoint": "video_list", "kind": "slow", "delay_ms": 3_000, "times": 1 })).await;
    let worker = system.worker();
    let id = bulk_sync(&system, creator).await;
    note(&system).await;
    ask(&system, creator, id).await;
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(system.requests(&open_id, "path=/v2/user/info/").await, 2, "one for each sync");
    assert_eq!(pages(&system, &open_id).await - listed, full);
    assert_eq!(system.count("SELECT followers FROM creators").await, 4_321);
    assert_eq!(system.count("SELECT count(*) FROM checkpoints").await, 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_that_has_to_wait_loses_no_page() {
    let system = System::start().await;
    let (open_id, creator, full) = synced(&system).await;
    let listed = pages(&system, &open_id).await;
    dear_profile(&system).await;
    system.fault(json!({ "endpoint": "video_list", "kind": "slow", "delay_ms": 500, "times": 1 })).await;
    let mut sql = postgres(&system.database_url).await;
    let lock = sql.transaction().await.expect("a transaction");
    lock.batch_execute("SELECT FROM creators FOR NO KEY UPDATE").await.expect("locked");
    let worker = system.worker();
    let id = bulk_sync(&system, creator).await;
    wait_for("the first page", async || (pages(&system, &open_id).await > listed).then_some(())).await;
    wait_for("the note", async || (lock_waiters(&system).await > 0).then_some(())).await;
    lock.rollback().await.expect("unlocked");
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(pages(&system, &open_id).await - listed, full);
    assert_eq!(system.job(id).await.claim, 1);
    worker.stop().await;
}

async fn lock_waiters(system: &System) -> i64 {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    system.count(waiting).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_says_that_it_waits_for_its_turn_and_that_it_goes_on() {
    let system = System::start().await;
    let (open_id, creator, full) = synced(&system).await;
    let listed = pages(&system, &open_id).await;
    // Short enough that the job keeps its slot.
    system.pause("video_list", 12).await;
    let worker = system.worker();
    let id = bulk_sync(&system, creator).await;
    wait_for("the mark", async || (system.waiting(Lane::Bulk).await == 1).then_some(())).await;
    assert_eq!(pages(&system, &open_id).await, listed);
    system.fault(json!({ "endpoint": "video_list", "kind": "slow", "delay_ms": 5000, "times": 1 })).await;
    system.pause("video_list", 0).await;
    wait_for("its turn, and the mark's end", async || (system.waiting(Lane::Bulk).await == 0).then_some(())).await;
    assert_eq!(system.job(id).await.state, JobState::Running, "it is not its end that took the mark");
    assert_eq!(system.last_word(id).await, Final::Done);
    assert_eq!(pages(&system, &open_id).await - listed, full);
    assert_eq!(system.job(id).await.claim, 1);
    worker.stop().await;
}
