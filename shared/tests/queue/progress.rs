//! How far a job is, told to who watches and to nobody else.

use futures::StreamExt as _;
use shared::ids::JobId;
use shared::queue::{Progress, ProgressEar, ProgressVoice, Queue, Step};

use crate::support::{SOON, fresh_queue, redis_url, until};

fn reading(pages: u32) -> Progress {
    Progress { step: Step::Reading, pages, items: u64::from(pages) * 20, of: Some(842), ..Progress::default() }
}

#[tokio::test]
async fn a_job_is_told_of_from_the_first_question_on_and_not_before() {
    let (queue, prefix) = fresh_queue();
    let mut pubsub = redis::Client::open(redis_url()).unwrap().get_async_pubsub().await.unwrap();
    pubsub.subscribe(format!("{prefix}:progress")).await.unwrap();
    let voice = ProgressVoice::start(&queue);
    let id = JobId::new();
    let job = voice.job(id);
    for page in 1..=100 {
        job.update(|now| *now = reading(page));
    }
    let ear = ProgressEar::start(&queue);
    let mut following = ear.watch(id);
    tokio::time::timeout(SOON, following.changed()).await.expect("the job is told of");
    assert_eq!(following.now().map(|(now, _)| now), Some(reading(100)), "at once, as it is by now");
    let first = tokio::time::timeout(SOON, pubsub.on_message().next()).await.unwrap().unwrap();
    let first: String = first.get_payload().unwrap();
    assert!(first.contains("\"pages\":100"), "nothing was told before: {first}");
    job.update(|now| *now = reading(101));
    until("a change is told", async || following.now().is_some_and(|(now, _)| now == reading(101))).await;
}

#[tokio::test]
async fn every_process_that_watches_is_told_whoever_runs_the_job_and_whenever_it_begins() {
    let (queue, prefix) = fresh_queue();
    let ears = [ProgressEar::start(&queue), ProgressEar::start(&Queue::connect(&redis_url(), &prefix).unwrap())];
    let (id, other) = (JobId::new(), JobId::new());
    let mut watching: Vec<_> = ears.iter().map(|ear| ear.watch(id)).collect();
    watching.push(ears[0].watch(other));
    let voices: Vec<_> = (0..2).map(|_| ProgressVoice::start(&queue)).collect();
    for (voice, pages) in voices.iter().zip([7, 8]) {
        let job = voice.job(id);
        job.update(|now| *now = reading(pages));
        until("both hear of it", async || {
            watching[..2].iter().all(|one| one.now().is_some_and(|(now, _)| now == reading(pages)))
        })
        .await;
        // A second start of the job, in the other process.
        drop(job);
    }
    assert_eq!(watching[2].now(), None, "nobody runs the other one");
}
