//! A process whose clock is wrong: what is due, and who is dead, Redis's clock decides.

use std::fs;
use std::path::Path;
use std::time::Duration;

use shared::ids::JobId;
use shared::queue::{Final, Lane, Message, Outcome};
use uuid::{NoContext, Timestamp, Uuid};

use crate::support::{SOON, Seen, answer, fresh_queue, message, push, push_in, quick, until, worker};

const HOUR: u64 = 3600;

/// A message of a process whose clock says that: the id is all that its clock is in.
fn made_at(unix_seconds: u64) -> Message {
    let id = JobId::from(Uuid::new_v7(Timestamp::from_unix(NoContext, unix_seconds, 0)));
    Message { id, ..message("noop") }
}

#[tokio::test]
async fn a_process_whose_clock_is_hours_off_queues_as_any_other() {
    let (queue, _) = fresh_queue();
    let seen = Seen::default();
    let (now, _) = message("noop").id.uuid().get_timestamp().unwrap().to_unix();
    let clocks = [now - 5 * HOUR, now, now + 5 * HOUR];
    let (at_once, later) = (clocks.map(made_at), clocks.map(made_at));
    for job in &later {
        push_in(&queue, Lane::Sync, job, Duration::from_secs(HOUR)).await;
    }
    for job in &at_once {
        push(&queue, Lane::Sync, job).await;
    }
    let pool = worker(&queue, quick(), &seen, Outcome::Final(Final::Done));
    until("what is due has run", async || seen.len() == 3).await;
    let ids: Vec<JobId> = at_once.iter().map(|job| job.id).collect();
    assert_eq!(seen.ids(), ids, "in the order in which they came");
    let depth = answer(async || queue.depth(Lane::Sync).await).await;
    assert_eq!((depth.ready, depth.delayed), (0, 3), "an hour is Redis's hour");
    pool.stop(SOON).await;
}

/// What no process asks its clock for can't be wrong by it.
#[test]
fn neither_queue_nor_budget_asks_the_clock_of_its_machine() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![sources.join("queue"), sources.join("budget")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                for clock in ["SystemTime", "Utc::now", "Local::now"] {
                    assert!(!source.contains(clock), "{}: {clock}", path.display());
                }
                files += 1;
            }
        }
    }
    assert!(files > 20, "{files} files");
}
