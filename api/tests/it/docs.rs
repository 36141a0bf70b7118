//! The documentation: that it is whole, that its links lead somewhere, and that it says what the code says.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::Value;
use shared::platforms::tiktok::fields;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Answer, World, send};

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

async fn get(world: &World, path: &str) -> Answer {
    send(world.client.bare(Method::GET, path)).await
}

/// The values of an attribute in a page.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    html.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// Every page that the sidebar of `/docs` leads to, by its path.
async fn pages(world: &World) -> BTreeMap<String, Answer> {
    let first = get(world, "/docs").await;
    let menu = first.text.split("<nav id=\"nav\"").nth(1).and_then(|rest| rest.split("</nav>").next()).expect("a menu");
    let mut pages = BTreeMap::new();
    for path in values(menu, "href") {
        pages.insert(path.to_owned(), get(world, path).await);
    }
    assert!(pages.len() >= 20 && pages.contains_key("/docs"), "{:?}", pages.keys());
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_safe_whole_and_there_as_markdown() {
    let world = World::start().await;
    let pages = pages(&world).await;
    let index = get(&world, "/llms.txt").await;
    assert_eq!(index.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(index.text.starts_with("# MetriqLab\n\n> "), "{}", index.text);
    for (path, page) in &pages {
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert_eq!(page.header("content-security-policy"), Some(POLICY), "{path}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(page.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"), "{path}");
        let html = &page.text;
        assert!(!html.contains("<style") && !html.contains(" style=") && !html.contains("<script>"), "{path}");
        assert!(!html.contains(" onclick") && !html.contains("javascript:"), "{path}");
        assert!(!html.contains("{{") && !html.contains("{%"), "{path}: something was not filled in");
        assert!(values(html, "src").iter().all(|source| source.starts_with("/static/")), "{path}");
        let ids = values(html, "id");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{path}: an id comes twice");
        assert_eq!(html.matches("<h1").count(), 1, "{path}");
        let markdown = get(&world, &format!("{path}.md")).await;
        assert_eq!(markdown.header("content-type"), Some("text/markdown; charset=utf-8"), "{path}");
        assert!(markdown.text.starts_with("# ") && markdown.text.len() > 200, "{path}: {}", markdown.text);
        assert!(!markdown.text.contains("{{") && !markdown.text.contains("```request"), "{path}");
        assert!(index.text.contains(&format!("({}{path}.md): ", crate::harness::PUBLIC_URL)), "llms.txt lacks {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_and_anchor_leads_somewhere() {
    let world = World::start().await;
    let pages = pages(&world).await;
    let mut others: BTreeMap<String, u16> = BTreeMap::new();
    let mut seen = 0;
    for (path, page) in &pages {
        for link in values(&page.text, "href").into_iter().chain(values(&page.text, "src")) {
            let (target, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if target.is_empty() { path } else { target };
            assert!(target.starts_with('/'), "{path} leads to another host: {link}");
            seen += 1;
            if let Some(page) = pages.get(target) {
                let is_there = fragment.is_empty() || values(&page.text, "id").contains(&fragment);
                assert!(is_there, "{path}: {link} has no such anchor");
            } else {
                if !others.contains_key(target) {
                    others.insert(target.to_owned(), get(&world, target).await.status.as_u16());
                }
                // The dashboard asks who it is first.
                let expected = if target.starts_with("/console") { 303 } else { 200 };
                assert_eq!(others[target], expected, "{path}: {link}");
            }
        }
    }
    assert!(seen > 500, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_code_is_explained() {
    let world = World::start().await;
    // Each text in the function that names the codes is one.
    let source = include_str!("../../src/error.rs");
    let function = source.split("pub fn code(&self)").nth(1).and_then(|rest| rest.split("\n    }\n").next());
    let known: BTreeSet<&str> = function.expect("the codes").split('"').skip(1).step_by(2).collect();
    assert!(known.len() >= 12 && known.contains("rate_limited"), "{known:?}");
    let page = get(&world, "/docs/errors").await.text;
    for code in &known {
        assert!(page.contains(&format!("<h3 id=\"{code}\">")), "{code} is not explained");
    }
    for part in page.split("<h3 id=\"").skip(1) {
        let code = part.split('"').next().expect("an id");
        assert!(known.contains(code), "{code} is none of ours");
        for word in ["<strong>Status</strong>", "<strong>Cause.</strong>", "<strong>Remedy.</strong>"] {
            assert!(part.contains(word), "{code} has no {word}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_has_every_operation_and_the_field_tables_every_field() {
    let world = World::start().await;
    let document = get(&world, "/openapi.json").await.body;
    let pages = pages(&world).await;
    let reference: String =
        pages.iter().filter(|(path, _)| path.starts_with("/docs/api/")).map(|(_, page)| page.text.as_str()).collect();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(reference.contains(&format!("<h2 id=\"{id}\">")), "{method} {path}");
            assert!(reference.contains(&format!("<code>{path}</code>")), "{method} {path}");
        }
    }
    let has = |schema: &str, name: &str| {
        let pointer = name.split('.').fold(format!("/components/schemas/{schema}"), |at, part| {
            let reference = document.pointer(&format!("{at}/$ref")).and_then(Value::as_str);
            format!("{}/properties/{part}", reference.map_or(at, |to| to.trim_start_matches('#').to_owned()))
        });
        document.pointer(&pointer).is_some()
    };
    let data = &pages["/docs/tiktok-data"].text;
    for (fields, schemas) in [(fields::USER, ["Profile", "Creator"]), (fields::VIDEO, ["Video", "Video"])] {
        for field in fields {
            let name = field.shown_as;
            let nested = name.strip_prefix("stats.").is_some_and(|name| has("Stats", name));
            assert!(nested || schemas.iter().any(|schema| has(schema, name)), "the API has no {name}");
            assert!(data.contains(&format!("<code>{}</code>", field.name)), "{} is not documented", field.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_sent_once_and_found_with_a_slash_at_its_end() {
    let world = World::start().await;
    let page = get(&world, "/docs/connect").await;
    let tag = page.header("etag").expect("a tag");
    let again = send(world.client.bare(Method::GET, "/docs/connect").header("if-none-match", tag)).await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    let moved = get(&world, "/docs/connect/").await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (308, Some("/docs/connect")));
    let head = send(world.client.bare(Method::HEAD, "/docs/connect")).await;
    assert_eq!((head.status.as_u16(), head.header("etag"), head.text.as_str()), (200, Some(tag), ""));
    let posted = send(world.client.bare(Method::POST, "/docs/connect")).await;
    assert_eq!((posted.error(405), posted.header("allow")), ("method_not_allowed", Some("GET, HEAD")));
}

/// What is answered to a request line as it is: an HTTP client would tidy the path up first.
async fn raw(world: &World, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(world.api.addr()).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_path_leads_nowhere() {
    let world = World::start().await;
    let long = format!("/docs/{}", "a/".repeat(2_000));
    for path in [
        "/docs/../Cargo.toml",
        "/docs/%2e%2e/%2e%2e/etc/passwd",
        "/docs/..%2f..%2fetc%2fpasswd",
        "/docs//evil.example/",
        "/docs/%5c%5cevil.example/",
        "/docs/%00",
        "/docs/%ff%fe",
        "/docs/%0d%0aset-cookie:%20a=b",
        "/docs/<script>alert(1)</script>",
        "/docs/%3Cscript%3Ealert(1)%3C/script%3E",
        "/docs/errors.md.md",
        "/docs/errors/..",
        "/docs/{page}",
        "/docs.md/",
        "//docs",
        long.as_str(),
    ] {
        let answer = raw(&world, path).await;
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        assert!(["400", "404", "308"].contains(&status.as_str()), "{path}: {answer}");
        if status == "308" {
            assert!(answer.contains("\r\nlocation: /docs.md\r\n"), "{path}: {answer}");
        }
        for trace in ["alert(1)", "evil.example", "set-cookie", "root:", "[workspace]"] {
            assert!(!answer.to_lowercase().contains(trace), "{path}: {answer}");
        }
    }
    let missing = get(&world, "/docs/nothing").await;
    assert_eq!((missing.status.as_u16(), missing.header("content-security-policy")), (404, Some(POLICY)));
    assert!(missing.text.contains("Page not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_found_and_whatever_is_asked_for_is_text() {
    let world = World::start().await;
    let found = get(&world, "/docs/search?q=Retry-After+quota").await;
    assert_eq!(found.status, 200);
    assert_eq!(found.header("content-security-policy"), Some(POLICY));
    assert_eq!(found.header("cache-control"), Some("no-store"));
    let (_, hits) = found.text.split_once("<ol class=\"hits\">").expect("hits");
    for link in values(hits.split("</ol>").next().expect("an end"), "href") {
        let (path, id) = link.split_once('#').unwrap_or((link, "main"));
        assert!(values(&get(&world, path).await.text, "id").contains(&id), "{link}");
    }
    let first = |page: &Answer| {
        values(&page.text, "href")
            .into_iter()
            .find(|link| link.contains('#') && link.starts_with("/docs"))
            .map(str::to_owned)
    };
    assert_eq!(
        first(&get(&world, "/docs/search?q=idempotency_mismatch").await).as_deref(),
        Some("/docs/errors#idempotency_mismatch")
    );
    assert!(get(&world, "/docs/search?q=xyzzy").await.text.contains("Nothing has all of these words"));
    for (asked, shown) in [
        ("%3Cscript%3Ealert(1)%3C/script%3E", "&#60;script&#62;alert(1)&#60;/script&#62;"),
        ("%22+autofocus+onfocus%3D%22alert(1)", "&#34; autofocus onfocus=&#34;alert(1)"),
        ("%00%ff%fe%0d%0aset-cookie:x", "set-cookie:x"),
        ("{{7*7}}%", "{{7*7}}%"),
        (&"a".repeat(5_000), "aaaa"),
    ] {
        let page = get(&world, &format!("/docs/search?q={asked}")).await;
        assert_eq!(page.status, 200, "{asked}");
        assert!(page.text.contains(shown), "{asked}: {}", page.text);
        assert!(!page.text.contains("<script>alert") && !page.text.contains("\" autofocus"), "{asked}");
        assert_eq!(page.header("set-cookie"), None);
    }
    for strange in ["/docs/search", "/docs/search?", "/docs/search?q", "/docs/search?q=a&q=b", "/docs/search?Q=%"] {
        assert_eq!(get(&world, strange).await.status, 200, "{strange}");
    }
    assert_eq!(send(world.client.bare(Method::POST, "/docs/search")).await.error(405), "method_not_allowed");
}
