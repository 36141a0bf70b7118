//! Bulk resyncs on pages.

use shared::ids::BatchId;
use shared::people::Role;

use super::browser::Browser;
use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_is_asked_for_after_a_question_and_by_who_may() {
    let world = World::start().await;
    let mut developer = Browser::member(&world, Role::Developer).await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let batches = format!("/console/projects/{}/batches", world.project);
    let ask = format!("{batches}/new");
    assert!(developer.get(&ask).await.text.contains("Nobody is connected yet"));
    let empty = developer.get(&batches).await.text;
    assert!(empty.contains("No batch yet") && empty.contains(&ask), "{empty}");
    for name in ["open-1", "open-2", "open-3"] {
        world.creator(name).await;
    }
    assert_eq!(viewer.get(&ask).await.status, 403);
    assert_eq!(viewer.submit("/console/account", &batches, &[("age", "")]).await.status, 403);
    assert!(!viewer.get(&batches).await.text.contains(&ask));
    assert!(developer.get(&ask).await.text.contains("<strong>3</strong> creators"));
    for wrong in ["1s", "forever", "'"] {
        assert_eq!(developer.submit(&ask, &batches, &[("age", wrong)]).await.status, 400, "{wrong}");
    }
    let count = async || {
        let row = world.sql().await.query_one("SELECT count(*) FROM batches", &[]).await;
        row.expect("a count").get::<_, i64>(0)
    };
    assert_eq!(count().await, 0, "nothing was begun");

    let asked = developer.submit(&ask, &batches, &[("age", "")]).await;
    let place = asked.header("location").expect("a place").to_owned();
    let page = developer.get(&place).await.text;
    for words in
        ["Resync of 3 creators", "The resync is asked for", ">0%<", "Still to come", "Estimated end", "data-refresh"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    // Those that were synced a moment ago are none of them.
    world.sql().await.batch_execute("UPDATE creators SET last_synced_at = now()").await.expect("synced");
    let asked = developer.submit(&ask, &batches, &[("age", "24h")]).await;
    let page = developer.get(asked.header("location").expect("a place")).await.text;
    assert!(page.contains("Resync of 0 creators") && page.contains(">100%<"), "{page}");
    assert_eq!(count().await, 2);
    let listed = developer.get(&batches).await.text;
    assert_eq!(listed.matches("older than 1 day").count(), 1, "{listed}");
    let log = developer.get(&format!("/console/projects/{}/audit", world.project)).await.text;
    assert!(log.contains("asked for a resync of <strong>3 creators"), "{log}");
    assert_eq!(viewer.get(&batches).await.text.matches("class=\"row\"").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_a_batch_is_stands_in_the_list_and_on_its_page() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let batches = format!("/console/projects/{}/batches", world.project);
    let sql = world.sql().await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        let id = BatchId::new();
        let insert = format!(
            "INSERT INTO batches (id, project_id, total, fresh, expanded_at) VALUES ('{id}', '{}', 1000, 100, now());
            INSERT INTO batch_counts VALUES ('{id}', 1, 300, 40, 5), ('{id}', 2, 100, 10, 5)",
            world.project
        );
        sql.batch_execute(&insert).await.expect("a batch");
        ids.push(id.to_string());
    }
    let first = viewer.get(&batches).await.text;
    let second = viewer.get(super::browser::between(&first, "rel=\"next\" href=\"", "\"")).await.text;
    for (place, id) in ids.iter().rev().enumerate() {
        assert_eq!(
            (first.contains(id.as_str()), second.contains(&format!("{id}\""))),
            (place < 25, place >= 25),
            "{place}"
        );
    }
    let words = "56 percent: 500 done, 50 failed, 10 skipped of 1,000";
    assert_eq!(first.matches(words).count(), 25, "{first}");
    let page = viewer.get(&format!("{batches}/{}", ids[0])).await.text;
    for words in [words, "500 done", "50 failed", "10 skipped", "440", "a minute", "state=dead"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    for wrong in ["nonsense".to_owned(), BatchId::new().to_string()] {
        assert_eq!(viewer.get(&format!("{batches}/{wrong}")).await.status, 404);
    }
    assert_eq!(viewer.get(&format!("{batches}?before=nonsense")).await.status, 404);
}
