//! A key for the documentation.

use reqwest::Method;
use shared::people::Role;

use super::browser::{Browser, between};
use crate::harness::{Client, World, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_the_documentation_may_little_and_ends_soon() {
    let world = World::start().await;
    let mut developer = Browser::member(&world, Role::Developer).await;
    let (page, path) = ("/console/docs-key", format!("/console/projects/{}/docs-key", world.project));
    assert!(developer.get(page).await.text.contains(&path));
    let made = developer.submit(page, &path, &[]).await;
    assert_eq!((made.status.as_u16(), made.header("cache-control")), (201, Some("no-store")));
    let key = between(&made.text, "id=\"key\" tabindex=\"0\">", "<");
    let client = Client::new(&world.base, key);
    client.get("/api/v1/creators").await.data(200);
    client.post("/api/v1/connect/tiktok").await.data(200);
    let creator = world.creator("open-1").await;
    assert_eq!(client.delete(&format!("/api/v1/creators/{creator}")).await.error(403), "forbidden");
    let query = "SELECT name, expires_at < now() + interval '25 hours', (SELECT count(*) FROM audit_log
        WHERE action = 'key_created' AND actor = 'developer@example.com') FROM api_keys WHERE expires_at IS NOT NULL";
    let row = world.sql().await.query_one(query, &[]).await.expect("the key");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, bool>(1), row.get::<_, i64>(2)), ("Documentation", true, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_make_no_keys_is_offered_none_and_the_documentation_knows_nobody() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let path = format!("/console/projects/{}/docs-key", world.project);
    let page = viewer.get("/console/docs-key").await.text;
    assert!(!page.contains(&path) && page.contains("There is no project in which you may make keys"), "{page}");
    assert_eq!(viewer.submit("/console/docs-key", &path, &[]).await.status, 403);
    let nobody = send(world.client.bare(Method::GET, "/console/docs-key")).await;
    assert_eq!(nobody.header("location"), Some("/console/sign-in?next=%2Fconsole%2Fdocs-key"));
    // Signed in or not, the same page, and no cookie.
    let stranger = send(world.client.bare(Method::GET, "/docs/quickstart")).await;
    let member = viewer.get("/docs/quickstart").await;
    assert_eq!(stranger.text, member.text);
    assert_eq!(member.header("set-cookie"), None);
}
