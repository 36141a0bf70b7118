//! From the sign-in to a key that works, and what becomes of keys.

use shared::people::Role;

use super::browser::{Browser, between};
use super::jobs::walk;
use crate::harness::{Client, World, eventually};

/// The key that a page shows.
pub fn key_of(page: &str) -> String {
    between(page, r#"<code id="key" tabindex="0">"#, "</code>").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_and_makes_a_key_that_works() {
    let world = World::start().await;
    let mut browser = Browser::user(&world, "ada@example.com").await;
    let home = browser.get("/console").await;
    assert_eq!(home.header("location"), Some("/console/projects"));
    let empty = browser.get("/console/projects").await;
    assert!(empty.text.contains("Make your first project"), "{}", empty.text);
    let made = browser.submit("/console/projects", "/console/projects", &[("name", "Café ☕")]).await;
    let keys = made.header("location").expect("a place").to_owned();
    assert!(browser.get(&keys).await.text.contains("No key works"));
    assert_eq!(browser.get("/console").await.header("location"), Some(keys.as_str()), "the only project");
    let fields = [("name", "Backend"), ("access", "all"), ("expires", "never")];
    let shown = browser.submit(&keys, &keys, &fields).await;
    assert_eq!(shown.status, 201, "{}", shown.text);
    let key = key_of(&shown.text);
    assert!(shown.text.contains(&format!("curl -H \"x-api-key: {key}\" http://127.0.0.1:9/api/v1/creators")));
    assert_eq!(shown.header("cache-control"), Some("no-store"));
    Client::new(&world.base, &key).get("/api/v1/creators").await.data(200);
    let list = browser.get(&keys).await;
    assert!(list.text.contains("Backend") && list.text.contains(&key[..12]));
    assert!(!list.text.contains(&key), "it is shown once");
    let path = keys.clone();
    let client = Client::new(&world.base, &key);
    eventually("its use is shown", || {
        let request = browser.request(reqwest::Method::GET, &path);
        let used = client.get("/api/v1/creators");
        async move {
            // Once more: that it is noted is not awaited by the answer, and may fail on a busy machine.
            used.await.data(200);
            (!crate::harness::send(request).await.text.contains(">never</td>\n    <td data-label=\"Made\"><time"))
                .then_some(())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_the_scopes_and_the_end_that_were_chosen() {
    let world = World::start().await;
    let mut browser = Browser::member(&world, Role::Developer).await;
    let keys = format!("/console/projects/{}/keys", world.project);
    let fields = [("name", "Reader"), ("access", "some"), ("scope", "read"), ("scope", "sync"), ("expires", "7d")];
    let key = key_of(&browser.submit(&keys, &keys, &fields).await.text);
    let client = Client::new(&world.base, &key);
    client.get("/api/v1/creators").await.data(200);
    assert_eq!(client.post("/api/v1/connect/tiktok").await.error(403), "forbidden");
    let list = browser.get(&keys).await;
    assert!(list.text.contains("read, sync") && list.text.contains(">in 7 days</time>"), "{}", list.text);
    for wrong in [
        &[("name", " "), ("access", "all"), ("expires", "never")][..],
        &[("name", "x"), ("access", "some"), ("expires", "never")],
        &[("name", "x"), ("access", "some"), ("scope", "admin"), ("expires", "never")],
        &[("name", "x\u{7}"), ("access", "all"), ("expires", "never")],
    ] {
        let refused = browser.submit(&keys, &keys, wrong).await;
        assert_eq!(refused.status, 422, "{wrong:?}");
        assert!(refused.text.contains(r#"role="alert""#), "{}", refused.text);
    }
    let unknown = browser.submit(&keys, &keys, &[("name", "x"), ("access", "all"), ("expires", "9999d")]).await;
    assert_eq!(unknown.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_a_page_at_a_time_and_apart_from_those_that_ended() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let keys = format!("/console/projects/{}/keys", world.project);
    // Beside the world's own, which works.
    let insert = format!(
        "INSERT INTO api_keys (id, project_id, hash, prefix, revoked_at, expires_at)
        SELECT uuid_v7(), '{}', sha256(n::text::bytea), 'mlk_' || n, CASE WHEN n % 4 = 0 THEN now() END,
            CASE n % 4 WHEN 1 THEN now() - interval '1 hour' WHEN 2 THEN now() + interval '1 hour' END
        FROM generate_series(1, 240) AS n",
        world.project
    );
    world.sql().await.batch_execute(&insert).await.expect("keys");
    for (query, number) in [("", 121), ("?show=ended", 120)] {
        let mut seen = walk(&mut viewer, &format!("{keys}{query}")).await;
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), number, "{query}");
        let first = viewer.get(&format!("{keys}{query}")).await.text;
        assert_eq!(first.matches("class=\"row\"").count(), 50, "{query}");
        assert_eq!(first.contains("revoked <time") && first.contains("expired <time"), number == 120, "{first}");
    }
    assert_eq!(viewer.get(&format!("{keys}?before=nonsense")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerolled_key_overlaps_and_a_revoked_one_stops() {
    let world = World::start().await;
    let mut browser = Browser::member(&world, Role::Developer).await;
    let keys = format!("/console/projects/{}/keys", world.project);
    let fields = [("name", "Backend"), ("access", "some"), ("scope", "read"), ("expires", "30d")];
    let first = key_of(&browser.submit(&keys, &keys, &fields).await.text);
    let page = format!("{keys}/{}", id_of(&world, &first).await);

    let overlapping = browser.submit(&page, &format!("{page}/reroll"), &[("overlap", "1h")]).await;
    assert_eq!(overlapping.status, 201, "{}", overlapping.text);
    let second = key_of(&overlapping.text);
    for key in [&first, &second] {
        let client = Client::new(&world.base, key);
        client.get("/api/v1/creators").await.data(200);
        assert_eq!(client.post("/api/v1/connect/tiktok").await.error(403), "forbidden", "the same scopes");
    }
    let row = "SELECT expires_at < now() + interval '61 minutes' FROM api_keys WHERE prefix = $1";
    let sql = world.sql().await;
    assert!(sql.query_one(row, &[&&first[..12]]).await.unwrap().get::<_, bool>(0), "the old one has an hour");
    let row = "SELECT expires_at > now() + interval '29 days' AND name = 'Backend' FROM api_keys WHERE prefix = $1";
    assert!(sql.query_one(row, &[&&second[..12]]).await.unwrap().get::<_, bool>(0), "the new one has its own month");

    let page = format!("{keys}/{}", id_of(&world, &second).await);
    let asked = browser.submit(&page, &format!("{page}/reroll"), &[("overlap", "0")]).await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    assert!(asked.text.contains("and stop it at once?") && asked.text.contains(r#"name="overlap" value="0""#));
    Client::new(&world.base, &second).get("/api/v1/creators").await.data(200);
    let at_once = [("overlap", "0"), ("confirmed", "yes")];
    let third = key_of(&browser.submit(&page, &format!("{page}/reroll"), &at_once).await.text);
    stops(&world, &second).await;
    for fields in [&at_once[..1], &at_once] {
        assert_eq!(browser.submit(&keys, &format!("{page}/reroll"), fields).await.status, 404, "once");
    }
    let page = format!("{keys}/{}", id_of(&world, &third).await);
    let revoked = browser.confirm(&format!("{page}/revoke")).await;
    assert_eq!(revoked.header("location"), Some(format!("{keys}?done=revoked").as_str()));
    stops(&world, &third).await;
    assert!(browser.get(&format!("{keys}?done=revoked")).await.text.contains("The key is revoked"));
    assert_eq!(browser.get(&format!("{page}/revoke")).await.status, 404);
    assert_eq!(browser.confirm_unasked(&format!("{page}/revoke")).await.status, 404);
    let log = browser.get(&format!("/console/projects/{}/audit", world.project)).await;
    for line in ["made the key", "rerolled the key", "revoked the key"] {
        assert!(log.text.contains(line), "{line}: {}", log.text);
    }
    for key in [first, second, third] {
        assert!(!log.text.contains(&key));
    }
}

async fn id_of(world: &World, key: &str) -> String {
    let row = world.sql().await.query_one("SELECT id::text FROM api_keys WHERE prefix = $1", &[&&key[..12]]).await;
    row.expect("the key").get(0)
}

async fn stops(world: &World, key: &str) {
    let client = Client::new(&world.base, key);
    eventually("the key stops", || async { (client.get("/api/v1/creators").await.status == 401).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_once_as_long_as_its_replacement_works() {
    let world = World::start().await;
    let mut browser = Browser::member(&world, Role::Developer).await;
    let keys = format!("/console/projects/{}/keys", world.project);
    let fields = [("name", "Backend"), ("access", "all"), ("expires", "never")];
    let first = key_of(&browser.submit(&keys, &keys, &fields).await.text);
    let page = format!("{keys}/{}", id_of(&world, &first).await);
    let reroll = format!("{page}/reroll");
    let second = key_of(&browser.submit(&page, &reroll, &[("overlap", "7d")]).await.text);
    let sql = world.sql().await;
    let days = "SELECT (extract(epoch FROM expires_at - now()) / 86400)::float8 FROM api_keys WHERE prefix = $1";
    let left = async |key: &str| sql.query_one(days, &[&&key[..12]]).await.expect("a row").get::<_, Option<f64>>(0);
    for overlap in ["0", "1h", "7d"] {
        for fields in [&[("overlap", overlap)][..], &[("overlap", overlap), ("confirmed", "yes")]] {
            let again = browser.submit("/console/account", &reroll, fields).await;
            assert_eq!(again.status, 422, "{fields:?}: {}", again.text);
            assert!(again.text.contains("This key has been rerolled already"), "{}", again.text);
        }
    }
    assert!(left(&first).await.expect("an end") > 6.9, "the overlap that was promised stays");
    Client::new(&world.base, &first).get("/api/v1/creators").await.data(200);
    let shown = browser.get(&page).await.text;
    assert!(shown.contains(&second[..12]) && !shown.contains("name=\"overlap\""), "{shown}");
    // Who never saw the new one revokes it, and may ask again.
    let lost = format!("{keys}/{}", id_of(&world, &second).await);
    assert_eq!(browser.confirm(&format!("{lost}/revoke")).await.status, 303);
    let third = browser.submit(&page, &reroll, &[("overlap", "1d")]).await;
    assert_eq!(third.status, 201, "{}", third.text);
    let third = key_of(&third.text);
    assert_eq!(left(&third).await, None, "the life of the one that was lost, and not of an overlap");
    Client::new(&world.base, &third).get("/api/v1/creators").await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_makes_no_end_of_rows() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let base = format!("/console/projects/{}", world.project);
    let sql = world.sql().await;
    let fill = format!(
        "INSERT INTO api_keys (id, project_id, hash, prefix, name) SELECT gen_random_uuid(), '{0}',
            sha256(n::text::bytea), 'mlk_' || n, 'key' FROM generate_series(2, 100) AS n;
        INSERT INTO invitations (id, hash, project_id, role, invited_by, expires_at) SELECT gen_random_uuid(),
            sha256(n::text::bytea), '{0}', 'viewer', 'x', now() + interval '1 day' FROM generate_series(1, 100) AS n;
        INSERT INTO projects (id, name) SELECT gen_random_uuid(), 'p' || n FROM generate_series(2, 100) AS n;
        INSERT INTO members (project_id, user_id, role) SELECT projects.id, users.id, 'owner' FROM projects, users
            WHERE projects.name LIKE 'p%' ON CONFLICT DO NOTHING;
        INSERT INTO sessions (id, hash, user_id, browser, address, seen_at) SELECT gen_random_uuid(), sha256(n::text::bytea),
            users.id, '', '', now() - n * interval '1 minute' FROM users, generate_series(2, 200) AS n",
        world.project
    );
    sql.batch_execute(&fill).await.expect("filled");
    let (keys, members) = (format!("{base}/keys"), format!("{base}/members"));
    let key = [("name", "x"), ("access", "all"), ("expires", "never")];
    for (page, path, fields, words) in [
        (&keys, &keys, &key[..], "100 keys that work"),
        (&"/console/docs-key".to_owned(), &format!("{base}/docs-key"), &[], "100 keys that work"),
        (&members, &format!("{members}/invite"), &[("role", "viewer")], "100 open invitations"),
        (&"/console/projects".to_owned(), &"/console/projects".to_owned(), &[("name", "one more")], "100 projects"),
    ] {
        let refused = owner.submit(page, path, fields).await;
        assert_eq!(refused.status, 422, "{words}: {}", refused.text);
        assert!(refused.text.contains(words), "{words}: {}", refused.text);
    }
    sql.batch_execute("UPDATE api_keys SET revoked_at = now() WHERE prefix = 'mlk_2'").await.expect("room");
    assert_eq!(owner.submit(&keys, &keys, &key).await.status, 201, "those that have ended do not count");
    let signed_in = Browser::new(&world).sign_in("owner@example.com", super::browser::PASSWORD).await;
    assert_eq!(signed_in.status, 303);
    let count = "SELECT count(*) FROM sessions";
    assert_eq!(sql.query_one(count, &[]).await.expect("a count").get::<_, i64>(0), 100, "the oldest have ended");
    assert_eq!(owner.get(&keys).await.status, 200, "and those in use have not");
}
