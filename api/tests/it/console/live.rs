//! A sync, watched live.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::Value;
use shared::ids::JobId;
use shared::people::Role;
use shared::queue::{Final, ProgressVoice, Step};
use tokio::time::timeout;

use super::browser::{Browser, PASSWORD};
use crate::harness::World;

/// Longer than anything here takes; only a failing test waits so long.
const SOON: Duration = Duration::from_secs(60);

/// The events of a stream.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn open(browser: &Browser, path: &str) -> Self {
        let response = browser.request(Method::GET, path).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    /// The next event's name and data; `None` at the end of the stream, which has to be a clean one.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = block.strip_prefix("event: ") {
                    let (name, data) = event.split_once("\ndata: ").expect("data");
                    return Some((name.to_owned(), serde_json::from_str(data).expect("JSON")));
                }
                assert!(block.starts_with("retry: ") || block.starts_with(": "), "{block}");
            }
            let chunk = timeout(SOON, self.response.chunk()).await.expect("in time").expect("no broken connection");
            self.text.push_str(std::str::from_utf8(&chunk?).expect("text"));
        }
    }

    /// Reads on to an event whose words are like this.
    async fn words(&mut self, like: &str) -> (String, Value) {
        loop {
            let (name, data) = self.next().await.unwrap_or_else(|| panic!("the end, and nothing like {like}"));
            if data["words"].as_str().expect("words").contains(like) {
                return (name, data);
            }
        }
    }
}

/// A creator with an open sync, its page, and the job.
async fn syncing(world: &World) -> (String, JobId) {
    let creator = world.creator("open-1").await;
    let page = format!("/console/projects/{}/creators/{creator}", world.project);
    let mut developer = Browser::member(world, Role::Developer).await;
    developer.submit(&page, &format!("{page}/sync"), &[]).await;
    let job = world.store.open_sync_of(creator).await.expect("a look").expect("a job");
    assert!(developer.get(&page).await.text.contains(&format!("data-progress=\"{page}/progress\"")));
    (page, job)
}

async fn set(world: &World, job: JobId, change: &str) {
    world.sql().await.batch_execute(&format!("UPDATE jobs SET {change} WHERE id = '{job}'")).await.expect("a change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_is_watched_from_the_line_to_its_end() {
    let world = World::start().await;
    let (page, job) = syncing(&world).await;
    let viewer = Browser::member(&world, Role::Viewer).await;
    let mut events = Events::open(&viewer, &format!("{page}/progress")).await;
    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(events.response.headers()[name], value);
    }
    let (name, _) = events.words("Queued").await;
    assert_eq!(name, "progress");

    let voice = ProgressVoice::start(&world.queue);
    let telling = voice.job(job);
    set(&world, job, "state = 'running'").await;
    telling.update(|now| (now.step, now.pages, now.items, now.of) = (Step::Reading, 3, 60, Some(842)));
    let (_, told) = events.words("3 pages, 60 of 842 videos").await;
    assert_eq!(told["count"], "60 of 842");
    assert_eq!((told["read"].as_u64(), told["of"].as_u64()), (Some(60), Some(842)));
    drop(telling);

    set(&world, job, "state = 'enqueued', run_at = '2099-01-02 03:04:05Z'").await;
    let (_, parked) = events.words("Waiting until {until}").await;
    assert_eq!(parked["until"], "2099-01-02T03:04:05.000Z");
    set(&world, job, "state = 'retrying', error_code = 'platform_error'").await;
    events.words("The last try failed.").await;

    set(&world, job, "state = 'done', finished_at = now()").await;
    world.queue.notify(job, &Final::Done).await.expect("a notice");
    assert_eq!(events.words("up to date").await.0, "done");
    assert_eq!(events.next().await, None, "the stream ends with the job");

    let mut again = Events::open(&viewer, &format!("{page}/progress")).await;
    assert_eq!(again.words("No sync is running.").await.0, "done");
    assert_eq!(again.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_word_whose_notice_was_lost_ends_the_stream_too() {
    let world = World::start().await;
    let (page, job) = syncing(&world).await;
    let viewer = Browser::member(&world, Role::Viewer).await;
    let mut events = Events::open(&viewer, &format!("{page}/progress")).await;
    events.words("Queued").await;
    set(&world, job, "state = 'failed', error_code = 'reauthorization_required', finished_at = now()").await;
    assert_eq!(events.words("ask the creator to connect again").await.0, "failed");
    assert_eq!(events.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_session_with_its_membership_and_with_the_server() {
    let world = World::start().await;
    let (page, _) = syncing(&world).await;
    let path = format!("{page}/progress");
    let (viewer, owner) = (Browser::member(&world, Role::Viewer).await, Browser::member(&world, Role::Owner).await);
    let nobody = Browser::new(&world).request(Method::GET, &path).send().await.expect("an answer");
    assert_eq!(nobody.status(), 303);
    let mut streams = [Events::open(&viewer, &path).await, Events::open(&owner, &path).await];
    for stream in &mut streams {
        stream.words("Queued").await;
    }
    let end = "DELETE FROM sessions WHERE user_id = (SELECT id FROM users WHERE email = 'viewer@example.com');
        DELETE FROM members WHERE role = 'owner'";
    world.sql().await.batch_execute(end).await.expect("both lose what they have");
    for stream in &mut streams {
        assert_eq!(stream.next().await, None, "at the next heartbeat");
    }

    let mut late = Browser::new(&world);
    assert_eq!(late.sign_in("developer@example.com", PASSWORD).await.status, 303);
    let mut stream = Events::open(&late, &path).await;
    stream.words("Queued").await;
    // A stream that is held would be cut off at the end of the grace.
    world.api.stop().await;
    assert_eq!(stream.next().await, None, "a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_oldest_stream_makes_room_for_their_newest() {
    let world = World::start().await;
    let (page, _) = syncing(&world).await;
    let path = format!("{page}/progress");
    let viewer = Browser::member(&world, Role::Viewer).await;
    let mut first = Events::open(&viewer, &path).await;
    first.words("Queued").await;
    // A new session has no places of its own.
    let mut elsewhere = Browser::new(&world);
    assert_eq!(elsewhere.sign_in("viewer@example.com", PASSWORD).await.status, 303);
    let mut others = Vec::new();
    for _ in 0..8 {
        let mut other = Events::open(&elsewhere, &path).await;
        other.words("Queued").await;
        others.push(other);
    }
    assert_eq!(first.words("newer window").await.0, "moved");
    assert_eq!(first.next().await, None);
}
