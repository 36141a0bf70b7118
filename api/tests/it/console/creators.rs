//! Creators on pages: found, connected, synced, let go.

use reqwest::Method;
use shared::people::Role;

use super::browser::{Browser, XSS, between};
use crate::harness::{World, send};

#[tokio::test(flavor = "multi_thread")]
async fn creators_are_found_and_paged() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let path = format!("/console/projects/{}/creators", world.project);
    assert!(viewer.get(&path).await.text.contains("Nobody is connected yet"));
    world.add_creators(120).await;
    for order in ["newest", "oldest"] {
        let (mut seen, mut next) = (Vec::new(), format!("{path}?order={order}"));
        loop {
            let page = viewer.get(&next.replace("&amp;", "&").replace("&#38;", "&")).await.text;
            seen.extend(
                page.split("<a class=\"row\" href=\"").skip(1).map(|row| row.split('"').next().unwrap().to_owned()),
            );
            if !page.contains("rel=\"next\"") {
                break;
            }
            next = between(&page, "rel=\"next\" href=\"", "\"").to_owned();
        }
        assert_eq!(seen.len(), 120, "{order}");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 120, "each once");
    }
    let found = async |browser: &mut Browser, query: &str| {
        browser.get(&format!("{path}?{query}")).await.text.matches("<a class=\"row\"").count()
    };
    assert_eq!(found(&mut viewer, "q=USER11").await, 11, "user11, user110 to user119");
    assert_eq!(found(&mut viewer, "q=open-7").await, 1, "an account's id");
    assert_eq!(found(&mut viewer, "q=%25").await, 0, "no pattern");
    assert_eq!(found(&mut viewer, "q=user1&state=REAUTHORIZATION_REQUIRED").await, 0);
    let elsewhere = "UPDATE creators SET platform = 'YOUTUBE' WHERE username LIKE 'user9%'";
    assert_eq!(world.sql().await.execute(elsewhere, &[]).await.expect("some of another platform"), 11);
    assert_eq!(found(&mut viewer, "platform=YOUTUBE").await, 11);
    assert_eq!(found(&mut viewer, "platform=YOUTUBE&q=user91&order=oldest").await, 1);
    assert_eq!(found(&mut viewer, "platform=INSTAGRAM").await, 0);
    let page = viewer.get(&format!("{path}?platform=TIKTOK&state=ACTIVE")).await.text;
    assert_eq!(page.matches("<a class=\"row\"").count(), 30);
    assert!(page.contains("<option value=\"TIKTOK\" selected>TikTok</option>"), "{page}");
    assert!(between(&page, "rel=\"next\" href=\"", "\"").contains("platform=TIKTOK"), "the filter stays: {page}");
    assert!(viewer.get(&format!("{path}?q=nobody")).await.text.contains("No creator is like this"));
    assert_eq!(found(&mut viewer, "q=%00user11&state=nonsense&order=%ff").await, 11, "what makes no sense is ignored");
    assert_eq!(viewer.get(&format!("{path}?after=nonsense")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_many_creators_have_is_walked_and_one_that_few_have_is_looked_up() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let path = format!("/console/projects/{}/creators", world.project);
    // `first` has no name; the others are `user1` to `user1201`.
    world.add_creators(1_202).await;
    for (asked, expected) in
        [("User", 1_201), ("user1", 313), ("user12", 13), ("user1201", 1), ("open-1201", 1), ("userx", 0)]
    {
        let (mut seen, mut next) = (0, format!("{path}?q={asked}"));
        loop {
            let page = viewer.get(&next.replace("&#38;", "&")).await.text;
            seen += page.matches("<a class=\"row\"").count();
            if !page.contains("rel=\"next\"") {
                break;
            }
            next = between(&page, "rel=\"next\" href=\"", "\"").to_owned();
        }
        assert_eq!(seen, expected, "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_is_queued_once_and_a_disconnect_hides_at_once() {
    let world = World::start().await;
    let mut developer = Browser::member(&world, Role::Developer).await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let id = world.creator("open-1").await;
    let (list, account) = (format!("/console/projects/{}/creators", world.project), "/console/account");
    let page = format!("{list}/{id}");
    for what in ["sync", "disconnect"] {
        assert_eq!(viewer.submit(account, &format!("{page}/{what}"), &[]).await.status, 403);
    }
    assert_eq!(viewer.submit(account, &format!("{list}/connect"), &[]).await.status, 403);
    for _ in 0..2 {
        let queued = developer.submit(&page, &format!("{page}/sync"), &[]).await;
        assert_eq!(queued.header("location"), Some(format!("{page}?done=syncing").as_str()));
    }
    let sql = world.sql().await;
    let open = sql.query("SELECT 1 FROM jobs WHERE kind = 'sync' AND state = 'enqueued'", &[]).await.expect("jobs");
    assert_eq!(open.len(), 1, "one job for both");
    assert!(developer.get(&list).await.text.contains("Sync queued"));
    let gone = developer.confirm(&format!("{page}/disconnect")).await;
    assert_eq!(gone.header("location"), Some(format!("{list}?done=disconnected").as_str()));
    assert_eq!(developer.get(&page).await.status, 404);
    assert_eq!(developer.submit(account, &format!("{page}/sync"), &[]).await.status, 404);
    let log = developer.get(&format!("/console/projects/{}/audit", world.project)).await.text;
    assert!(log.contains("synced the creator") && log.contains("disconnected the creator"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_begins_here_and_comes_back_here() {
    let world = World::start().await;
    let mut developer = Browser::member(&world, Role::Developer).await;
    let list = format!("/console/projects/{}/creators", world.project);
    let page = developer.submit(&list, &format!("{list}/connect"), &[]).await;
    assert_eq!(page.status, 200, "a redirect would be held back by the policy for forms");
    let url = between(&page.text, "http-equiv=\"refresh\" content=\"0; url=", "\"")
        .replace("&#38;", "&")
        .replace("&amp;", "&");
    assert!(url.starts_with(&world.sandbox.base_url()), "{url}");
    let state = between(&url, "state=", "&");
    let declined = format!("/oauth/tiktok/callback?error=access_denied&state={state}");
    let declined = send(world.client.bare(Method::GET, &declined)).await;
    let back = format!("http://127.0.0.1:9{list}/connected?status=failed&reason=access_denied");
    assert!(declined.text.replace("&#38;", "&").contains(&back), "{}", declined.text);
    for (answer, done, words) in [
        ("status=connected&creatorId=x", "connected", "good\" role=\"status\">The creator is connected."),
        (
            "status=failed&reason=access_denied",
            "declined",
            "warn\" role=\"status\">Nobody was connected: the creator said no",
        ),
        (
            "status=failed&reason=platform_error",
            "connect-failed",
            "warn\" role=\"status\">Nobody was connected: the platform",
        ),
        ("", "connect-failed", "Nobody was connected"),
    ] {
        let came_back = developer.get(&format!("{list}/connected?{answer}")).await;
        let place = format!("{list}?done={done}");
        assert_eq!(came_back.header("location"), Some(place.as_str()));
        let page = developer.get(&place).await.text;
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_platform_says_is_more_than_text() {
    let world = World::start().await;
    let mut developer = Browser::member(&world, Role::Developer).await;
    let id = world.creator("open-1").await;
    let list = format!("/console/projects/{}/creators", world.project);
    let evil = "UPDATE creators SET username = $1, display_name = $1, bio = $1, external_id = $1, avatar_url = $1,
        profile_url = $1, status_reason = $1, missing_scopes = $1, status = 'REAUTHORIZATION_REQUIRED'";
    world.sql().await.execute(evil, &[&XSS]).await.expect("an evil creator");
    let encoded: String = url::form_urlencoded::byte_serialize(XSS.as_bytes()).collect();
    for path in [list.clone(), format!("{list}/{id}"), format!("{list}?q={encoded}")] {
        let page = developer.get(&path).await.text;
        assert!(page.contains("&#60;script&#62;"), "{page}");
        assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "{page}");
    }
    let page = developer.get(&format!("{list}/{id}")).await.text;
    assert!(page.contains("ask the creator to connect again"), "{page}");
    let refused = developer.submit("/console/account", &format!("{list}/{id}/sync"), &[]).await;
    assert_eq!(refused.header("location"), Some(format!("{list}/{id}").as_str()), "its page says why");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_written_down_is_not_done() {
    let world = World::start().await;
    let mut developer = Browser::member(&world, Role::Developer).await;
    let id = world.creator("open-1").await;
    let list = format!("/console/projects/{}/creators", world.project);
    let page = format!("{list}/{id}");
    let sql = world.sql().await;
    let refuse = "ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (false) NOT VALID";
    sql.batch_execute(refuse).await.expect("a log that takes nothing");
    for path in [format!("{page}/sync"), format!("{page}/disconnect"), format!("{list}/connect")] {
        assert_eq!(developer.submit(&page, &path, &[("confirmed", "yes")]).await.status, 500, "{path}");
    }
    assert_eq!(developer.get(&page).await.status, 200, "the creator is there");
    let open = "SELECT (SELECT count(*) FROM jobs WHERE finished_at IS NULL) + (SELECT count(*) FROM oauth_states)";
    assert_eq!(sql.query_one(open, &[]).await.expect("a count").get::<_, i64>(0), 0, "nothing was begun");
    sql.batch_execute("ALTER TABLE audit_log DROP CONSTRAINT full_up").await.expect("dropped");
    // Asked again, it is joined, and that is written down too.
    for _ in 0..2 {
        assert_eq!(developer.submit(&page, &format!("{page}/sync"), &[]).await.status, 303);
    }
    let lines = "SELECT count(*) FROM audit_log WHERE action = 'creator_synced' AND actor = 'developer@example.com'";
    assert_eq!(sql.query_one(lines, &[]).await.expect("a count").get::<_, i64>(0), 2);
}
