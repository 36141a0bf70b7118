//! Every deed has its line in the audit log: who, what, and in whose log it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use shared::cadence::ResyncEvery;
use shared::people::Role;
use shared::store::audit::Action;
use shared::store::members::Actor;
use strum::IntoEnumIterator as _;

use super::browser::{Browser, PASSWORD, between};
use super::jobs::dead_job;
use super::keys::key_of;
use crate::callback::ALL;
use crate::harness::{World, eventually, send};

/// Who did what, by the log that has it: `project`, `account` or `installation`.
type Seen = BTreeMap<String, BTreeSet<(String, String)>>;

async fn seen(world: &World) -> Seen {
    let query = "SELECT action, actor, CASE WHEN project_id IS NOT NULL THEN 'project'
        WHEN user_id IS NOT NULL THEN 'account' ELSE 'installation' END FROM audit_log";
    let mut seen = Seen::new();
    for row in world.sql().await.query(query, &[]).await.expect("the log") {
        seen.entry(row.get(0)).or_default().insert((row.get(1), row.get(2)));
    }
    seen
}

/// Keys are made, rerolled and revoked; the project is renamed; people come, are changed, and go.
async fn of_the_project(world: &World, owner: &mut Browser) {
    let project = format!("/console/projects/{}", world.project);
    let (keys, members, settings) =
        (format!("{project}/keys"), format!("{project}/members"), format!("{project}/settings"));
    owner.submit(&settings, &settings, &[("name", "renamed")]).await;
    let made = owner.submit(&keys, &keys, &[("name", "Backend"), ("access", "all"), ("expires", "never")]).await;
    let id = "SELECT id::text FROM api_keys WHERE prefix = $1";
    let id = world.sql().await.query_one(id, &[&&key_of(&made.text)[..12]]).await.expect("the key");
    let key = format!("{keys}/{}", id.get::<_, String>(0));
    owner.submit(&key, &format!("{key}/reroll"), &[("overlap", "1d")]).await;
    owner.confirm(&format!("{key}/revoke")).await;
    owner.submit(&members, &format!("{members}/invite"), &[("role", "viewer")]).await;
    let page = owner.get(&members).await.text;
    let withdrawn = format!("{project}/invitations/{}", between(&page, "/invitations/", "\""));
    owner.submit(&members, &withdrawn, &[]).await;
    Browser::member(world, Role::Viewer).await;
    let page = owner.get(&members).await.text;
    let (before, _) = page.rsplit_once("/remove\"").expect("a member");
    let (_, viewer) = before.rsplit_once("/members/").expect("the member's id");
    owner.submit(&members, &format!("{members}/{viewer}/role"), &[("role", "developer")]).await;
    assert_eq!(owner.confirm(&format!("{members}/{viewer}/remove")).await.status, 303);
}

/// A creator is connected, changed, synced and let go; jobs die and are dealt with.
async fn of_creators(world: &World, owner: &mut Browser) {
    let project = format!("/console/projects/{}", world.project);
    let (list, jobs) = (format!("{project}/creators"), format!("{project}/jobs"));
    let page = owner.submit(&list, &format!("{list}/connect"), &[]).await.text;
    let consent =
        between(&page, "http-equiv=\"refresh\" content=\"0; url=", "\"").replace("&#38;", "&").replace("&amp;", "&");
    let back = world.allow(&consent, ALL).await;
    assert_eq!(world.open(&back).await.status, 200);
    let id = world.client.get("/api/v1/creators").await.data(200)[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(owner.submit(&list, &format!("{list}/{id}/sync"), &[]).await.status, 303);
    let change = world.client.request(Method::PATCH, &format!("/api/v1/creators/{id}"));
    send(change.json(&json!({"externalRef": "user-1", "resyncEvery": "6h"}))).await.data(200);
    let change = world.client.request(Method::PATCH, &format!("/api/v1/creators/{id}"));
    send(change.json(&json!({"externalRef": "user-1"}))).await.data(200);
    let changes = "SELECT count(*) FROM audit_log WHERE action = 'creator_changed'";
    let changes: i64 = world.sql().await.query_one(changes, &[]).await.expect("a count").get(0);
    assert_eq!(changes, 1, "what is so already is no change");
    let batches = format!("{project}/batches");
    assert_eq!(owner.submit(&format!("{batches}/new"), &batches, &[("age", "")]).await.status, 303);
    world.client.post("/api/v1/creators/sync").await.data(202);
    let gone =
        world.client.request(Method::DELETE, &format!("/api/v1/creators/{id}")).header("prefer", "respond-async");
    send(gone).await.data(202);
    let other = world.creator("open-1").await;
    let job = dead_job(world, world.project, other, "sync", "sync").await;
    owner.submit(&jobs, &format!("{jobs}/{job}/retry"), &[]).await;
    let job = dead_job(world, world.project, world.creator("open-2").await, "sync", "sync").await;
    assert_eq!(owner.confirm(&format!("{jobs}/{job}/discard")).await.status, 303);
    dead_job(world, world.project, world.creator("open-3").await, "sync", "sync").await;
    owner.submit(&jobs, &format!("{jobs}/retry-dead"), &[]).await;
}

/// Somebody signs in here and there, guesses, changes the password, and leaves.
async fn of_the_account(world: &World) {
    let email = "ada@example.com";
    let mut ada = Browser::user(world, email).await;
    let account = "/console/account";
    for _ in 0..3 {
        assert_eq!(Browser::new(world).sign_in(email, PASSWORD).await.status, 303);
    }
    let page = ada.get(account).await.text;
    let ended = between(&page, "/console/account/sessions/", "/end\"").to_owned();
    ada.submit(account, &format!("{account}/sessions/{ended}/end"), &[]).await;
    ada.submit(account, &format!("{account}/sessions/end-others"), &[]).await;
    let new = [("current", PASSWORD), ("password", "another long password"), ("repeated", "another long password")];
    ada.submit(account, &format!("{account}/password"), &new).await;
    for address in [email, "nobody@example.com"] {
        assert_eq!(Browser::new(world).sign_in(address, "guess").await.status, 422);
    }
    ada.submit(account, "/console/sign-out", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_deed_has_a_line_that_says_who_did_it() {
    let world = World::start().await;
    let mut owner = Browser::member(&world, Role::Owner).await;
    of_the_project(&world, &mut owner).await;
    of_creators(&world, &mut owner).await;
    of_the_account(&world).await;
    Browser::stranger(&world).await;
    let mut operator = Browser::operator(&world).await;
    let lane = "/console/operations/lanes/bulk";
    for state in ["paused", "draining", "open"] {
        operator.submit(lane, lane, &[("state", state)]).await;
    }
    let jobs = "/console/operations/jobs";
    dead_job(&world, world.project, world.creator("open-4").await, "sync", "sync").await;
    let retried = operator.submit(jobs, &format!("{jobs}/retry-dead"), &[]).await;
    assert_eq!(retried.header("location"), Some(format!("{jobs}?done=all-retried").as_str()));
    // What only the server's shell does.
    let email = "operator@example.com".parse().unwrap();
    let user = world.store.user_by_email(&email).await.expect("an answer").expect("the user").id;
    world.store.add_owner(Actor { user, email: &email }, world.project).await.expect("an owner");
    world.store.set_operator(user, false).await.expect("no operator");
    assert!(world.store.lock_out(user).await.expect("an answer"));
    let day = ResyncEvery::Every(Duration::from_secs(24 * 3600));
    world.store.set_project_resync(world.project, day).await.expect("an answer").expect("the project");

    eventually("the refused sign-in is noted", async || {
        seen(&world).await.contains_key("sign_in_refused").then_some(())
    })
    .await;
    let seen = seen(&world).await;
    let actions: BTreeSet<String> = Action::iter().map(|action| action.to_string()).collect();
    let missing: Vec<_> = actions.iter().filter(|action| !seen.contains_key(*action)).collect();
    assert!(missing.is_empty(), "done by nobody here, or without a line: {missing:?}");
    let key = format!("API key {}…", &world.client.key[..12]);
    let key = key.as_str();
    let (owner, ada, operator) = ("owner@example.com", "ada@example.com", "operator@example.com");
    for (action, actor, log) in [
        (Action::ProjectCreated, "stranger@example.com", "project"),
        (Action::ProjectRenamed, owner, "project"),
        (Action::ProjectResyncChanged, "command line", "project"),
        (Action::KeyCreated, owner, "project"),
        (Action::KeyCreated, "command line", "project"),
        (Action::KeyRevoked, owner, "project"),
        (Action::MemberAdded, "command line", "project"),
        (Action::MemberRemoved, owner, "project"),
        (Action::CreatorConnected, owner, "project"),
        (Action::CreatorChanged, key, "project"),
        (Action::CreatorDisconnected, key, "project"),
        (Action::ResyncBegun, owner, "project"),
        (Action::ResyncBegun, key, "project"),
        (Action::DeadJobsRetried, owner, "project"),
        (Action::DeadJobsRetried, operator, "installation"),
        (Action::LanePaused, operator, "installation"),
        (Action::PasswordLinkMade, "command line", "installation"),
        (Action::OperatorMade, "command line", "installation"),
        (Action::SignedIn, ada, "account"),
        (Action::SignInRefused, "somebody", "account"),
        (Action::SignedOut, ada, "account"),
        (Action::SessionEnded, ada, "account"),
        (Action::OtherSessionsEnded, ada, "account"),
        (Action::PasswordChanged, ada, "account"),
        (Action::AccountClosed, "command line", "account"),
    ] {
        let lines = &seen[action.as_ref()];
        assert!(lines.contains(&(actor.to_owned(), log.to_owned())), "{action} by {actor} in {log}: {lines:?}");
    }
    let told = "SELECT string_agg(actor || action || subject, ' ') FROM audit_log";
    let told: String = world.sql().await.query_one(told, &[]).await.expect("the log").get(0);
    for secret in [PASSWORD, "another long password", &world.client.key, "nobody@example.com", "guess"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_a_program_began_is_its_keys() {
    let world = World::start().await;
    let (page, _) = world.begin(&json!({})).await;
    let back = world.allow(&page, ALL).await;
    assert_eq!(world.open(&back).await.status, 200);
    let mut owner = Browser::member(&world, Role::Owner).await;
    let log = owner.get(&format!("/console/projects/{}/audit", world.project)).await.text;
    let line = format!("<td>API key {}…</td><td>connected the creator <strong>", &world.client.key[..12]);
    assert!(log.contains(&line), "{line}: {log}");
    assert!(!log.contains(&world.client.key), "its first characters alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_shows_its_own_lines_and_no_others() {
    let world = World::start().await;
    let mut ada = Browser::user(&world, "ada@example.com").await;
    let mut bob = Browser::user(&world, "bob@example.com").await;
    let mut guesser = Browser::new(&world);
    assert_eq!(guesser.sign_in("ada@example.com", "guess").await.status, 422);
    eventually("the refusal is noted", async || seen(&world).await.contains_key("sign_in_refused").then_some(())).await;
    let refusal = "<td>somebody</td><td>was refused a sign-in from <strong>127.0.0.1</strong>";
    for path in ["/console/account", "/console/account/log"] {
        let page = ada.get(path).await.text;
        for words in [refusal, "signed in from <strong>127.0.0.1</strong>", "set a new password <strong>by a link"] {
            assert!(page.contains(words), "{path}: {words}: {page}");
        }
        let page = bob.get(path).await.text;
        assert!(page.contains("signed in from") && !page.contains("was refused") && !page.contains("ada@"), "{page}");
    }
    // Lines of accounts are no operator's.
    let mut operator = Browser::operator(&world).await;
    let log = operator.get("/console/operations/log").await.text;
    assert!(log.contains("made a link to set the password of <strong>ada@example.com"), "{log}");
    assert!(!log.contains("signed in from") && !log.contains("was refused"), "{log}");
    assert_eq!(ada.get("/console/operations/log").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_sign_ins_push_nothing_else_out_and_have_an_end() {
    let world = World::start().await;
    let mut ada = Browser::user(&world, "ada@example.com").await;
    let email = "ada@example.com".parse().unwrap();
    let user = world.store.user_by_email(&email).await.expect("an answer").expect("the user").id;
    for number in 0..130 {
        world.store.note_refused_sign_in(user, &format!("192.0.2.{number}")).await.expect("noted");
    }
    let count = "SELECT count(*) FROM audit_log WHERE action = $1";
    let count =
        async |action: &str| world.sql().await.query_one(count, &[&action]).await.expect("a count").get::<_, i64>(0);
    assert_eq!((count("sign_in_refused").await, count("signed_in").await), (100, 1));
    let (mut path, mut pages, mut text) = ("/console/account/log".to_owned(), 0, String::new());
    loop {
        let page = ada.get(&path).await.text;
        text.push_str(&page);
        pages += 1;
        if !page.contains("rel=\"next\"") {
            break;
        }
        between(&page, "rel=\"next\" href=\"", "\"").clone_into(&mut path);
    }
    assert_eq!((pages, text.matches("was refused a sign-in").count()), (3, 100));
    assert!(text.contains("192.0.2.129") && !text.contains("192.0.2.29<"), "the latest are kept");
    assert!(text.contains("signed in from"));
}
