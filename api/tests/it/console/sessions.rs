//! Signing in, and how long that lasts.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use api::FormQuota;
use reqwest::Method;
use shared::people::Role;

use super::browser::{Browser, PASSWORD, csrf};
use crate::harness::{Options, World, eventually, send};

const EMAIL: &str = "ada@example.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_makes_a_new_cookie_that_scripts_cannot_read() {
    let world = World::start().await;
    Browser::user(&world, EMAIL).await;
    let mut browser = Browser::new(&world);
    browser.get("/console/sign-in").await;
    let planted = browser.cookie.clone();
    let signed_in = browser.sign_in(" Ada@Example.com", PASSWORD).await;
    assert_eq!((signed_in.status.as_u16(), signed_in.header("location")), (303, Some("/console")));
    let line = signed_in.header("set-cookie").expect("a cookie");
    assert!(line.ends_with("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"), "{line}");
    assert_ne!(browser.cookie, planted, "whoever planted it has nothing");
    let fixed =
        browser.http.get(format!("{}/console/account", world.base)).header("cookie", format!("metriqlab={planted}"));
    assert_eq!(send(fixed).await.header("location"), Some("/console/sign-in?next=%2Fconsole%2Faccount"));
    assert_eq!(browser.get("/console/account").await.status, 200);
    let sql = world.sql().await;
    let found = sql.query("SELECT 1 FROM sessions WHERE hash = sha256($1)", &[&browser.cookie.as_bytes()]).await;
    assert_eq!(found.expect("sessions").len(), 1, "only its hash is stored");

    // Signing in once more in the same browser ends the session that it had.
    let before = browser.cookie.clone();
    let page = browser.get("/console/account").await;
    let token = super::browser::csrf(&page.text).expect("a token");
    let again = [("email", EMAIL), ("password", PASSWORD), ("csrf", token.as_str())];
    assert_eq!(browser.post("/console/sign-in", &again).await.status, 303);
    let old =
        browser.http.get(format!("{}/console/account", world.base)).header("cookie", format!("metriqlab={before}"));
    assert_eq!(send(old).await.status, 303);
    let out = browser.submit("/console/account", "/console/sign-out", &[]).await;
    assert_eq!(out.header("location"), Some("/console/sign-in"));
    assert!(out.header("set-cookie").expect("a cookie").starts_with("metriqlab=; Path=/; Max-Age=0;"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_address_look_alike() {
    let world = World::start().await;
    Browser::user(&world, EMAIL).await;
    let mut browser = Browser::new(&world);
    let body = |answer: crate::harness::Answer, email: &str| {
        assert_eq!(answer.status, 422);
        answer.text.replace(email, "")
    };
    let wrong = body(browser.sign_in(EMAIL, "not the password").await, EMAIL);
    for email in ["nobody@example.com", "nonsense", ""] {
        let answer = body(browser.sign_in(email, PASSWORD).await, "nobody@example.com");
        assert_eq!(answer.replace(&format!("value=\"{email}\""), "value=\"\""), wrong, "{email}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_takes_ten_tries_and_another_one_is_not_held_up() {
    let world = World::start().await;
    let mut signed_in = Browser::user(&world, EMAIL).await;
    Browser::user(&world, "bob@example.com").await;
    let mut browser = Browser::new(&world);
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(browser.sign_in(EMAIL, "guess").await.status, 422);
    }
    // One more comes back each minute, also on a machine that takes so long for ten.
    for _ in 0..began.elapsed().as_secs() / 60 {
        browser.sign_in(EMAIL, "guess").await;
    }
    let refused = browser.sign_in(EMAIL, PASSWORD).await;
    assert_eq!(refused.status, 429, "even with the right one");
    let wait: u64 = refused.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(browser.sign_in("bob@example.com", PASSWORD).await.status, 303);
    // Nor does who guesses keep the user from another password.
    let fields = [("current", PASSWORD), ("password", "another good one"), ("repeated", "another good one")];
    let changed = signed_in.submit("/console/account", "/console/account/password", &fields).await;
    assert_eq!(changed.status, 303, "{}", changed.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sends_so_many_forms_and_its_user_can_end_it_from_another() {
    // So few that they are soon sent, and none comes back while the test runs. How the limit goes on is told beside it.
    let forms = FormQuota { at_once: const { NonZeroU32::new(4).unwrap() }, each: Duration::from_secs(24 * 3600) };
    let world = World::with(Options { forms, ..Options::default() }).await;
    let mut stolen = Browser::user(&world, EMAIL).await;
    let mut bob = Browser::user(&world, "bob@example.com").await;
    let token = csrf(&stolen.get("/console/account").await.text).expect("a token");
    let nameless = [("csrf", token.as_str()), ("name", "")];
    for _ in 0..4 {
        assert_eq!(stolen.post("/console/projects", &nameless).await.status, 422);
    }
    let refused = stolen.post("/console/projects", &nameless).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(
        refused.text.contains("Too many forms at once") && refused.text.contains("Nothing was changed by this one")
    );
    let wait: u64 = refused.header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=24 * 3600).contains(&wait), "{wait}");
    assert_eq!(stolen.get("/console/projects").await.status, 200, "who only looks is not counted");
    let made = bob.submit("/console/projects", "/console/projects", &[("name", "bob's")]).await;
    assert_eq!(made.status, 303, "{}", made.text);
    let mut own = Browser::new(&world);
    assert_eq!(own.sign_in(EMAIL, PASSWORD).await.status, 303);
    assert_eq!(own.submit("/console/account", "/console/account/sessions/end-others", &[]).await.status, 303);
    assert_eq!(stolen.get("/console/projects").await.status, 303, "its session is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_takes_thirty_wrong_tries() {
    let world = World::start().await;
    let mut browser = Browser::new(&world);
    let began = Instant::now();
    let mut tries = 0;
    // One more comes back every ten seconds, and a busy machine takes a while for thirty.
    while browser.sign_in(&format!("user{tries}@example.com"), "guess").await.status == 422 {
        tries += 1;
        assert!(tries <= 30 + began.elapsed().as_secs() / 10 + 1, "{tries} tries within {:?}", began.elapsed());
    }
    assert!(tries >= 30, "{tries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_by_themselves_and_by_their_user() {
    let world = World::start().await;
    let mut first = Browser::user(&world, EMAIL).await;
    let mut second = Browser::new(&world);
    second.sign_in(EMAIL, PASSWORD).await;
    let mut third = Browser::new(&world);
    third.sign_in(EMAIL, PASSWORD).await;
    let (mut stranger, _) = Browser::stranger(&world).await;
    let listed = first.get("/console/account").await.text;
    let ids: Vec<&str> = listed
        .split("/console/account/sessions/")
        .filter_map(|rest| rest.split_once("/end\""))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids.len(), 2, "{listed}");
    let end = format!("/console/account/sessions/{}/end", ids[0]);
    assert_eq!(stranger.submit("/console/account", &end, &[]).await.status, 404, "somebody else's");
    assert_eq!(first.submit("/console/account", &end, &[]).await.status, 303);
    let statuses = [second.get("/console/account").await.status, third.get("/console/account").await.status];
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1, "{statuses:?}");
    first.submit("/console/account", "/console/account/sessions/end-others", &[]).await;
    assert_eq!(second.get("/console/account").await.status, 303);
    assert_eq!(third.get("/console/account").await.status, 303);
    assert_eq!(first.get("/console/account").await.status, 200);

    let sql = world.sql().await;
    for (column, span) in [("seen_at", "8 days"), ("created_at", "31 days")] {
        let mut idle = Browser::new(&world);
        idle.sign_in(EMAIL, PASSWORD).await;
        assert_eq!(idle.get("/console/account").await.status, 200);
        let age = format!("UPDATE sessions SET {column} = now() - interval '{span}' WHERE hash = sha256($1)");
        assert_eq!(sql.execute(&age, &[&idle.cookie.as_bytes()]).await.expect("aged"), 1);
        assert_eq!(idle.get("/console/account").await.status, 303, "{column}");
    }
    let aged = "UPDATE sessions SET seen_at = now() - interval '2 minutes' WHERE hash = sha256($1)";
    sql.execute(aged, &[&first.cookie.as_bytes()]).await.expect("aged");
    first.get("/console/account").await;
    let seen = "SELECT seen_at > now() - interval '1 minute' FROM sessions WHERE hash = sha256($1)";
    assert!(sql.query_one(seen, &[&first.cookie.as_bytes()]).await.expect("a row").get::<_, bool>(0), "it was used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_throws_everybody_else_out() {
    let world = World::start().await;
    let mut first = Browser::user(&world, EMAIL).await;
    let mut second = Browser::new(&world);
    second.sign_in(EMAIL, PASSWORD).await;
    let new = "another long password";
    let (page, path) = ("/console/account", "/console/account/password");
    let wrong = first.submit(page, path, &[("current", "guess"), ("password", new), ("repeated", new)]).await;
    assert_eq!(wrong.status, 422);
    let right = first.submit(page, path, &[("current", PASSWORD), ("password", new), ("repeated", new)]).await;
    assert_eq!(right.header("location"), Some("/console/account?done=password"));
    assert_eq!(first.get(page).await.status, 200);
    assert_eq!(second.get(page).await.status, 303);
    assert_eq!(second.sign_in(EMAIL, PASSWORD).await.status, 422);
    assert_eq!(second.sign_in(EMAIL, new).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_under_way_does_not_outlive_the_password_that_it_has_shown() {
    let world = World::start().await;
    Browser::user(&world, EMAIL).await;
    // The new password is written and not committed when the old one is checked.
    let changing = world.sql().await;
    let change = format!("BEGIN; UPDATE users SET password = 'another' WHERE email = '{EMAIL}'");
    changing.batch_execute(&change).await.expect("a change");
    let mut browser = Browser::new(&world);
    let signing_in = tokio::spawn(async move { browser.sign_in(EMAIL, PASSWORD).await.status });
    let sql = world.sql().await;
    let waits = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database()";
    eventually("it waits for the change, or is through", async || {
        let waiting: i64 = sql.query_one(waits, &[]).await.expect("a count").get(0);
        (waiting > 0 || signing_in.is_finished()).then_some(())
    })
    .await;
    changing.batch_execute("COMMIT").await.expect("changed");
    assert_eq!(signing_in.await.expect("an answer"), 422);
    let sessions: i64 = sql.query_one("SELECT count(*) FROM sessions", &[]).await.expect("a count").get(0);
    assert_eq!(sessions, 1, "the one from before");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_comes_back_to_the_page_that_was_asked_for_and_to_no_other_site() {
    let world = World::start().await;
    Browser::member(&world, Role::Viewer).await;
    let mut browser = Browser::new(&world);
    let asked = format!("/console/projects/{}/keys", world.project);
    let turned_away = browser.get(&asked).await;
    let sign_in = turned_away.header("location").expect("a place").to_owned();
    let page = browser.get(&sign_in).await.text;
    assert!(page.contains(&format!("name=\"next\" value=\"{asked}\"")), "{page}");
    for (next, location) in [
        (asked.as_str(), asked.as_str()),
        ("https://evil.example/console", "/console"),
        ("//evil.example", "/console"),
        ("/console/\r\nset-cookie: a=b", "/console"),
        ("/console\\@evil.example", "/console"),
    ] {
        let mut browser = Browser::new(&world);
        let fields = [("email", "viewer@example.com"), ("password", PASSWORD), ("next", next)];
        let signed_in = browser.submit("/console/sign-in", "/console/sign-in", &fields).await;
        assert_eq!(signed_in.header("location"), Some(location), "{next:?}");
        assert_eq!(signed_in.headers.get_all("set-cookie").iter().count(), 1);
    }
    assert_eq!(send(browser.request(Method::GET, "/")).await.header("location"), Some("/console"));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_address_has_its_own_tries() {
    let behind = World::with(Options { proxies: Some("127.0.0.0/8"), ..Options::default() }).await;
    let bare = World::start().await;
    // Each address' tries are each for another account.
    let tried = async |world: &World, forwarded: &str, tries: u32| {
        let mut browser = Browser::new(world);
        browser.get("/console/sign-in").await;
        let token = csrf(&browser.get("/console/sign-in").await.text).expect("a token");
        let mut refused = 0;
        for number in 0..tries {
            let email = format!("{forwarded}-{number}@example.com");
            let form = [("email", email.as_str()), ("password", "guess"), ("csrf", &token)];
            let request = browser.request(Method::POST, "/console/sign-in").header("sec-fetch-site", "same-origin");
            let answer = send(request.header("x-forwarded-for", forwarded).form(&form)).await;
            refused += u32::from(answer.status == 429);
        }
        refused
    };
    for forwarded in ["192.0.2.1", "192.0.2.2", "192.0.2.3, 127.0.0.9"] {
        assert_eq!(tried(&behind, forwarded, 25).await, 0, "{forwarded}");
    }
    assert_eq!(tried(&behind, "192.0.2.4", 1).await, 0);
    // Without the setting nobody is believed: a new address at each try is none.
    let (began, mut number) = (Instant::now(), 0);
    while tried(&bare, &format!("192.0.2.{number}"), 1).await == 0 {
        number += 1;
        assert!(number <= 30 + began.elapsed().as_secs() / 10 + 1, "{number} within {:?}", began.elapsed());
    }
    Browser::user(&behind, EMAIL).await;
    let mut browser = Browser::new(&behind);
    let token = csrf(&browser.get("/console/sign-in").await.text).expect("a token");
    let form = [("email", EMAIL), ("password", PASSWORD), ("csrf", &token)];
    let request = browser.request(Method::POST, "/console/sign-in").header("sec-fetch-site", "same-origin");
    assert_eq!(send(request.header("x-forwarded-for", "203.0.113.7").form(&form)).await.status, 303);
    let shown = "SELECT count(*) FROM sessions WHERE address = '203.0.113.7'";
    assert_eq!(behind.sql().await.query_one(shown, &[]).await.expect("a count").get::<_, i64>(0), 1);
}
