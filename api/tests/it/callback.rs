//! The end of a consent: what is stored, what the page says, and what it must never do.

use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};
use shared::platforms::tiktok::PkceMode;

use crate::harness::{Answer, CLIENT_KEY, Options, PUBLIC_URL, World, send, until_refused};

pub const ALL: &str = "user.info.basic,user.info.profile,user.info.stats,video.list";

/// The value of one of the page's data attributes, as the script sees it.
pub fn attribute(page: &Answer, name: &str) -> String {
    let rest = page.text.split_once(&format!("data-{name}=\"")).expect(name).1;
    let value = rest.split('"').next().expect("a value");
    let unescaped = value.replace("&#38;", "&").replace("&amp;", "&").replace("&#34;", "\"").replace("&#39;", "'");
    unescaped.replace("&#60;", "<").replace("&#62;", ">")
}

/// What every page is, whatever it says.
#[track_caller]
pub fn is_safe(page: &Answer) {
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    assert!(page.header("x-request-id").is_some());
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    let nonce = policy.split("script-src 'nonce-").nth(1).expect("a nonce").split('\'').next().expect("a nonce");
    assert!(nonce.len() >= 22);
    assert_eq!(page.text.matches("<script").count(), 1);
    assert_eq!(page.text.matches(&format!("<script nonce=\"{nonce}\">")).count(), 1);
    for forbidden in [" onclick=", " onload=", " onerror=", " onmouseover=", "javascript:", "<img", "style=\""] {
        assert!(!page.text.contains(forbidden), "{forbidden}");
    }
    assert!(!page.text.contains("\"*\""), "no message to whoever listens");
}

async fn rows(world: &World, table: &str) -> i64 {
    world.sql().await.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.expect("a row").get(0)
}

/// A consent, the page at its end, and the creator with the profile that was read for it. That has to come within
/// seconds: a machine that is too busy for it is asked again.
async fn first_consent() -> (World, Answer, Value) {
    for _ in 0..5 {
        let world = World::start().await;
        let (page, _) = world.begin(&json!({})).await;
        let answer = world.open(&world.allow(&page, ALL).await).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let creator = world.client.get("/api/v1/creators").await.data(200)[0].clone();
        if creator["username"].is_string() && creator["stats"]["followers"].is_i64() {
            return (world, answer, creator);
        }
    }
    panic!("no profile is read, five times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_becomes_a_creator_with_a_profile_and_a_queued_sync() {
    let (world, answer, creator) = first_consent().await;
    is_safe(&answer);
    assert!(answer.text.contains("connected"), "{}", answer.text);
    assert_eq!(attribute(&answer, "status"), "connected");
    assert_eq!(attribute(&answer, "creator-id"), creator["id"].as_str().expect("an id"));
    assert_eq!(attribute(&answer, "origin"), PUBLIC_URL);
    assert_eq!(attribute(&answer, "next"), "");
    assert!(creator["lastSyncedAt"].is_null(), "which is no sync");
    let row = world.sql().await.query_one("SELECT kind, state, lane, trace FROM jobs", &[]).await.expect("a job");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1), row.get::<_, &str>(2)), ("sync", "enqueued", "sync"));
    assert!(row.get::<_, Option<&str>>(3).is_some_and(|trace| trace.starts_with("00-")));
    let stored = world.sql().await.query_one("SELECT access_token FROM credentials", &[]).await.expect("a row");
    assert!(!String::from_utf8_lossy(stored.get::<_, &[u8]>(0)).contains("act."), "encrypted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_good_once() {
    let world = World::start().await;
    let (page, state) = world.begin(&json!({})).await;
    let back = world.allow(&page, ALL).await;
    assert_eq!(world.open(&back).await.status, 200);
    let again = world.open(&back).await;
    assert_eq!(again.status, 400);
    is_safe(&again);
    assert_eq!(
        (attribute(&again, "status").as_str(), attribute(&again, "reason").as_str()),
        ("failed", "invalid_state")
    );
    assert_eq!(rows(&world, "creators").await, 1);
    assert_eq!(world.open(&format!("/oauth/tiktok/callback?state={state}&code=other")).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_again_keeps_id_and_data() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (page, _) = world.begin(&json!({})).await;
        let answer = world.open(&world.allow(&page, ALL).await).await;
        ids.push(attribute(&answer, "creator-id"));
        world
            .sql()
            .await
            .batch_execute("UPDATE creators SET status = 'REAUTHORIZATION_REQUIRED'")
            .await
            .expect("marked");
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!((rows(&world, "creators").await, rows(&world, "credentials").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_allowed_is_said_in_plain_words() {
    let world = World::start().await;
    let (page, _) = world.begin(&json!({})).await;
    let answer = world.open(&world.allow(&page, "user.info.basic").await).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.text.contains("<li>your public videos</li>"), "{}", answer.text);
    let id = attribute(&answer, "creator-id");
    let profile = world.client.get(&format!("/api/v1/creators/{id}/profile")).await;
    assert_eq!(profile.data(200)["missingScopes"], json!(["user.info.profile", "user.info.stats", "video.list"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_who_declines_is_told_so_and_the_state_is_used() {
    let world = World::start().await;
    let (page, state) = world.begin(&json!({"redirectUrl": "https://app.example.com/done?x=1#part"})).await;
    let back = world.answer_consent(&page, &[("action", "cancel")]).await;
    let answer = world.open(&back).await;
    assert_eq!(answer.status, 200);
    is_safe(&answer);
    assert_eq!(attribute(&answer, "next"), "https://app.example.com/done?x=1&status=failed&reason=access_denied#part");
    assert_eq!(attribute(&answer, "origin"), "https://app.example.com");
    assert_eq!(rows(&world, "creators").await, 0);
    assert_eq!(world.open(&format!("/oauth/tiktok/callback?state={state}&code=x")).await.status, 400, "used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_tiktok_refuses_stores_nothing() {
    let world = World::start().await;
    for code in ["nonsense", "a%00b", &"x".repeat(3000)] {
        let (_, state) = world.begin(&json!({"redirectUrl": "http://localhost:3000/"})).await;
        let answer = world.open(&format!("/oauth/tiktok/callback?code={code}&state={state}")).await;
        assert_eq!(answer.status, 400, "{code}: {}", answer.text);
        is_safe(&answer);
        assert_eq!(attribute(&answer, "next"), "http://localhost:3000/?status=failed&reason=code_refused");
    }
    assert_eq!((rows(&world, "creators").await, rows(&world, "credentials").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_state_is_no_state() {
    let world = World::start().await;
    let (page, _) = world.begin(&json!({})).await;
    let back = world.allow(&page, ALL).await;
    world.sql().await.batch_execute("UPDATE oauth_states SET expires_at = now()").await.expect("expired");
    assert_eq!(world.open(&back).await.status, 400);
    assert_eq!(rows(&world, "creators").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiktok_failing_is_said_so() {
    let world = World::start().await;
    for kind in ["internal_error", "bad_gateway", "empty_body", "truncated", "reset"] {
        let (page, _) = world.begin(&json!({})).await;
        let back = world.allow(&page, ALL).await;
        world.add_fault(&json!({"endpoint": "token", "kind": kind, "times": 1})).await;
        let answer = world.open(&back).await;
        assert_eq!(answer.status, 502, "{kind}: {}", answer.text);
        is_safe(&answer);
        assert_eq!(attribute(&answer, "reason"), "platform_error");
    }
    assert_eq!(rows(&world, "creators").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_profile_read_never_loses_a_grant() {
    let world = World::start().await;
    let (page, _) = world.begin(&json!({})).await;
    let back = world.allow(&page, ALL).await;
    world.add_fault(&json!({"endpoint": "user_info", "kind": "internal_error"})).await;
    let answer = world.open(&back).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let list = world.client.get("/api/v1/creators").await;
    assert!(list.data(200)[0]["username"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn pkce_is_kept_from_beginning_to_end() {
    let world = World::with(Options { pkce: PkceMode::Hex, ..Options::default() }).await;
    let (page, _) = world.begin(&json!({})).await;
    assert_eq!(world.open(&world.allow(&page, ALL).await).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_the_version_before_began_ends_here() {
    let world = World::with(Options { pkce: PkceMode::Hex, ..Options::default() }).await;
    let (page, _) = world.begin(&json!({})).await;
    let verifier = world.verifier().await;
    let plain = "UPDATE oauth_states SET pkce_verifier = $1, pkce_sealed = NULL";
    world.sql().await.execute(plain, &[&verifier]).await.expect("in plain text");
    assert_eq!(world.open(&world.allow(&page, ALL).await).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_that_does_not_open_is_a_consent_to_begin_again() {
    let world = World::with(Options { pkce: PkceMode::Hex, ..Options::default() }).await;
    let sql = world.sql().await;
    // Another consent's; and one under a key that the list has lost.
    let theirs: Vec<u8> = {
        world.begin(&json!({})).await;
        sql.query_one("DELETE FROM oauth_states RETURNING pkce_sealed", &[]).await.expect("a row").get(0)
    };
    let mut lost = theirs.clone();
    lost[1] ^= 1;
    for sealed in [theirs, lost] {
        let (page, _) = world.begin(&json!({"redirectUrl": "https://app.example.com/"})).await;
        sql.execute("UPDATE oauth_states SET pkce_sealed = $1", &[&sealed]).await.expect("replaced");
        let answer = world.open(&world.allow(&page, ALL).await).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(attribute(&answer, "next"), "https://app.example.com/?status=failed&reason=invalid_state");
    }
    assert_eq!((rows(&world, "creators").await, rows(&world, "credentials").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_the_browser_is_sent_on_all_the_same() {
    let world = World::start().await;
    let (page, _) = world.begin(&json!({"redirectUrl": "https://app.example.com/done"})).await;
    let answer = world.open(&world.allow(&page, ALL).await).await;
    let id = attribute(&answer, "creator-id");
    let next = format!("https://app.example.com/done?status=connected&creatorId={id}");
    assert_eq!(attribute(&answer, "next"), next);
    let escaped = next.replace('&', "&#38;");
    assert!(
        answer
            .text
            .contains(&format!("<noscript><meta http-equiv=\"refresh\" content=\"0; url={escaped}\"></noscript>"))
    );
    assert!(answer.text.contains(&format!("href=\"{escaped}\"")));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_parameter_is_echoed_or_believed() {
    let world = World::start().await;
    let attacks = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</script><script>alert(1)//",
        "javascript:alert(1)",
        "{{7*7}}",
        "\u{202e}evil",
    ];
    for attack in attacks {
        let value: String = url::form_urlencoded::byte_serialize(attack.as_bytes()).collect();
        let (_, state) = world.begin(&json!({"redirectUrl": format!("https://app.example.com/?q={value}")})).await;
        for query in [
            format!("state={value}&code={value}"),
            format!("state={state}&error={value}&error_description={value}"),
            format!("error={value}"),
            format!("state={state}&state={value}&redirectUrl={value}&next={value}&creatorId={value}"),
        ] {
            let answer = world.open(&format!("/oauth/tiktok/callback?{query}")).await;
            assert_eq!(answer.status, 400, "{query}");
            is_safe(&answer);
            assert!(!answer.text.contains(attack), "{attack}: {}", answer.text);
            assert!(!answer.text.contains("alert(1)"), "what is shown of the redirect is encoded: {}", answer.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_redirect_url_stays_text() {
    let world = World::start().await;
    // What an own, but careless, app could give: everything that is special in HTML.
    let url = "https://app.example.com/?a=\"><script>x</script>&b='<>`#<img src=x>";
    let (page, _) = world.begin(&json!({ "redirectUrl": url })).await;
    let answer = world.open(&world.answer_consent(&page, &[("action", "cancel")]).await).await;
    is_safe(&answer);
    assert!(!answer.text.contains("<img") && !answer.text.contains("<script>x"), "{}", answer.text);
    assert_eq!(attribute(&answer, "origin"), "https://app.example.com");
}

#[test]
fn any_query_gets_a_page() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::start());
    let cases = std::env::var("PROPTEST_CASES").map_or(100, |cases| cases.parse().expect("PROPTEST_CASES: a number"));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(cases));
    let name = "(state|code|error|error_description|scopes|x)";
    let parts = proptest::collection::vec((name, "\\PC{0,40}|[<>\"'&%=/ ]{0,40}|nonsense"), 0..5);
    let checked = runner.run(&(parts, any::<bool>()), |(mut parts, known)| {
        if known {
            // Before the others: of a parameter that comes twice, the first one counts.
            let (_, state) = runtime.block_on(world.begin(&json!({"redirectUrl": "https://app.example.com/"})));
            parts.insert(0, ("state".to_owned(), state));
        }
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&parts).finish();
        let answer = runtime.block_on(world.open(&format!("/oauth/tiktok/callback?{query}")));
        prop_assert_eq!(answer.status.as_u16(), 400, "{}", query);
        is_safe(&answer);
        let reason = attribute(&answer, "reason");
        prop_assert_eq!(reason.as_str(), if known { "code_refused" } else { "invalid_state" }, "{}", query);
        Ok(())
    });
    checked.expect("a page for every query");
}

#[tokio::test(flavor = "multi_thread")]
async fn tiktoks_own_trouble_is_no_refusal() {
    let world = World::start().await;
    for error in ["server_error", "temporarily_unavailable"] {
        let (_, state) = world.begin(&json!({})).await;
        let answer = world.open(&format!("/oauth/tiktok/callback?state={state}&error={error}")).await;
        assert_eq!(answer.status, 502, "{}", answer.text);
        assert_eq!(attribute(&answer, "reason"), "platform_error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_not_blamed_on_the_creator_or_on_a_slow_tiktok() {
    let world = World::with(Options { app: (CLIENT_KEY, "another-secret"), ..Options::default() }).await;
    let (_, state) = world.begin(&json!({})).await;
    let answer = world.open(&format!("/oauth/tiktok/callback?state={state}&code=x")).await;
    assert_eq!(answer.status, 502, "{}", answer.text);
    is_safe(&answer);
    assert_eq!(attribute(&answer, "reason"), "platform_error");
    assert!(answer.text.contains("how the app is set up") && !answer.text.contains("not answering"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_does_not_end_a_consent() {
    let world = World::start().await;
    let (page, _) = world.begin(&json!({})).await;
    let back = world.allow(&page, ALL).await;
    // As browsers and chats do that look at a link before they open it.
    for path in [back.clone(), back.replace("/oauth/", "/%6Fauth/")] {
        let head = send(world.client.bare(Method::HEAD, &path)).await;
        assert_eq!((head.status.as_u16(), head.header("allow")), (405, Some("GET")), "{path}");
    }
    assert_eq!(world.open(&back).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_states_are_limited_and_a_good_one_gets_through() {
    let world = World::start().await;
    until_refused(400, async |number: u64| {
        let answer = world.open(&format!("/oauth/tiktok/callback?state=state-{number}&code=x")).await;
        is_safe(&answer);
        answer
    })
    .await;
    let (page, _) = world.begin(&json!({})).await;
    assert_eq!(world.open(&world.allow(&page, ALL).await).await.status, 200);
}
