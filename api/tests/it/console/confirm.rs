//! What can't be undone is asked about first.

use shared::people::Role;

use super::browser::{Browser, XSS};
use super::jobs::dead_job;
use crate::harness::World;

/// All that could be lost here, as one text.
async fn state(world: &World) -> String {
    let query = "SELECT concat((SELECT json_agg(m ORDER BY user_id) FROM members m), (SELECT json_agg(j ORDER BY id) FROM jobs j),
        (SELECT json_agg(c ORDER BY id) FROM creators c), (SELECT json_agg(revoked_at ORDER BY id) FROM api_keys))";
    world.sql().await.query_one(query, &[]).await.expect("a row").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_undone_is_done_only_when_it_is_confirmed() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    Browser::member(&world, Role::Viewer).await;
    let creator = world.creator("open-1").await;
    let named = "UPDATE creators SET username = 'spikewmu', video_count = 1234";
    world.sql().await.batch_execute(named).await.expect("a name");
    let job = dead_job(&world, world.project, creator, "sync", "sync").await;
    let sql = world.sql().await;
    let id = async |query: &str| sql.query_one(query, &[]).await.expect("a row").get::<_, String>(0);
    let (key, prefix) = (id("SELECT id::text FROM api_keys").await, id("SELECT prefix FROM api_keys").await);
    let viewer = id("SELECT user_id::text FROM members WHERE role = 'viewer'").await;
    let project = format!("/console/projects/{}", world.project);
    // The creator last: its job goes with it.
    for (path, names) in [
        (format!("{project}/jobs/{job}/discard"), ["Sync of spikewmu", "batches count it as skipped"]),
        (format!("{project}/members/{viewer}/remove"), ["viewer@example.com", "They see nothing of project any more"]),
        (format!("{project}/keys/{key}/revoke"), [prefix.as_str(), "every program that uses it is refused"]),
        (format!("{project}/creators/{creator}/disconnect"), ["spikewmu", "all 1,234 videos"]),
    ] {
        let before = state(&world).await;
        let asked = owner.get(&path).await;
        assert_eq!(asked.status, 200, "{path}");
        for name in names {
            assert!(asked.text.contains(name), "{name}: {}", asked.text);
        }
        for unsure in [&[][..], &[("confirmed", "")], &[("confirmed", "no")]] {
            let refused = owner.submit(&path, &path, unsure).await;
            assert_eq!(refused.status, 422, "{path}: {}", refused.text);
            assert!(refused.text.contains("Nothing was done") && refused.text.contains(names[0]), "{}", refused.text);
        }
        assert_eq!(state(&world).await, before, "{path}");
        assert_eq!(owner.confirm(&path).await.status, 303, "{path}");
        assert_ne!(state(&world).await, before, "{path}");
        let again = owner.get(&path).await.status.as_u16();
        assert!(again == 404 || again == 303, "there is nothing to ask any more: {path}: {again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_do_it_is_not_asked_and_a_name_is_only_text() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let creator = world.creator("open-1").await;
    world.sql().await.execute("UPDATE creators SET username = $1", &[&XSS]).await.expect("an evil name");
    let path = format!("/console/projects/{}/creators/{creator}/disconnect", world.project);
    assert_eq!(viewer.get(&path).await.status, 403);
    let page = owner.get(&path).await.text;
    assert!(page.contains("&#60;script&#62;") && !page.contains("<script>alert"), "{page}");
}
