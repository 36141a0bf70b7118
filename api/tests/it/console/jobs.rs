//! Jobs on pages: listed, tried again, put away.

use reqwest::Method;
use shared::ids::{CreatorId, JobId, ProjectId};
use shared::people::Role;
use shared::queue::Lane;

use super::browser::{Browser, XSS, between};
use crate::harness::{Answer, World, send};

/// A job that was given up.
pub async fn dead_job(world: &World, project: ProjectId, creator: CreatorId, kind: &str, lane: &str) -> JobId {
    let id = JobId::new();
    let insert = format!(
        "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, attempts, error_code, error, log_id, finished_at)
        VALUES ('{id}', '{kind}', '{lane}', '{creator}', '{project}', 'failed', 8, 'platform_error',
            'TikTok answered 500', '20261129233000010204', now())"
    );
    world.sql().await.batch_execute(&insert).await.expect("a dead job");
    id
}

async fn state(world: &World, id: JobId) -> String {
    let query = format!("SELECT state FROM jobs WHERE id = '{id}'");
    world.sql().await.query_one(&query, &[]).await.expect("the job").get(0)
}

/// The rows of all pages from `path` on.
pub async fn walk(browser: &mut Browser, path: &str) -> Vec<String> {
    let (mut seen, mut next) = (Vec::new(), path.to_owned());
    loop {
        let page = browser.get(&next.replace("&amp;", "&").replace("&#38;", "&")).await.text;
        seen.extend(
            page.split("<a class=\"row\" href=\"").skip(1).filter_map(|row| Some(row.split_once('"')?.0.to_owned())),
        );
        if !page.contains("rel=\"next\"") {
            return seen;
        }
        between(&page, "rel=\"next\" href=\"", "\"").clone_into(&mut next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_by_state_and_kind_each_once() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let path = format!("/console/projects/{}/jobs", world.project);
    assert!(viewer.get(&path).await.text.contains("Connect one: its first sync is a job"));
    let add = |kind: &str, state: &str, number: u32| {
        format!(
            "INSERT INTO jobs (id, kind, lane, creator_id, project_id, state, finished_at)
            SELECT uuid_v7(), '{kind}', 'bulk', gen_random_uuid(), '{}', '{state}',
                CASE WHEN '{state}' IN ('done', 'failed', 'cancelled') THEN now() END
            FROM generate_series(1, {number});",
            world.project
        )
    };
    let all = [("sync", "done", 1100), ("sync", "waiting", 3), ("sync", "enqueued", 2), ("sync", "running", 1)];
    let more = [("sync", "retrying", 4), ("sync", "failed", 60), ("revoke", "failed", 7), ("sync", "cancelled", 5)];
    let sql = world.sql().await;
    for (kind, state, number) in all.into_iter().chain(more) {
        sql.batch_execute(&add(kind, state, number)).await.expect("jobs");
    }
    let page = viewer.get(&path).await.text;
    let count = |tab: &str| {
        between(&page, &format!(">{tab} <span class=\"count"), "</span>").rsplit('>').next().map(str::to_owned)
    };
    let counts =
        ["Queued", "Running", "Retrying", "Dead", "Done", "Discarded"].map(|tab| count(tab).expect("a number"));
    assert_eq!(counts, ["5", "1", "4", "67", "1,000+", "5"], "{page}");
    let german = send(viewer.request(Method::GET, &path).header("accept-language", "de")).await.text;
    assert!(german.contains(">1.000+</span>"), "{german}");
    for (query, number) in [
        ("", 1182),
        ("?state=queued", 5),
        ("?state=dead", 67),
        ("?state=dead&kind=revoke", 7),
        ("?state=running&kind=revoke", 0),
        ("?state=nonsense&kind=%00", 1182),
    ] {
        let mut seen = walk(&mut viewer, &format!("{path}{query}")).await;
        assert_eq!(seen.len(), number, "{query}");
        let sorted: Vec<String> = seen.iter().rev().cloned().collect();
        seen.sort();
        assert_eq!(seen, sorted, "{query}: the newest first");
        seen.dedup();
        assert_eq!(seen.len(), number, "{query}: each once");
    }
    let dead = viewer.get(&format!("{path}?state=dead")).await.text;
    assert!(!dead.contains("Try again<") && !dead.contains("/retry"), "a viewer only looks");
    assert_eq!(viewer.get(&format!("{path}?before=nonsense")).await.status, 404);
    assert_eq!(viewer.get(&format!("{path}/nonsense")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_is_tried_again_once_and_by_who_may() {
    let world = World::start().await;
    let mut developer = Browser::member(&world, Role::Developer).await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let creator = world.creator("open-1").await;
    let id = dead_job(&world, world.project, creator, "sync", "sync").await;
    let project = format!("/console/projects/{}", world.project);
    let page = format!("{project}/jobs/{id}");
    let shown = viewer.get(&page).await.text;
    for words in
        ["Sync of open-1", "TikTok answered 500", "20261129233000010204", "What to do", "/docs/errors#platform_error"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("/retry"), "{shown}");
    for what in ["retry", "discard"] {
        assert_eq!(viewer.submit("/console/account", &format!("{page}/{what}"), &[]).await.status, 403);
    }
    assert_eq!(viewer.submit("/console/account", &format!("{project}/jobs/retry-dead"), &[]).await.status, 403);
    assert_eq!(state(&world, id).await, "failed");

    let retried = developer.submit(&page, &format!("{page}/retry"), &[]).await;
    assert_eq!(retried.header("location"), Some(format!("{page}?done=retried").as_str()));
    assert_eq!(state(&world, id).await, "enqueued");
    assert_eq!(world.queue.depth(Lane::Sync).await.expect("a depth").ready, 1, "it is on its way");
    let again = developer.submit("/console/account", &format!("{page}/retry"), &[]).await;
    assert!(again.status == 409 && again.text.contains("not dead any more"), "{}", again.text);
    let open = developer.confirm_unasked(&format!("{page}/discard")).await;
    assert!(open.status == 409 && open.text.contains("not dead any more"), "{}", open.text);
    let log = developer.get(&format!("{project}/audit")).await.text;
    assert_eq!(log.matches("tried again the <strong>sync of open-1").count(), 1, "{log}");

    // A creator has one open job of a kind; and one who must connect again gets none.
    let second = dead_job(&world, world.project, creator, "sync", "sync").await;
    let retry = format!("{project}/jobs/{second}/retry");
    let overtaken = developer.submit("/console/account", &retry, &[]).await;
    assert!(overtaken.status == 409 && overtaken.text.contains("a newer job of this kind"), "{}", overtaken.text);
    let refuse = "UPDATE jobs SET state = 'done'; UPDATE jobs SET state = 'failed' WHERE id = ";
    let refuse = format!("{refuse}'{second}'; UPDATE creators SET status = 'REAUTHORIZATION_REQUIRED'");
    world.sql().await.batch_execute(&refuse).await.expect("a refused creator");
    let refused = developer.submit("/console/account", &retry, &[]).await;
    assert!(refused.status == 409 && refused.text.contains("must connect again"), "{}", refused.text);
    world.sql().await.batch_execute("UPDATE creators SET disconnecting_at = now()").await.expect("a disconnect");
    let gone = developer.submit("/console/account", &retry, &[]).await;
    assert!(gone.status == 409 && gone.text.contains("was disconnected"), "{}", gone.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_is_discarded_but_never_a_disconnect() {
    let world = World::start().await;
    let mut developer = Browser::member(&world, Role::Developer).await;
    let creator = world.creator("open-1").await;
    let jobs = format!("/console/projects/{}/jobs", world.project);
    let sync = dead_job(&world, world.project, creator, "sync", "bulk").await;
    let revoke = dead_job(&world, world.project, creator, "revoke", "revoke").await;
    let page = format!("{jobs}/{revoke}");
    assert!(!developer.get(&page).await.text.contains("/discard"));
    let asked = developer.get(&format!("{page}/discard")).await;
    assert_eq!(asked.header("location"), Some(page.as_str()), "there is nothing to ask");
    let kept = developer.confirm_unasked(&format!("{page}/discard")).await;
    assert!(kept.status == 409 && kept.text.contains("never given up"), "{}", kept.text);
    let page = format!("{jobs}/{sync}");
    let discarded = developer.confirm(&format!("{page}/discard")).await;
    assert_eq!(discarded.header("location"), Some(format!("{page}?done=discarded").as_str()));
    assert_eq!([state(&world, sync).await, state(&world, revoke).await], ["cancelled", "failed"]);
    let log = developer.get(&format!("/console/projects/{}/audit", world.project)).await.text;
    assert!(log.contains("discarded the <strong>sync of open-1") && !log.contains("revoke of"), "{log}");
    // In a lane of a later version's: it is dead all the same.
    let later = dead_job(&world, world.project, creator, "sync", "express").await;
    let answer = developer.submit(&page, &format!("{jobs}/{later}/retry"), &[]).await;
    assert!(answer.status == 409 && answer.text.contains("a later version of the server"), "{}", answer.text);
    // Who saw it dead may be late: in no lane is an open one ended.
    let bulk = dead_job(&world, world.project, creator, "sync", "bulk").await;
    for open in ["waiting", "enqueued", "running", "retrying"] {
        let tried_again = format!("UPDATE jobs SET state = '{open}', finished_at = NULL WHERE id = '{bulk}'");
        world.sql().await.batch_execute(&tried_again).await.expect("an open job");
        let late = developer.confirm_unasked(&format!("{jobs}/{bulk}/discard")).await;
        assert!(late.status == 409 && late.text.contains("not dead any more"), "{}", late.text);
        assert_eq!(state(&world, bulk).await, open);
    }
    let unknown = JobId::new();
    for what in ["retry", "discard"] {
        let answer = developer.confirm_unasked(&format!("{jobs}/{unknown}/{what}")).await;
        assert_eq!(answer.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_dead_jobs_of_the_project_are_tried_again_and_no_others() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let (_, elsewhere) = Browser::stranger(&world).await;
    let jobs = format!("/console/projects/{}/jobs", world.project);
    let dead = format!("{jobs}?state=dead");
    let none = owner.submit("/console/account", &format!("{jobs}/retry-dead"), &[]).await;
    assert!(none.header("location").is_some_and(|place| place.ends_with("done=none-retried")));
    let mut ours = Vec::new();
    for name in ["open-1", "open-2", "open-3"] {
        let creator = world.creator(name).await;
        ours.push(dead_job(&world, world.project, creator, "sync", "sync").await);
    }
    let theirs = dead_job(&world, elsewhere, CreatorId::new(), "sync", "sync").await;
    let retried: Answer = owner.submit(&dead, &format!("{jobs}/retry-dead"), &[]).await;
    assert_eq!(retried.header("location"), Some(format!("{jobs}?state=queued&done=all-retried").as_str()));
    for id in ours {
        assert_eq!(state(&world, id).await, "waiting", "where it stands in nobody's way");
    }
    assert_eq!(state(&world, theirs).await, "failed");
    let log = owner.get(&format!("/console/projects/{}/audit", world.project)).await.text;
    assert!(log.contains("tried dead jobs again, in number <strong>3</strong>"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_platform_says_of_a_job_is_more_than_text() {
    let world = World::start().await;
    let mut developer = Browser::member(&world, Role::Developer).await;
    let mut operator = Browser::operator(&world).await;
    let creator = world.creator("open-1").await;
    let id = dead_job(&world, world.project, creator, "sync", "sync").await;
    let sql = world.sql().await;
    sql.execute("UPDATE creators SET username = $1", &[&XSS]).await.expect("an evil name");
    let evil = "UPDATE jobs SET error = $1, error_code = $1, log_id = $1, lane = $1 WHERE state = 'failed'";
    sql.execute(evil, &[&XSS]).await.expect("an evil error");
    let jobs = format!("/console/projects/{}/jobs", world.project);
    let mut pages = vec![
        developer.get(&jobs).await,
        developer.get(&format!("{jobs}?state=dead")).await,
        developer.get(&format!("{jobs}/{id}")).await,
        operator.get("/console/operations/jobs").await,
        operator.get(&format!("/console/operations/jobs/{id}")).await,
    ];
    // An older version's retry leaves an unknown lane alone, and says so.
    pages.push(developer.submit(&format!("{jobs}/{id}"), &format!("{jobs}/{id}/retry"), &[]).await);
    for page in pages {
        assert!(page.text.contains("&#60;script&#62;") || page.text.contains("&lt;script&gt;"), "{}", page.text);
        assert!(!page.text.contains("<script>alert") && !page.text.contains("<img src=x"), "{}", page.text);
        assert!(!page.text.contains("60481729"), "no template is evaluated: {}", page.text);
    }
}
