//! What others may try: each is harmless.

use reqwest::Method;
use shared::api_key::ApiKey;
use shared::people::{Email, Role};
use shared::secret_token::SecretToken;
use shared::store::Made;
use shared::store::members::Actor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::browser::{Browser, XSS, csrf};
use super::walk::{FIELDS, Things, state};
use crate::harness::{World, send, until_refused};

/// Every route below a project, with something of that project's in its place. A route that is missing here fails the test
/// below that reads the source.
const PROJECT_ROUTES: [(&str, &str); 36] = [
    ("GET", ""),
    ("GET", "/creators"),
    ("POST", "/creators/connect"),
    ("GET", "/creators/connected"),
    ("GET", "/creators/{creator}"),
    ("GET", "/creators/{creator}/export"),
    ("GET", "/creators/{creator}/progress"),
    ("POST", "/creators/{creator}/sync"),
    ("GET", "/creators/{creator}/disconnect"),
    ("POST", "/creators/{creator}/disconnect"),
    ("GET", "/jobs"),
    ("POST", "/jobs/retry-dead"),
    ("GET", "/jobs/{job}"),
    ("POST", "/jobs/{job}/retry"),
    ("GET", "/jobs/{job}/discard"),
    ("POST", "/jobs/{job}/discard"),
    ("GET", "/batches"),
    ("POST", "/batches"),
    ("GET", "/batches/new"),
    ("GET", "/batches/{batch}"),
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("GET", "/keys/{key}"),
    ("POST", "/keys/{key}/reroll"),
    ("GET", "/keys/{key}/revoke"),
    ("POST", "/keys/{key}/revoke"),
    ("POST", "/docs-key"),
    ("GET", "/members"),
    ("POST", "/members/invite"),
    ("POST", "/members/{user}/role"),
    ("GET", "/members/{user}/remove"),
    ("POST", "/members/{user}/remove"),
    ("POST", "/invitations/{invitation}/withdraw"),
    ("GET", "/settings"),
    ("POST", "/settings"),
    ("GET", "/audit"),
];

#[test]
fn the_walk_knows_every_route() {
    let source = include_str!("../../../src/console/mod.rs");
    let (_, project) = source.split_once("web::scope(\"/projects/{project}\")").expect("the project's routes");
    let (project, rest) = project.split_once("web::scope(PATH)").expect("the others");
    let mut found = Vec::new();
    for resource in project.split("resource(\"").skip(1) {
        let (path, routes) = resource.split_once('"').expect("a path");
        found.extend(routes.matches("get().to").map(|_| ("GET", path)));
        found.extend(routes.matches("post().to").map(|_| ("POST", path)));
    }
    assert_eq!(found, PROJECT_ROUTES);
    assert!(!rest.contains("{project}"), "all of a project's routes are in its scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_projects_things_do_not_exist() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let things = Things::make(&world, &mut owner).await;
    let (mut stranger, own) = Browser::stranger(&world).await;
    let token = csrf(&stranger.get("/console/account").await.text).expect("a token");
    let before = state(&world).await;
    for (method, path) in PROJECT_ROUTES {
        let ours = things.fill(&format!("/console/projects/{{project}}{path}"));
        if method == "GET" {
            // It is there: a 404 for others says something. (For a POST the viewer's 403 below does.)
            let shown = owner.get(&ours).await;
            assert!(matches!(shown.status.as_u16(), 200 | 303), "{ours}: {} {}", shown.status, shown.text);
        }
        // Theirs by its own address, and theirs by the address of one's own project.
        let mut addresses = vec![ours.clone()];
        if path.contains('{') {
            addresses.push(ours.replace(&world.project.to_string(), &own.to_string()));
        }
        for address in addresses {
            let answer = if method == "GET" {
                stranger.get(&address).await
            } else {
                stranger.post(&address, &[&FIELDS[..], &[("csrf", &token)]].concat()).await
            };
            assert_eq!(answer.status, 404, "{method} {address}: {}", answer.text);
        }
        // Nobody at all.
        let nobody = send(world.client.bare(Method::GET, &ours)).await;
        assert!(matches!(nobody.status.as_u16(), 303 | 405), "{path}: {}", nobody.status);
    }
    for wrong in ["nonsense", &world.project.to_string().to_uppercase(), "%00", "..%2f", "'; DROP TABLE users; --"] {
        assert_eq!(stranger.get(&format!("/console/projects/{wrong}/keys")).await.status, 404, "{wrong}");
    }
    assert_eq!(state(&world).await, before, "nothing was changed");
    world.client.get("/api/v1/creators").await.data(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_changes_nothing() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let things = Things::make(&world, &mut owner).await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let token = csrf(&viewer.get("/console/account").await.text).expect("a token");
    let before = state(&world).await;
    // The user whom a path names is the owner: to leave is the one thing that a viewer may do.
    for (_, path) in PROJECT_ROUTES.iter().filter(|(method, _)| *method == "POST") {
        let address = things.fill(&format!("/console/projects/{{project}}{path}"));
        let refused = viewer.post(&address, &[&FIELDS[..], &[("csrf", &token)]].concat()).await;
        assert_eq!(refused.status, 403, "{address}: {}", refused.text);
        assert!(refused.text.contains("Your role does not allow this"), "{address}: {}", refused.text);
    }
    assert_eq!(state(&world).await, before, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_is_refused() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let settings = format!("/console/projects/{}/settings", world.project);
    let token = csrf(&owner.get(&settings).await.text).expect("a token");
    let mut other = Browser::user(&world, "mallory@example.com").await;
    let others = csrf(&other.get("/console/account").await.text).expect("a token");
    let send_with = async |headers: &[(&str, &str)], fields: &[(&str, &str)]| {
        let request = owner.request(Method::POST, &settings).form(fields);
        send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    };
    let good = [("csrf", token.as_str()), ("name", "stolen")];
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:9")],
    ] {
        let refused = send_with(headers, &good).await;
        assert_eq!(refused.status, 403, "{headers:?}");
        assert!(refused.text.contains("Nothing was changed"));
    }
    for fields in [
        &[("name", "stolen")][..],
        &[("csrf", ""), ("name", "stolen")],
        &[("csrf", others.as_str()), ("name", "stolen")],
        &[("csrf", &token[1..]), ("name", "stolen")],
    ] {
        assert_eq!(send_with(&[("sec-fetch-site", "same-origin")], fields).await.status, 403, "{fields:?}");
    }
    // Without any cookie there is nothing that a form could be tied to.
    let bare = world.client.bare(Method::POST, "/console/sign-in").form(&[("csrf", token.as_str())]);
    assert_eq!(send(bare).await.status, 403);
    // Only forms: no other method, and no body of another kind, changes anything.
    for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let answer = send(owner.request(method.clone(), &settings)).await;
        assert_eq!(answer.status, 405, "{method}");
    }
    let json = owner.request(Method::POST, &settings).json(&serde_json::json!({"csrf": token, "name": "stolen"}));
    assert_eq!(send(json).await.status, 403);
    let name = world.sql().await.query_one("SELECT name FROM projects WHERE name = 'project'", &[]).await;
    name.expect("it has its old name");
    for headers in [&[("origin", "http://127.0.0.1:9")][..], &[("origin", world.base.as_str())], &[]] {
        assert_eq!(send_with(headers, &good).await.status, 303, "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_somebody_has_named_is_more_than_text() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let base = format!("/console/projects/{}", world.project);
    let (keys, settings) = (format!("{base}/keys"), format!("{base}/settings"));
    let fields = [("name", XSS), ("access", "all"), ("expires", "never")];
    let mut pages = vec![owner.submit(&keys, &keys, &fields).await];
    let key = world.sql().await.query_one("SELECT id::text FROM api_keys WHERE name IS NOT NULL", &[]).await.unwrap();
    owner.submit(&settings, &settings, &[("name", XSS)]).await;
    let sql = world.sql().await;
    let evil = r#"<script>alert(1)</script>"'@example.com"#;
    assert!(evil.parse::<Email>().is_ok(), "an address may look like this");
    sql.execute("UPDATE users SET email = $1", &[&evil]).await.expect("an evil address");
    sql.execute("UPDATE sessions SET browser = $1, address = $1", &[&XSS]).await.expect("an evil browser");
    sql.execute("UPDATE audit_log SET action = $1", &[&XSS]).await.expect("an evil action");
    pages.push(owner.get(&keys).await);
    pages.push(owner.get(&format!("{keys}/{}", key.get::<_, String>(0))).await);
    for path in ["members", "settings", "audit"] {
        pages.push(owner.get(&format!("{base}/{path}")).await);
    }
    pages.push(owner.get("/console/account").await);
    pages.push(owner.get("/console/projects").await);
    pages.push(owner.submit("/console/projects", "/console/projects", &[("name", &XSS.repeat(3))]).await);
    for page in &pages {
        let shown =
            page.text.contains("&lt;script&gt;alert(1)&lt;/script&gt;") || page.text.contains("&#60;script&#62;");
        assert!(shown, "it is there, as text: {}", page.text);
    }
    let mut browser = Browser::new(&world);
    pages.push(browser.sign_in(XSS, "guess").await);
    for query in ["next=", "done="] {
        let encoded: String = url::form_urlencoded::byte_serialize(XSS.as_bytes()).collect();
        pages.push(browser.get(&format!("/console/sign-in?{query}{encoded}")).await);
        pages.push(owner.get(&format!("{settings}?{query}{encoded}")).await);
    }
    for page in pages {
        assert!(!page.text.contains("<script>alert") && !page.text.contains("<img src=x"), "{}", page.text);
        assert!(!page.text.contains("60481729"), "no template is evaluated: {}", page.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_has_a_strict_policy_and_nothing_inline() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let base = format!("/console/projects/{}", world.project);
    let creator = world.creator("open-1").await;
    world.add_videos(creator, 30, chrono::Utc::now()).await;
    let mut paths = ["jobs", "batches", "batches/new", "keys", "members", "settings", "audit", "creators"]
        .map(|path| format!("{base}/{path}"))
        .to_vec();
    paths.push(format!("{base}/creators/{creator}"));
    paths.push(format!("{base}/creators/{creator}/disconnect"));
    paths.push("/console/account/log".to_owned());
    paths.extend(["/console/account", "/console/projects", "/console/none", "/console/join/x"].map(str::to_owned));
    for path in paths {
        let page = owner.get(&path).await;
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(page.header("referrer-policy"), Some("same-origin"), "{path}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"), "{path}");
        for inline in [" style=", "<style", " onclick=", " onload=", "javascript:", "<script>"] {
            assert!(!page.text.contains(inline), "{path}: {inline}");
        }
        assert!(page.text.starts_with("<!doctype html>") && page.text.contains("<html lang=\"en\">"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_bodies_and_queries_are_refused_or_ignored() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let settings = format!("/console/projects/{}/settings", world.project);
    let token = csrf(&owner.get(&settings).await.text).expect("a token");
    let with_null = owner.post(&settings, &[("csrf", token.as_str()), ("name", "a\0b")]).await;
    assert_eq!(with_null.status, 400, "{}", with_null.text);
    let large = owner.post(&settings, &[("csrf", token.as_str()), ("name", &"x".repeat(70_000))]).await;
    assert_eq!(large.status, 413, "{}", large.text);
    let bytes = owner.request(Method::POST, &settings).body(vec![0xff, 0x00, b'=', b'&', 0xfe]);
    assert_eq!(send(bytes).await.status, 403);
    let audit = format!("/console/projects/{}/audit", world.project);
    for query in ["before=nonsense", "before=%00", "before='"] {
        assert_eq!(owner.get(&format!("{audit}?{query}")).await.status, 404, "{query}");
    }
    for cookie in ["metriqlab=", "metriqlab=x", "metriqlab=%00", "; ;=;metriqlab", &"a=b;".repeat(1000)] {
        let asked = world.client.bare(Method::GET, "/console/account").header("cookie", cookie);
        assert_eq!(send(asked).await.status, 303, "{cookie:.20}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_has_pages() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let user = world.store.user_by_email(&"owner@example.com".parse().unwrap()).await.unwrap().expect("the owner");
    let actor = Actor { user: user.id, email: &user.email };
    for number in 0..60 {
        let key = ApiKey::generate();
        let new =
            shared::store::keys::NewKey { hash: &key.hash(), prefix: key.prefix(), scopes: None, expires_at: None };
        let name = format!("number-{number:02}");
        assert_eq!(world.store.make_key(world.project, actor, &name, &new).await.expect("an answer"), Made::Done);
    }
    let path = format!("/console/projects/{}/audit", world.project);
    let first = owner.get(&path).await.text;
    assert!(first.contains("number-59") && first.contains("number-10") && !first.contains("number-09"));
    let older = super::browser::between(&first, "rel=\"next\" href=\"", "\"");
    let second = owner.get(older).await.text;
    assert!(second.contains("number-09") && second.contains("number-00") && !second.contains("number-10"));
    assert!(!second.contains("rel=\"next\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_links_is_slowed() {
    let world = World::start().await;
    let refused = until_refused(410, async |number: u64| {
        let kind = if number.is_multiple_of(2) { "join" } else { "password" };
        let path = format!("/console/{kind}/{}", SecretToken::generate().expose());
        // Without a cookie: nothing else is looked up.
        send(world.client.bare(Method::GET, &path)).await
    })
    .await;
    assert!(refused.header("retry-after").is_some() && refused.text.contains("Too many tries"));
    // A good link from the same address works.
    let token = SecretToken::generate();
    world.store.add_password_link(&"ada@example.com".parse().unwrap(), &token.hash()).await.expect("a link");
    assert_eq!(send(world.client.bare(Method::GET, &api::password_path(&token))).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_too_long_or_never_ends_is_answered_by_a_page() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    let settings = format!("/console/projects/{}/settings", world.project);
    let token = csrf(&owner.get(&settings).await.text).expect("a token");
    let address = world.base.trim_start_matches("http://").to_owned();
    let answer_to = async |rest: String| {
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connected");
        let head = format!(
            "POST {settings} HTTP/1.1\r\nhost: x\r\ncookie: metriqlab={}\r\nsec-fetch-site: same-origin\r\n\
             content-type: application/x-www-form-urlencoded\r\n",
            owner.cookie
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        // It may be answered and closed before all of it is read.
        let _ = stream.write_all(rest.as_bytes()).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(60), read).await.expect("an end");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let form = format!("csrf={token}&name=slow");
    let slow = answer_to(format!("content-length: 1000\r\n\r\n{form}")).await;
    let announced = answer_to("content-length: 100000\r\n\r\n".to_owned()).await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let streamed = answer_to(format!("transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(5))).await;
    for (answer, status) in [(slow, 408), (announced, 413), (streamed, 413)] {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let page = answer.contains("text/html") && answer.contains("This could not be read");
        assert!(page && answer.contains("default-src 'none'"), "the page of its own: {answer}");
    }
    assert!(owner.get(&settings).await.text.contains("value=\"project\""), "nothing was changed");
}
