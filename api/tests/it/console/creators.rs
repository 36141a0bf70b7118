//! Creators on pages: found, connected, synced, let go.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use shared::ids::CreatorId;
use shared::people::Role;

use super::browser::{Browser, XSS, between};
use super::jobs::{dead_job, walk};
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
    let named = "UPDATE creators SET external_ref = 'Ours 9' WHERE username IN ('user5', 'user6')";
    assert_eq!(world.sql().await.execute(named, &[]).await.expect("our own id"), 2);
    assert_eq!(found(&mut viewer, "q=Ours+9").await, 2, "our own id, which two have");
    assert_eq!(found(&mut viewer, "q=Ours").await, 0, "the whole of it");
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
async fn creators_are_sorted_and_who_has_no_number_comes_last() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    world.add_creators(100).await;
    // Two of three have a number, and some of them the same one.
    let numbers = "UPDATE creators SET followers = (substring(external_id FROM 6)::bigint / 2) * 10,
            last_synced_at = to_timestamp(substring(external_id FROM 6)::bigint / 2)
        WHERE external_id LIKE 'open-%' AND substring(external_id FROM 6)::bigint % 3 > 0";
    assert_eq!(world.sql().await.execute(numbers, &[]).await.expect("numbers"), 66);
    for (order, column, falls) in [
        ("most-followers", "followers", true),
        ("fewest-followers", "followers", false),
        ("synced-last", "last_synced_at", true),
        ("synced-first", "last_synced_at", false),
    ] {
        let path = format!("/console/projects/{}/creators?order={order}", world.project);
        let seen: Vec<String> = walk(&mut viewer, &path).await;
        let place = if falls { "DESC" } else { "ASC" };
        let query = format!(
            "SELECT id::text FROM creators ORDER BY {column} {place} NULLS LAST,
                CASE WHEN {column} IS NULL THEN id END, id {place}"
        );
        let rows = world.sql().await.query(&query, &[]).await.expect("the creators");
        let expected: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let seen: Vec<&str> = seen.iter().filter_map(|path| path.rsplit('/').next()).collect();
        assert_eq!(seen, expected, "{order}");
        let found = walk(&mut viewer, &format!("{path}&q=user1&platform=TIKTOK")).await;
        assert_eq!(found.len(), 11, "{order}: user1, user10 to user19");
    }
    // A place of one order is none of another that has no such value.
    let place = place_of(None, CreatorId::new());
    let list = format!("/console/projects/{}/creators", world.project);
    assert_eq!(viewer.get(&format!("{list}?after={place}")).await.status, 404);
    assert_eq!(viewer.get(&format!("{list}?order=synced-last&after={place}")).await.status, 200);
    let place = place_of(Some(i64::MAX), CreatorId::new());
    assert_eq!(viewer.get(&format!("{list}?order=synced-last&after={place}")).await.status, 404);
    assert_eq!(viewer.get(&format!("{list}?order=most-followers&after={place}")).await.status, 200);
}

/// A place as a page's query has it.
fn place_of(value: Option<i64>, id: CreatorId) -> String {
    let value = value.map(|value| value.to_string()).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(format!("{value}.{id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_many_creators_have_is_walked_and_one_that_few_have_is_looked_up() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let path = format!("/console/projects/{}/creators", world.project);
    // `first` has no name; the others are `user1` to `user1201`.
    world.add_creators(1_202).await;
    let named = "UPDATE creators SET external_ref = 'User' WHERE username IS NULL";
    assert_eq!(world.sql().await.execute(named, &[]).await.expect("our own id"), 1);
    for (asked, expected) in
        [("User", 1_202), ("user1", 313), ("user12", 13), ("user1201", 1), ("open-1201", 1), ("userx", 0)]
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
async fn a_creator_whose_last_sync_failed_says_why_and_what_to_do() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let (id, other) = (world.creator("open-1").await, world.creator("open-2").await);
    let list = format!("/console/projects/{}/creators", world.project);
    let page = format!("{list}/{id}");
    let older = dead_job(&world, world.project, id, "sync", "sync").await;
    let job = dead_job(&world, world.project, id, "sync", "sync").await;
    let sql = world.sql().await;
    let set = async |change: &str| sql.batch_execute(change).await.expect(change);
    set(&format!(
        "UPDATE jobs SET finished_at = now() - interval '1 hour', error = 'An older one' WHERE id = '{older}'"
    ))
    .await;
    let link = format!("/console/projects/{}/jobs/{job}\"", world.project);
    for path in [&list, &page] {
        let shown = viewer.get(path).await.text;
        for words in ["Last sync failed", "TikTok answered 500", "If that was a while ago, try again.", &link] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        assert!(!shown.contains("An older one"), "{shown}");
    }
    // Only of whom it is true.
    let shown = viewer.get(&list).await.text;
    assert_eq!((shown.matches("Last sync failed").count(), shown.matches(">Active</span>").count()), (1, 1), "{shown}");
    assert!(!viewer.get(&format!("{list}/{other}")).await.text.contains("Last sync failed"));
    // Until one is done, or another try is on its way.
    set(&format!("UPDATE jobs SET state = 'retrying', finished_at = NULL, error = 'Not now' WHERE id = '{job}'")).await;
    for path in [&list, &page] {
        let shown = viewer.get(path).await.text;
        assert!(shown.contains(">Retrying</span>") && shown.contains("Not now"), "{shown}");
        assert!(!shown.contains("Last sync failed"), "{shown}");
    }
    set(&format!("UPDATE jobs SET state = 'running' WHERE id = '{job}'")).await;
    let shown = viewer.get(&page).await.text;
    assert!(shown.contains(">Syncing</span>") && !shown.contains("Not now"), "{shown}");
    set(&format!("UPDATE jobs SET state = 'failed', finished_at = now() WHERE id = '{job}'")).await;
    assert!(viewer.get(&page).await.text.contains("Last sync failed"));
    set("UPDATE creators SET last_synced_at = now()").await;
    assert!(!viewer.get(&page).await.text.contains("Last sync failed"));
    assert!(!viewer.get(&list).await.text.contains("Last sync failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_must_connect_again_says_why() {
    let world = World::start().await;
    let mut viewer = Browser::member(&world, Role::Viewer).await;
    let page = format!("/console/projects/{}/creators/{}", world.project, world.creator("open-1").await);
    let sql = world.sql().await;
    for (reason, words) in [("account_banned", "TikTok has banned the account."), ("a_new_word", "Nothing is lost.")] {
        let refused = "UPDATE creators SET status = 'REAUTHORIZATION_REQUIRED', status_reason = $1";
        sql.execute(refused, &[&reason]).await.expect("a creator who must connect again");
        let shown = viewer.get(&page).await.text;
        assert!(shown.contains(words) && shown.contains(&format!("<code>{reason}</code>")), "{shown}");
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
    let too_long = "x".repeat(256);
    for wrong in ["two\nlines", &too_long] {
        let refused = developer.submit(&list, &format!("{list}/connect"), &[("externalRef", wrong)]).await;
        assert_eq!(refused.status, 422);
        assert!(refused.text.contains("at most 255 characters"), "{}", refused.text);
    }
    let page = developer.submit(&list, &format!("{list}/connect"), &[("externalRef", " Ours 9 ")]).await;
    let own = "SELECT external_ref FROM oauth_states";
    assert_eq!(world.sql().await.query_one(own, &[]).await.expect("one consent").get::<_, &str>(0), "Ours 9");
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
        profile_url = $1, status_reason = $1, missing_scopes = $1, external_ref = $1, status = 'REAUTHORIZATION_REQUIRED'";
    world.sql().await.execute(evil, &[&XSS]).await.expect("an evil creator");
    let other = world.creator("open-2").await;
    dead_job(&world, world.project, other, "sync", "sync").await;
    world.sql().await.execute("UPDATE jobs SET error = $1, error_code = $1", &[&XSS]).await.expect("evil words");
    let encoded: String = url::form_urlencoded::byte_serialize(XSS.as_bytes()).collect();
    for path in [list.clone(), format!("{list}/{id}"), format!("{list}/{other}"), format!("{list}?q={encoded}")] {
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
